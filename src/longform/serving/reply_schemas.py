"""The shapes of replies on the wire. Knows no HTTP library."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, FiniteFloat

from longform.config import ProblemType
from longform.decision.rule import DecisionRule
from longform.serving.service import PredictionService
from longform.types import EvidenceMethod, LabelScore, Prediction

ErrorType = Literal["validation", "overloaded", "unhealthy", "backend", "empty", "unauthorized"]


class LabelScoreReply(BaseModel):
    """A label with its probability."""

    label: str
    score: FiniteFloat


class CoverageReply(BaseModel):
    """How much of the document was read; `types.Coverage` on the wire. Pairs count as one."""

    tokens_total: int
    tokens_used: int
    segments_total: int
    segments_used: int
    truncated: bool
    reason: str | None


class EvidenceReply(BaseModel):
    """What one stretch of the document adds to the probability of the likeliest label.

    `start` and `end` are offsets in Unicode code points into the text as sent, `end` exclusive.
    Answers on pairs also have `part`: 0 for offsets into `text`, 1 for offsets into `text_pair`.
    `score` is what the probability loses without the stretch, `log_odds` what ln(p / (1 - p))
    loses, `contribution` what the stretch adds to the logit, by the method of `explanation`.
    """

    segment: int
    start: int
    end: int
    score: FiniteFloat
    label: str
    contribution: FiniteFloat
    log_odds: FiniteFloat
    part: int | None = None


class ExplanationReply(BaseModel):
    """What the figures of `evidence` mean.

    `exact`: the contributions and `base`, which is of no stretch, sum to the `logit` of the label.
    `leave_one_out`: each contribution is what the logit loses without the stretch, and `base` is
    null. A document of one stretch, which cannot be left out, has no evidence and no explanation.
    """

    method: EvidenceMethod
    label: str
    logit: FiniteFloat
    base: FiniteFloat | None


class ExitReply(BaseModel):
    """Where a cascade stopped reading.

    `stage` is the model that answered (0 is the cheapest), `segment` the number of segments that
    it had read, `reason` is `confident`, `last_stage` or `deadline`.
    """

    stage: int
    segment: int
    reason: str


class PredictionReply(BaseModel):
    """The answer for one document. `scores` holds the highest first.

    `labels` is there only where a document may have several labels: those whose score reaches
    their threshold, the highest first, possibly none. The scores then do not sum to 1. `warnings`
    is there only where something makes an answer of the reply doubtful, `exit` only in answers of
    a cascade.

    `calibrated` tells whether the scores were fitted on documents that the model had not seen.
    `abstained`: the model is too unsure for its answer to be used, and `label` is its best guess.
    `prediction_set` is there only where the bundle was calibrated to give it: the labels that
    cannot be ruled out, the likeliest first.
    """

    label: str
    score: FiniteFloat
    labels: list[LabelScoreReply] | None = None
    scores: list[LabelScoreReply]
    coverage: CoverageReply
    evidence: list[EvidenceReply] | None = None
    explanation: ExplanationReply | None = None
    exit: ExitReply | None = None
    calibrated: bool = False
    abstained: bool = False
    prediction_set: list[str] | None = None
    warnings: list[str] = []


class ItemErrorReply(BaseModel):
    """Stands in the place of a prediction for a document of a list that has none."""

    error: str
    error_type: ErrorType


class ModelReply(BaseModel):
    """Which model answered; `digest` is that of the bundle's manifest."""

    name: str
    version: str
    digest: str


class TimingReply(BaseModel):
    """Milliseconds: cutting the texts, waiting for the encoder, encoding and scoring, and all."""

    tokenize: FiniteFloat
    queue: FiniteFloat
    infer: FiniteFloat
    total: FiniteFloat


class PredictReply(BaseModel):
    """The answer to a request: one item per document, in the order sent.

    A document of a list that cannot be answered has an error in its place. A request of one
    document is answered with a status code instead.
    """

    model: ModelReply
    predictions: list[PredictionReply | ItemErrorReply]
    timing_ms: TimingReply

    def encode(self) -> str:
        """Return the JSON, without the keys that say nothing of such a request to such a model.

        Left out are `evidence` that was not asked for, `labels` of a model of one label, the
        `prediction_set` of a model without, `exit` of a model that is no cascade, the `part` of
        single texts, and `warnings` when there are none. All predictions of one reply are alike in
        this.
        """
        answered = [item for item in self.predictions if isinstance(item, PredictionReply)]
        left_out: dict[str, Any] = {}
        for prediction in answered[:1]:
            left_out = absent_keys(prediction)
        if not any(item.warnings for item in answered):
            left_out["warnings"] = True
        return self.model_dump_json(exclude={"predictions": {"__all__": left_out}})


