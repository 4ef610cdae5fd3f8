"""`longform calibrate`: scores that mean what they say, and "I don't know" where it is due."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from longform.cli.checks import prepare_report

if TYPE_CHECKING:
    from longform.bundle import Bundle
    from longform.cli.calibration_run import CalibrationRun
    from longform.decision.fitting import CalibrationRequest


DataFile = Annotated[
    Path,
    typer.Option(
        help="Labelled documents that the model was not trained on, drawn as those to come. "
        "A quarter scales, nearly half finds the bounds, the rest tests."
    ),
]
Coverage = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=0.999,
        help="Probability with which the set of labels holds the true one; 0 makes no sets.",
    ),
]
ClassConditional = Annotated[
    bool, typer.Option("--class-conditional", help="Promise the coverage within each class.")
]
MaxError = Annotated[
    float | None,
    typer.Option(
        min=0.0001,
        max=0.9,
        help="Answer only where at most this share of the answers is wrong, 0.01 for instance.",
        show_default="answer everything",
    ),
]
MinCoverage = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=0.999,
        help="Or answer this share of the documents, the surest ones.",
        show_default="all",
    ),
]
Confidence = Annotated[
    float,
    typer.Option(min=0.5, max=0.9999, help="With which the bound of --max-error is to hold."),
]
CostsFile = Annotated[
    Path | None,
    typer.Option(
        help="What mistakes cost, csv or json: true labels by answers, and 'reject'.",
        show_default="all the same",
    ),
]
Seed = Annotated[int, typer.Option(help="Of the division of the documents.")]
Report = Annotated[
    Path | None, typer.Option(help="Write an HTML report of the testing part to this file.")
]


def calibrate(  # noqa: PLR0913 - one argument for each flag
    bundle: BundleFolder,
    data: DataFile,
    coverage: Coverage = 0.95,
    class_conditional: ClassConditional = False,
    max_error: MaxError = None,
    min_coverage: MinCoverage = None,
    confidence: Confidence = 0.95,
    costs: CostsFile = None,
    seed: Seed = 0,
    report: Report = None,
    backend: BackendName = "auto",
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    text_pair_column: TextPairColumn = None,
    label_separator: LabelSeparator = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    as_json: AsJson = False,
) -> None:
    """Fit temperature, label sets and the threshold of not answering; write them into the bundle.

    Every figure that is shown and stored is of documents that nothing was fitted on.
    """
    from longform.cli.calibration_summary import print_calibration

    if report is not None:
        prepare_report(report, bundle)
    flags = {
        "text_column": text_column,
        "label_column": label_column,
        "text_pair_column": text_pair_column,
        "label_separator": label_separator,
        "encoding": encoding,
        "encoding_errors": encoding_errors,
    }
    wanted = _Wanted(coverage, class_conditional, max_error, min_coverage, confidence, costs, seed)
    run = _calibrate(bundle, data, wanted, backend, report, flags)
    if as_json:
        print_json(_as_json(bundle, run))
        return
    print_calibration(run)
    typer.echo(f"Done: {bundle} decides so from now on; its digest has changed.")
    typer.echo(f"Next: longform evaluate {bundle} --data OTHER_DOCUMENTS")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The flags that say what is fitted."""

    coverage: float
    class_conditional: bool
    max_error: float | None
    min_coverage: float | None
    confidence: float
    costs: Path | None
    seed: int

    def request(self, opened: Bundle) -> CalibrationRequest:
        """Return what they ask for.

        Raises:
            InputError: They do not go together, or the costs cannot be read.
        """
        from longform.decision.costs import read_costs
        from longform.decision.fitting import CalibrationRequest
        from longform.errors import InputError

        if self.max_error is not None and self.min_coverage is not None:
            raise InputError(
                "A threshold keeps to an error, or to a share of answers, and not to both.",
                found=f"--max-error {self.max_error:g} and --min-coverage {self.min_coverage:g}",
                fix="Give one of them; the other is measured and shown.",
            )
        if self.class_conditional and not self.coverage:
            raise InputError(
                "A coverage within each class is one of label sets.",
                found="--class-conditional with --coverage 0",
                fix="Give a --coverage such as 0.95, or leave --class-conditional out.",
            )
        labels = opened.description.labels
        return CalibrationRequest(
            coverage=self.coverage or None,
            class_conditional=self.class_conditional,
            max_error=self.max_error,
            min_coverage=self.min_coverage,
            confidence=self.confidence,
            costs=None if self.costs is None else read_costs(self.costs, labels),
            seed=self.seed,
        )


def _calibrate(
    bundle: Path,
    data: Path,
    wanted: _Wanted,
    backend: str,
    report: Path | None,
    flags: dict[str, str | None],
) -> CalibrationRun:
    from longform.bundle import load_bundle
    from longform.cli.calibration_run import calibrate_bundle
    from longform.data.readers import read_documents
    from longform.reporting import ConsoleReporter

    reporter = ConsoleReporter()
    opened = load_bundle(bundle)
    request = wanted.request(opened)
    result = read_documents(data, data_settings(opened, **flags))
    reporter.say(result.report.summary())
    request.check(len(result.documents))
    with open_predictor(opened, backend, reporter) as predictor:
        run = calibrate_bundle(predictor, bundle, data, result.documents, request, reporter)
    if report is not None:
        run.write_report(report)
        reporter.say(f"Report of the testing part: {report}. It quotes documents.")
    return run


def _as_json(bundle: Path, run: CalibrationRun) -> dict[str, Any]:
    return {"bundle": str(bundle), "digest": run.digest, "decision": run.decision}
