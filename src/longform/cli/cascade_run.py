"""The run behind `longform cascade`: stages asked, thresholds certified, everything written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from longform.bundle import Bundle, check_output, file_digest, load_bundle
from longform.cli.arguments import data_settings
from longform.cli.checks import prepare_report
from longform.data.duplicates import first_of_each_text
from longform.data.labels import LabelMap
from longform.data.readers import read_documents
from longform.decision.certificate import StageRecord, fewest_documents
from longform.decision.rule import DecisionRule
from longform.errors import InputError
from longform.evaluation.cascade_report import write_cascade_report
from longform.evaluation.certifying import DESIGN_SHARE, CertifiedCascade, Promise, certify_cascade
from longform.evaluation.steps import StepAnswers, ask_steps, list_steps
from longform.export.cascade_bundle import require_same_task, write_cascade
from longform.inference.opening import open_scorer
from longform.inference.scorer import Scorer
from longform.reporting import Reporter
from longform.types import Document, Targets


@dataclass(frozen=True, slots=True)
class CascadeRequest:
    """What is asked for.

    Attributes:
        stages: Folders of the bundles, cheap ones first.
        data: File of certifying documents.
        output: Folder of the cascade.
        promise: What is to be certified.
        depths: Shares of the segments after which a stage may answer.
        backend: What the stages with an encoder run on.
        report: The HTML file.
        overwrite: Replace what stands at `output`.
        columns: Flags of the file.
    """

    stages: tuple[Path, ...]
    data: Path
    output: Path
    promise: Promise
    depths: tuple[float, ...]
    backend: str
    report: Path
    overwrite: bool
    columns: dict[str, str | None]


def run_cascade(request: CascadeRequest, reporter: Reporter) -> CertifiedCascade:
    """Make a cascade.

    Raises:
        InputError: The stages do not belong together, the documents cannot be used, or the output
            cannot be written.
        BundleError: A stage is damaged.
    """
    needed = fewest_documents(request.promise.risk, request.promise.delta)
    bundles = _load_stages(request)
    check_output(request.output, overwrite=request.overwrite)
    prepare_report(request.report, request.output)
    documents = _read(request, bundles, reporter)
    # Before any model reads them, which may take an hour: their labels may not be the model's.
    truth = _truth(request, bundles[-1], documents)
    scorers = [_open(bundle, request.backend, reporter) for bundle in bundles]
    try:
        steps = len(list_steps(scorers, request.depths))
        if steps < 2:
            raise InputError(
                "A cascade needs a place to stop before the last.",
                found=f"one stage, {request.stages[0].name}, that reads all at once",
                fix="Name a cheaper stage before it, or give --depths 0.25,0.5.",
            )
        _say_size(len(documents), steps, needed, reporter)
        rules = [DecisionRule.from_description(bundle.description) for bundle in bundles]
        for scorer in scorers:
            scorer.warm_up()
        answers = ask_steps(scorers, rules, documents, request.depths, reporter)
        records = _stage_records(bundles, scorers, answers)
    finally:
        for scorer in scorers:
            scorer.close()
    made = certify_cascade(
        answers,
        truth,
        request.promise,
        records,
        data_digest=file_digest(request.data) if request.data.is_file() else "",
    )
    write_cascade(bundles, made.certificate, request.output, overwrite=request.overwrite)
    write_cascade_report(request.report, made, request.data.name)
    return made


def _load_stages(request: CascadeRequest) -> list[Bundle]:
    if not request.stages:
        raise InputError(
            "A cascade is made of bundles.",
            found="none",
            fix="Name them, cheap ones first: --stages LINEAR FULL.",
        )
    bundles = [load_bundle(folder) for folder in request.stages]
    require_same_task(bundles)
    digests = [bundle.digest for bundle in bundles]
    if len(set(digests)) < len(digests):
        raise InputError(
            "Each stage of a cascade is another model.",
            found="the same bundle twice",
            fix="Give --depths 0.25,0.5 to stop within one.",
        )
    return bundles


def _read(request: CascadeRequest, bundles: Sequence[Bundle], reporter: Reporter) -> list[Document]:
    _refuse_learnt(request, bundles)
    settings = data_settings(bundles[-1], **request.columns)
    result = read_documents(request.data, settings, labelled=request.promise.loss == "harm")
    reporter.say(result.report.summary())
    kept = first_of_each_text(result.documents)
    if len(kept) < len(result.documents):
        # A copy tells nothing new, and the test counts documents drawn independently.
        reporter.say(f"{len(result.documents) - len(kept):,} exact copies are left out.")
    return kept


def _refuse_learnt(request: CascadeRequest, bundles: Sequence[Bundle]) -> None:
    """Refuse a file that a stage is known to have been trained or tuned on."""
    if not request.data.is_file():
        return
    digest = file_digest(request.data)
    for bundle in bundles:
        account = bundle.description.training.get("data", {})
        for part, what in (("training_file", "trained"), ("validation_file", "tuned")):
            if account.get(part, {}).get("sha256") == digest:
                raise InputError(
                    "The certifying documents must be others than those of the stages.",
                    found=f"{bundle.folder.name} was {what} on {request.data.name}",
                    fix="Keep some documents aside, and give these to --data.",
                )


def _open(bundle: Bundle, backend: str, reporter: Reporter) -> Scorer:
    chosen = backend if bundle.description.kind == "neural" else "auto"
    scorer = open_scorer(bundle, chosen, reporter)
    reporter.say(f"Stage {bundle.folder.name} verified, running on {scorer.info}.")
    return scorer


def _say_size(documents: int, steps: int, needed: int, reporter: Reporter) -> None:
    certifying = documents - (int(DESIGN_SHARE * documents) if steps > 2 else 0)
    if certifying < needed:
        reporter.say(
            f"{certifying:,} certifying documents are too few for this risk and confidence: "
            f"{needed:,} are needed if none is answered otherwise, more if some are. Nothing will "
            "stop early."
        )


def _truth(
    request: CascadeRequest, bundle: Bundle, documents: Sequence[Document]
) -> Targets | None:
    if request.promise.loss != "harm":
        return None
    description = bundle.description
    return LabelMap(description.labels, description.problem_type).targets(documents)


def _stage_records(
    bundles: Sequence[Bundle], scorers: Sequence[Scorer], answers: StepAnswers
) -> list[StageRecord]:
    whole = {step.stage: float(answers.seconds[row]) for row, step in enumerate(answers.steps)}
    return [
        StageRecord(
            digest=bundle.digest,
            name=bundle.folder.name,
            kind=bundle.description.kind,
            runtime=str(scorer.info),
            seconds_per_document=whole[number],
        )
        for number, (bundle, scorer) in enumerate(zip(bundles, scorers, strict=True))
    ]
