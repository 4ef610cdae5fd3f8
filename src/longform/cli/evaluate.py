"""`longform evaluate`: how good a bundle is on labelled documents."""

from __future__ import annotations

import time
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
    LabelSeparator,
    TextColumn,
    TextPairColumn,
    data_settings,
    open_predictor,
    print_json,
)

if TYPE_CHECKING:
    from longform.evaluation.evaluation import Evaluation
    from longform.reporting import Reporter


def evaluate(  # noqa: PLR0913 - one argument for each flag
    bundle: BundleFolder,
    data: Annotated[Path, typer.Option(help="Labelled documents.")],
    backend: BackendName = "auto",
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML report with plots to this file.")
    ] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    text_pair_column: TextPairColumn = None,
    label_separator: LabelSeparator = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    as_json: AsJson = False,
) -> None:
    """Measure accuracy, macro-F1, calibration and coverage on labelled documents."""
    from longform.bundle import load_bundle
    from longform.data.readers import read_documents
    from longform.evaluation.evaluation import evaluate as evaluate_documents
    from longform.reporting import ConsoleReporter

    reporter = ConsoleReporter()
    started = time.perf_counter()
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
    with open_predictor(opened, backend, reporter) as predictor:
        evaluation = evaluate_documents(
            predictor, result.documents, reporter, data=data.name, explain=report is not None
        )
    if report is not None:
        _save_report(report, bundle, evaluation, reporter)
    if as_json:
        print_json(
            {
                **evaluation.as_json(),
                "skipped_rows": len(result.report.skipped),
                "wall_seconds": round(time.perf_counter() - started, 2),
            }
        )
        return
    _print(evaluation)


def _save_report(report: Path, bundle: Path, evaluation: Evaluation, reporter: Reporter) -> None:
    from longform.bundle import extending_bundle, load_bundle
    from longform.evaluation.report import write_report

    folder = bundle.resolve()
    if not report.resolve().is_relative_to(folder):
        report.parent.mkdir(parents=True, exist_ok=True)
        write_report(report, evaluation)
        reporter.say(f"Report: {report}")
        return
    # A file that its manifest does not list would make the bundle invalid: save it anew with it.
    name = report.resolve().relative_to(folder)
    with extending_bundle(load_bundle(bundle), bundle) as staging:
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        write_report(staging / name, evaluation)
    reporter.say(
        f"Report: {report}. It is now part of the bundle, whose digest has changed; it quotes the "
        "beginnings of misjudged documents."
    )


def _print(evaluation: Evaluation) -> None:
    low, high = evaluation.accuracy_interval
    typer.echo(f"documents   {evaluation.documents:,}")
    typer.echo(
        f"accuracy    {100 * evaluation.accuracy:.2f} %  "
        f"(95 % interval {100 * low:.2f} to {100 * high:.2f})"
        + (" of documents with all labels right" if evaluation.is_multi_label else "")
    )
    typer.echo(f"macro-F1    {100 * evaluation.macro_f1:.2f} %")
    if evaluation.is_multi_label:
        typer.echo(f"micro-F1    {100 * evaluation.micro_f1:.2f} %")
        if evaluation.macro_roc_auc is not None:
            typer.echo(f"ROC AUC     {100 * evaluation.macro_roc_auc:.2f} %, mean of the labels")
    typer.echo(
        f"coverage    {100 * evaluation.coverage.share:.2f} % of the tokens were read, "
        f"{evaluation.coverage.truncated_documents:,} documents not whole"
    )
    for bucket in evaluation.by_length:
        upper = f"{bucket.maximum:,}" if bucket.maximum else "more"
        typer.echo(
            f"  {bucket.minimum:>6,} to {upper:>6} tokens: accuracy {100 * bucket.accuracy:6.2f} %"
            f"  ({bucket.documents:,} documents)"
        )
    typer.echo(
        f"speed       {evaluation.documents_per_second:.1f} documents/s, "
        f"{evaluation.tokens_per_second:,.0f} tokens/s ({evaluation.backend})"
    )
