"""`longform add-label`: one label more from a few examples, and what it does to the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from longform.cli.arguments import (
    AsJson,
    BackendName,
    BundleFolder,
    Encoding,
    EncodingErrors,
    LabelColumn,
    TextColumn,
    TextPairColumn,
    data_settings,
    open_predictor,
    print_json,
)

if TYPE_CHECKING:
    from longform.config import DataSettings
    from longform.evaluation.regression import RegressionReport
    from longform.reporting import Reporter
    from longform.types import Document

Examples = Annotated[Path, typer.Option(help="Examples of the new label, a few are enough.")]
Regression = Annotated[
    Path,
    typer.Option(help="Labelled documents of the old labels, best those the model did not see."),
]
Output = Annotated[Path, typer.Option(help="Folder of the new bundle.")]
LabelName = Annotated[
    str | None,
    typer.Option(help="Name of the new label.", show_default="the label of the examples"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")]
_SHOWN = 10


def add_label(  # noqa: PLR0913 - one argument for each flag
    bundle: BundleFolder,
    data: Examples,
    regression: Regression,
    output: Output,
    label: LabelName = None,
    overwrite: Overwrite = False,
    backend: BackendName = "auto",
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    text_pair_column: TextPairColumn = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    as_json: AsJson = False,
) -> None:
    """Teach a bundle one label more, without training: the logits of the old labels stay.

    The report tells how many examples are found by a row that was made without them, and which
    documents of the old labels are answered otherwise now.
    """
    from longform.bundle import check_output, load_bundle
    from longform.data.readers import read_documents
    from longform.extras import check_installed
    from longform.reporting import ConsoleReporter

    for library in ("torch", "sklearn"):
        check_installed(library, "Adding a label")
    reporter = ConsoleReporter()
    opened = load_bundle(bundle)
    check_output(output, overwrite=overwrite)
    flags = {
        "text_column": text_column,
        "label_column": label_column,
        "text_pair_column": text_pair_column,
        "encoding": encoding,
        "encoding_errors": encoding_errors,
    }
    settings = data_settings(opened, **flags)
    name, examples = _read_examples(data, label, settings, reporter)
    result = read_documents(regression, settings)
    reporter.say(result.report.summary())
    # Imported here: it needs torch, which takes seconds to load.
    from longform.export.label_addition import add_label as add
    from longform.export.label_addition import check_addition

    check_addition(opened, name, examples, result.documents)
    with open_predictor(opened, backend, reporter) as predictor:
        known = result.documents
        addition = add(
            predictor, name, examples, known, output, overwrite=overwrite, reporter=reporter
        )
    if as_json:
        parity = {target: record.as_dict() for target, record in addition.parity.items()}
        print_json({"bundle": str(output), **addition.report.as_json(), "parity": parity})
        return
    _print(addition.report, output)


def _read_examples(
    path: Path, label: str | None, settings: DataSettings, reporter: Reporter
) -> tuple[str, tuple[Document, ...]]:
    """Return the name of the new label and its examples."""
    from longform.data.readers import read_documents
    from longform.errors import InputError

    result = read_documents(path, settings, labelled=label is None)
    reporter.say(result.report.summary())
    if label is not None:
        return label, result.documents
    found = sorted({document.label or "" for document in result.documents})
    if len(found) != 1:
        raise InputError(
            "One label is added at a time.",
            found=f"{len(found)} labels in {path.name}: {', '.join(found[:_SHOWN])}",
            fix="Give a file of one label's examples, or name the label of all with --label.",
        )
    return found[0], result.documents


def _print(report: RegressionReport, output: Path) -> None:
    low, high = report.as_json()["recall_interval"]
    lost = len(report.changed)
    typer.echo(
        f"{report.new_label}: {report.found} of {report.examples} examples are found by a row made "
        f"without them ({100 * low:.0f} to {100 * high:.0f} % with 95 % confidence)\n"
        f"old labels: accuracy {100 * report.accuracy_before:.2f} % before, "
        f"{100 * report.accuracy_after:.2f} % now, on {report.documents:,} documents; "
        f"{lost:,} changed their label"
    )
    for entry in report.labels:
        if entry.before != entry.after:
            shares = f"{100 * entry.before:.1f} % before, {100 * entry.after:.1f} % now"
            typer.echo(f"  {entry.label}: {shares} ({entry.documents:,} documents)")
    for item in report.changed[:_SHOWN]:
        typer.echo(f"  {item.id} ({item.label}): {item.before} before, {item.after} now")
    if lost > _SHOWN:
        typer.echo(f"  ... and {lost - _SHOWN:,} more: --json lists all")
    if report.absent:
        named = ", ".join(report.absent[:_SHOWN])
        typer.echo(f"  not known, since there is no document of it: {named}")
    typer.echo(
        f"Done: {output}. Label sets, abstaining and costs of the old bundle do not hold with one "
        f"label more.\nNext: longform calibrate {output} --data FILE   or   "
        f"longform evaluate {output} --data FILE"
    )
