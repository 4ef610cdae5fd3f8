"""`longform export`: further targets for a bundle, through the parity gate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from longform.cli.arguments import (
    AsJson,
    BundleFolder,
    Encoding,
    EncodingErrors,
    LabelColumn,
    LabelSeparator,
    TextColumn,
    TextPairColumn,
    data_settings,
    print_json,
)


def export(  # noqa: PLR0913 - one argument for each flag
    bundle: BundleFolder,
    target: Annotated[
        list[str],
        typer.Option(
            help="What to make; may be given several times: onnx (fp32), openvino (bf16, int8).",
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Labelled documents that the model was not trained on: targets are compared with "
            "the trained model on them, and calibrated."
        ),
    ],
    parity_documents: Annotated[
        int | None,
        typer.Option(min=1, help="Documents to compare.", show_default="30,000 tokens of them"),
    ] = None,
    allow_drop: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=100.0,
            help="Points of accuracy that a reduced precision may lose. Recorded in the bundle.",
        ),
    ] = None,
    replan: Annotated[
        bool, typer.Option("--replan", help="Plan the shapes anew, from these documents.")
    ] = False,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    text_pair_column: TextPairColumn = None,
    label_separator: LabelSeparator = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    as_json: AsJson = False,
) -> None:
    """Add targets to a bundle. One that does not give the trained model's answers is refused."""
    from longform.bundle import load_bundle
    from longform.data.readers import read_documents
    from longform.extras import require
    from longform.reporting import ConsoleReporter

    reporter = ConsoleReporter()
    for library in ("torch", "transformers"):
        require(library, "An export")
    from longform.export.targets import ExportOptions, export_targets

    opened = load_bundle(bundle)
    settings = data_settings(
        opened,
        text_column=text_column,
        label_column=label_column,
        text_pair_column=text_pair_column,
        label_separator=label_separator,
        encoding=encoding,
        encoding_errors=encoding_errors,
    )
    result = read_documents(data, settings)
    reporter.say(result.report.summary())
    options = ExportOptions(parity_documents, allow_drop, replan)
    records = export_targets(opened, bundle, target, result.documents, options, reporter)
    if as_json:
        print_json(
            {
                "bundle": str(bundle),
                "digest": load_bundle(bundle).digest,
                "targets": {name: record.as_dict() for name, record in records.items()},
            }
        )
        return
    kept = ", ".join(name for name, record in records.items() if record.passed)
    typer.echo(f"Done: {bundle} now runs as {kept}.")
    typer.echo(f"Next: longform bench {bundle} --data {data}")
