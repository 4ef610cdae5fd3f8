"""The shapes of requests and replies on the wire.

Knows no HTTP library: `rest` carries these shapes, and other front doors may.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    PrivateAttr,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    model_validator,
)

from longform.config import ProblemType
from longform.decision.rule import DecisionRule
from longform.errors import LongformError
from longform.serving.jobs import JobOptions, Weight
from longform.serving.service import PredictionService
from longform.types import Document, LabelScore, Prediction

ErrorType = Literal["validation", "overloaded", "unhealthy", "backend", "empty", "unauthorized"]

_FROM_CLIENTS = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class PredictParameters(BaseModel):
    """Options of a request, under the names of the Hugging Face task schema."""

    model_config = _FROM_CLIENTS

    top_k: Annotated[StrictInt, Field(ge=1)] | None = None
    """Most labels in `scores`; null gives all, or what the server is set to."""
    raw_scores: StrictBool = False
    """Give logits as scores. Labels are decided by probabilities either way."""
    explain: StrictBool = False
    """The same as `evidence`."""
    strict: StrictBool = False
    """Refuse a document of which only a part would be read."""
    deadline_ms: Annotated[StrictInt, Field(ge=1, le=86_400_000)] | None = None
    """Milliseconds after which the answer rests on what was read until then, one segment of each
    document at least. `coverage` tells how much that is, with `deadline` as its reason."""
    priority: Literal["normal", "low"] = "normal"
    """`low` lets requests of normal priority have four turns for each of its own."""


class TextInput(BaseModel):
    """A document as an object, under the names that Hugging Face pipelines use."""

    model_config = _FROM_CLIENTS

    text: StrictStr
    """The text, or the first of two."""
    text_pair: StrictStr | None = None
    """The second text, for a model that judges two together."""

    def as_document(self, index: int) -> Document:
        """Return the document, with its place in the request as id."""
        return Document(str(index), self.text, text_pair=self.text_pair)


def _kind(value: Any) -> str | None:
    """Choose the branch of `inputs` by the JSON type, so that faults are told of one branch."""
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict | TextInput):
        return "object"
    return "list" if isinstance(value, list) else None


_String = Annotated[StrictStr, Tag("string")]
_Object = Annotated[TextInput, Tag("object")]
_DocumentInput = Annotated[_String | _Object, Discriminator(_kind)]
_List = Annotated[list[_DocumentInput], Field(fail_fast=True), Tag("list")]


class PredictRequest(BaseModel):
    """One document or several. Exactly one of `inputs` and `text` is given."""

    model_config = _FROM_CLIENTS

    inputs: Annotated[_String | _Object | _List, Discriminator(_kind)] | None = None
    """A document, or a list of documents. Each is a string, or an object with `text` and, for a
    model that judges two texts together, `text_pair`. A flat list of two strings is two documents,
    not a pair."""
    text: StrictStr | None = None
    """A single document; the same as `inputs` with a string."""
    text_pair: StrictStr | None = None
    """The second text, beside `text`."""
    model: StrictStr | None = None
    """Name of the model, where several are served; null for the first one."""
    version: StrictStr | None = None
    """Version of the model; null for the one that serves."""
    parameters: PredictParameters = PredictParameters()
    evidence: StrictBool = False
    """Also tell how much each stretch of the document supports the likeliest label."""

    _faults: dict[int, LongformError] = PrivateAttr(default_factory=dict)

    @property
    def model_name(self) -> str | None:
        """The model asked for."""
        return self.model

    @property
    def model_version(self) -> str | None:
        """The version asked for."""
        return self.version

    @property
    def is_strict(self) -> bool:
        """Whether a document that would be read in part is refused."""
        return self.parameters.strict

    @property
    def is_batch(self) -> bool:
        """Whether documents came as a list, which is answered item by item."""
        return isinstance(self.inputs, list)

    @property
    def faults(self) -> dict[int, LongformError]:
        """What is wrong with documents of a list, by their places."""
        return self._faults

    def options(self) -> JobOptions:
        """Return what is wanted beside the answer."""
        asked = self.parameters
        return JobOptions(
            evidence=self.evidence or asked.explain,
            raw_scores=asked.raw_scores,
            deadline_seconds=None if asked.deadline_ms is None else asked.deadline_ms / 1000,
            weight=Weight.LOW if asked.priority == "low" else Weight.NORMAL,
        )

    @model_validator(mode="after")
    def _has_one_input(self) -> PredictRequest:
        if (self.inputs is None) == (self.text is None):
            raise ValueError("give exactly one of 'inputs' and 'text'")
        if self.text_pair is not None and self.text is None:
            raise ValueError("'text_pair' stands beside 'text', in one object")
        return self

    def documents(self) -> list[Document]:
        """Return the documents in the order given."""
        given: list[str | TextInput]
        if isinstance(self.inputs, list):
            given = self.inputs
        elif self.inputs is not None:
            given = [self.inputs]
        else:
            given = [TextInput(text=self.text or "", text_pair=self.text_pair)]
        return [
            Document(str(index), item) if isinstance(item, str) else item.as_document(index)
            for index, item in enumerate(given)
        ]


class ForeignRequest(BaseModel):
    """A request in the shape of another server; what that shape lacks has its default."""

    model_config = _FROM_CLIENTS

    _address: tuple[str | None, str | None] = PrivateAttr(default=(None, None))

    @property
    def model_name(self) -> str | None:
        """The model asked for."""
        return self._address[0]

    @property
    def model_version(self) -> str | None:
        """The version asked for."""
        return self._address[1]

    @property
    def is_strict(self) -> bool:
        """Never by itself; the server may be."""
        return False

    @property
    def faults(self) -> dict[int, LongformError]:
        """None: these shapes have no place for the fault of one document."""
        return {}

    def options(self) -> JobOptions:
        """Return what is wanted beside the answer: nothing."""
        return JobOptions()

    def addressed_to(self, name: str | None, version: str | None = None) -> Self:
        """Keep which model the address asks for."""
        self._address = (name, version)
        return self


def request_schema(shape: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a request in one piece, without references."""
    schema = shape.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        content = {key: inline(value) for key, value in node.items() if key != "$ref"}
        if "$ref" in node:
            content = {**inline(definitions[node["$ref"].rpartition("/")[2]]), **content}
        return content

    inlined: dict[str, Any] = inline(schema)
    return inlined


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
    """

    segment: int
    start: int
    end: int
    score: FiniteFloat
    label: str
    part: int | None = None


class PredictionReply(BaseModel):
    """The answer for one document. `scores` holds the highest first.

    `labels` is there only where a document may have several labels: those whose score reaches
    their threshold, the highest first, possibly none. The scores then do not sum to 1. `warnings`
    is there only where something makes an answer of the reply doubtful.
    """

    label: str
    score: FiniteFloat
    labels: list[LabelScoreReply] | None = None
    scores: list[LabelScoreReply]
    coverage: CoverageReply
    evidence: list[EvidenceReply] | None = None
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
        `part` of single texts, and `warnings` when there are none. All predictions of one reply
        are alike in this.
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
    absent = {name for name in ("labels", "evidence") if getattr(prediction, name) is None}
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
                part=stretch.part if text_pair else None,
            )
            for stretch in evidence
        ],
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
