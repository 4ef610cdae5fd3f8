"""`longform cascade`: a line of models with a certificate of what stopping early may cost."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longform.cli.arguments import (
    AsJson,
    BackendName,
    Encoding,
    EncodingErrors,
    LabelColumn,
    LabelSeparator,
    TextColumn,
    TextPairColumn,
    print_json,
)

if TYPE_CHECKING:
    from longform.evaluation.certifying import CertifiedCascade


class LossChoice(StrEnum):
    """What an early answer must not do."""

    disagreement = "disagreement"
    harm = "harm"


Stages = Annotated[
    list[Path] | None,
    typer.Option(
        "--stages",
        metavar="BUNDLE ...",
        help="The models, cheap ones first, for example: --stages linear small full. The last "
        "one's answers count.",
    ),
]
MoreStages = Annotated[list[Path] | None, typer.Argument(metavar="[BUNDLE ...]", hidden=True)]
Data = Annotated[
    Path,
    typer.Option(
        help="Documents that no stage was trained or tuned on, like those to come; labels are "
        "needed for --loss harm alone."
    ),
]
Output = Annotated[Path, typer.Option(help="Folder of the cascade's bundle.")]
Risk = Annotated[
    float, typer.Option(help="Share of all documents that may get an early answer with a loss.")
]
Confidence = Annotated[float, typer.Option(help="Probability with which the risk is kept.")]
Loss = Annotated[
    LossChoice,
    typer.Option(
        help="disagreement: an answer that is not the last stage's; harm: one that is wrong where "
        "the last stage's is right."
    ),
]
Depths = Annotated[
    str | None,
    typer.Option(
        help="Shares of a document's segments after which a stage with an encoder may answer, for "
        "example 0.25,0.5.",
        show_default="whole documents only",
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(help="Write the HTML report here.", show_default="beside --output"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what stands at --output.")]


def cascade(  # noqa: PLR0913 - one argument for each flag
    more_stages: MoreStages = None,
    stages: Stages = None,
    data: Data = ...,  # type: ignore[assignment]
    output: Output = ...,  # type: ignore[assignment]
    risk: Risk = 0.01,
    confidence: Confidence = 0.95,
    loss: Loss = LossChoice.disagreement,
    depths: Depths = None,
    backend: BackendName = "auto",
    report: Report = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    text_pair_column: TextPairColumn = None,
    label_separator: LabelSeparator = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Answer by a cheap model where it is sure enough, with a certified bound on what that costs.

    Documents stop at the first stage that is sure. How sure it must be is tested on --data so that
    the bound holds with the stated confidence; too few documents certify nothing, and then nothing
    stops early. The result is a bundle like any other: evaluate, predict and serve take it.
    """
    from longform.cli.cascade_run import CascadeRequest, run_cascade
    from longform.evaluation.certifying import Promise
    from longform.reporting import ConsoleReporter

    request = CascadeRequest(
        stages=(*(stages or ()), *(more_stages or ())),
        data=data,
        output=output,
        promise=Promise(loss.value, risk, 1 - confidence),
        depths=parse_depths(depths),
        backend=backend,
        report=report or output.with_name(f"{output.name}.cascade.html"),
        overwrite=overwrite,
        columns={
            "text_column": text_column,
            "label_column": label_column,
            "text_pair_column": text_pair_column,
            "label_separator": label_separator,
            "encoding": encoding,
            "encoding_errors": encoding_errors,
        },
    )
    made = run_cascade(request, ConsoleReporter())
    if as_json:
        print_json(_as_json(made, request.output, request.report))
    else:
        _print(made, request.output, request.report)


def parse_depths(text: str | None) -> tuple[float, ...]:
    """Read shares such as `0.25,0.5`.

    Raises:
        InputError: One is no share.
    """
    from longform.errors import InputError

    depths = []
    for part in (text or "").replace(",", " ").split():
        try:
            depth = float(part)
        except ValueError:
            depth = 0.0
        if not 0 < depth <= 1:
            raise InputError(
                "A depth is a share of the segments, above 0 and at most 1.",
                found=f"'{part}'",
                fix="Write --depths 0.25,0.5, for example.",
            )
        depths.append(depth)
    return tuple(depths)


def _as_json(made: CertifiedCascade, output: Path, report: Path) -> dict[str, Any]:
    certificate = made.certificate.model_dump(mode="json")
    del certificate["path"]
    return {
        "output": str(output),
        "report": str(report),
        "certified": made.certificate.is_certified,
        "exited": made.certificate.exited,
        "speed_up": made.speed_up,
        "seconds_per_document": made.seconds,
        "seconds_per_document_alone": made.seconds_alone,
        "certificate": certificate,
    }


def _print(made: CertifiedCascade, output: Path, report: Path) -> None:
    certificate = made.certificate
    typer.echo(f"certified   {certificate.describe()}")
    for number, step in enumerate(certificate.steps):
        stage = certificate.stages[step.stage]
        last = number == len(certificate.steps) - 1
        threshold = (
            "nothing stops"
            if step.threshold is None
            else f"stops at a margin of {step.threshold:.3g}"
        )
        typer.echo(
            f"step {number}      {stage.name}, {100 * step.depth:.0f} % of the segments: "
            f"{'answers the rest' if last else threshold} ({100 * step.exited:.1f} % of the "
            f"documents)"
        )
    for stage in certificate.stages:
        typer.echo(
            f"time        {stage.name}: {1000 * stage.seconds_per_document:,.2f} ms a document on "
            f"{stage.runtime}"
        )
    typer.echo(
        f"expected    {1000 * made.seconds:,.2f} ms a document instead of "
        f"{1000 * made.seconds_alone:,.2f}: {made.speed_up:,.1f} times as fast"
    )
    typer.echo(f"report      {report}")
    typer.echo(f"Next: longform evaluate {output} --data FILE   or   longform serve {output}")