def absent_keys(prediction: PredictionReply) -> dict[str, Any]:
    """Return the keys that say nothing of such a prediction, for `exclude`."""
    optional = ("labels", "evidence", "exit", "prediction_set")
    absent = {name for name in optional if getattr(prediction, name) is None}
    if prediction.evidence is None:
        # Documents of one stretch have no explanation in a reply whose others have.
        absent.add("explanation")
    left_out: dict[str, Any] = dict.fromkeys(absent, True)
    if any(stretch.part is None for stretch in prediction.evidence or ()):
        left_out["evidence"] = {"__all__": {"part": True}}
    return left_out


class ErrorReply(BaseModel):
    """Every answer that is not 200."""

    error: str
    error_type: ErrorType


class BackendReply(BaseModel):
    """What the model runs on."""

    name: str
    device: str
    precision: str


class ModelHealthReply(BaseModel):
    """Whether one model takes work now."""

    name: str
    version: str
    ready: bool


class HealthReply(BaseModel):
    """The state of the server: that of the first model that is not well, else of the first.

    `model` and `backend` are there once that model is loaded.
    """

    status: Literal["starting", "ready", "stopping", "failed"]
    reason: str | None = None
    model: ModelReply | None = None
    backend: BackendReply | None = None
    models: list[ModelHealthReply] = []


class LabelReply(BaseModel):
    """A label that the model knows.

    `threshold` is the least score at which a document gets it; null where the highest score wins.
    """

    label: str
    threshold: FiniteFloat | None


class InfoReply(BaseModel):
    """What is served: what a document must be, and which labels it may get.

    `labels` are in the order of the model. `text_pair` tells whether each document must have two
    texts. With `problem_type` `multi_label_classification` a document gets any number of labels.
    """

    model: ModelReply
    backend: BackendReply
    problem_type: ProblemType
    text_pair: bool
    labels: list[LabelReply]
    models: list[ModelReply]
    """Every model that is served, the first one first."""


def build_prediction(
    prediction: Prediction, top_k: int | None, *, text_pair: bool
) -> PredictionReply:
    """Turn an answer into its shape on the wire.

    Args:
        prediction: The answer for one document.
        top_k: Most labels in `scores`; None keeps all. `labels` are never cut.
        text_pair: Whether the model judges two texts together.

    Raises:
        ValidationError: A score is NaN or infinite.
    """
    evidence = prediction.evidence
    return PredictionReply(
        label=prediction.label,
        score=prediction.score,
        labels=None if prediction.labels is None else _label_scores(prediction.labels),
        scores=_label_scores(prediction.scores[:top_k]),
        coverage=CoverageReply(**prediction.coverage.as_dict()),
        evidence=None
        if evidence is None
        else [
            EvidenceReply(
                segment=stretch.segment,
                start=stretch.start,
                end=stretch.end,
                score=stretch.score,
                label=stretch.label,
                contribution=stretch.contribution,
                log_odds=stretch.log_odds,
                part=stretch.part if text_pair else None,
            )
            for stretch in evidence
        ],
        explanation=None
        if prediction.explanation is None
        else ExplanationReply(**asdict(prediction.explanation)),
        exit=None if prediction.exit is None else ExitReply(**asdict(prediction.exit)),
        calibrated=prediction.calibrated,
        abstained=prediction.abstained,
        prediction_set=None
        if prediction.prediction_set is None
        else list(prediction.prediction_set),
        warnings=list(prediction.warnings),
    )


def describe_model(service: PredictionService) -> ModelReply:
    """Name a version, with its digest once it is loaded."""
    digest = service.predictor.bundle.digest if service.predictor is not None else ""
    return ModelReply(name=service.name, version=service.version, digest=digest)


def build_labels(rule: DecisionRule) -> list[LabelReply]:
    """List the labels of a model with their thresholds."""
    return [
        LabelReply(label=name, threshold=rule.threshold(name) if rule.is_multi_label else None)
        for name in rule.labels
    ]


def _label_scores(scores: tuple[LabelScore, ...]) -> list[LabelScoreReply]:
    return [LabelScoreReply(label=entry.label, score=entry.score) for entry in scores]
