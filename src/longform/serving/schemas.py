"""The requests and replies of `POST /predict`, and the reading of untrusted JSON.

Knows no HTTP library: `rest` carries these shapes, and other front doors may.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from longform.errors import InputError
from longform.types import Prediction

ErrorType = Literal["validation", "overloaded", "unhealthy", "backend", "empty"]


class RequestError(InputError):
    """A request that cannot be answered.

    Args:
        status: HTTP status code.
        error_type: Kind of the fault for programs.
        rule: What must hold.
        found: What was found; never the text of a document.
        fix: The way out.
    """

    def __init__(
        self,
        status: int,
        rule: str,
        *,
        found: str = "",
        fix: str = "",
        error_type: ErrorType = "validation",
    ) -> None:
        super().__init__(rule, found=found, fix=fix)
        self.status = status
        self.error_type: ErrorType = error_type


class PredictParameters(BaseModel):
    """Options of a request, under the names of the Hugging Face task schema."""

    model_config = ConfigDict(extra="forbid")

    top_k: Annotated[StrictInt, Field(ge=1)] | None = None
    """Most labels in `scores`; null gives all, or what the server is set to."""


class PredictRequest(BaseModel):
    """One document or several. Exactly one of `inputs` and `text` is given."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"inputs": ["The court finds that ..."]},
                {"text": "The court finds that ...", "evidence": True},
            ]
        },
    )

    inputs: StrictStr | Annotated[list[StrictStr], Field(fail_fast=True)] | None = None
    """A document, or a list of documents: a flat list of two is two documents, not a pair."""
    text: StrictStr | None = None
    """A single document; the same as `inputs` with a string."""
    parameters: PredictParameters = PredictParameters()
    evidence: StrictBool = False
    """Also tell how much each stretch of the document supports the label."""

    @model_validator(mode="after")
    def _has_one_input(self) -> PredictRequest:
        if (self.inputs is None) == (self.text is None):
            raise ValueError("give exactly one of 'inputs' and 'text'")
        return self

    def documents(self) -> list[str]:
        """Return the texts in the order given."""
        if isinstance(self.inputs, list):
            return self.inputs
        return [self.inputs if self.inputs is not None else self.text or ""]


class LabelScoreReply(BaseModel):
    """A label with its probability."""

    label: str
    score: FiniteFloat


class CoverageReply(BaseModel):
    """How much of the document was read; `types.Coverage` on the wire."""

    tokens_total: int
    tokens_used: int
    segments_total: int
    segments_used: int
    truncated: bool
    reason: str | None


class EvidenceReply(BaseModel):
    """What one stretch of the document adds to the probability of the label.

    `start` and `end` are offsets in Unicode code points into the text as sent, `end` exclusive.
    """

    segment: int
    start: int
    end: int
    score: FiniteFloat
    label: str


class PredictionReply(BaseModel):
    """The answer for one document. `scores` holds the highest first."""

    label: str
    score: FiniteFloat
    scores: list[LabelScoreReply]
    coverage: CoverageReply
    evidence: list[EvidenceReply] | None = None


class ModelReply(BaseModel):
    """Which model answered; `digest` is that of the bundle's manifest."""

    name: str
    version: str
    digest: str


class TimingReply(BaseModel):
    """Milliseconds: waiting for the model, reading and scoring, and both."""

    queue: FiniteFloat
    infer: FiniteFloat
    total: FiniteFloat


class PredictReply(BaseModel):
    """The answer to a request: one prediction per document, in the order sent."""

    model: ModelReply
    predictions: list[PredictionReply]
    timing_ms: TimingReply


class ErrorReply(BaseModel):
    """Every answer that is not 200."""

    error: str
    error_type: ErrorType


class BackendReply(BaseModel):
    """What the model runs on."""

    name: str
    device: str
    precision: str


class HealthReply(BaseModel):
    """The state of the server. `model` and `backend` are there once the model is loaded."""

    status: Literal["starting", "ready", "stopping", "failed"]
    reason: str | None = None
    model: ModelReply | None = None
    backend: BackendReply | None = None


def parse_request(body: bytes, max_client_batch_size: int) -> PredictRequest:
    """Read an untrusted request body.

    Args:
        body: The bytes as received.
        max_client_batch_size: Most documents allowed.

    Raises:
        RequestError: 400 when it is not JSON, 422 when it is JSON of another shape. Messages name
            keys and positions and never repeat a document.
    """
    try:
        content = json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise RequestError(
            400,
            "The request body must be JSON in UTF-8.",
            found=f"a byte that is not UTF-8 at offset {error.start}",
            fix="Encode the body as UTF-8; compressed bodies are not taken.",
        ) from error
    except RecursionError as error:
        raise RequestError(
            400, "The request body must be JSON.", found="lists or objects nested too deeply"
        ) from error
    except ValueError as error:
        raise RequestError(
            400,
            "The request body must be JSON.",
            found=str(error),
            fix='Send for example {"inputs": "the document"}.',
        ) from error
    try:
        request = PredictRequest.model_validate(content)
    except ValidationError as error:
        raise RequestError(
            422,
            "The request must hold 'inputs': a document or a list of documents, each a string.",
            found="; ".join(_describe(fault) for fault in _without_repeats(error)),
            fix="See /docs for the shape of a request.",
        ) from error
    _check_documents(request.documents(), max_client_batch_size)
    return request


def build_prediction(prediction: Prediction, top_k: int | None) -> PredictionReply:
    """Turn an answer into its shape on the wire.

    Args:
        prediction: The answer for one document.
        top_k: Most labels in `scores`; None keeps all.

    Raises:
        ValidationError: A score is NaN or infinite.
    """
    return PredictionReply(
        label=prediction.label,
        score=prediction.score,
        scores=[
            LabelScoreReply(label=entry.label, score=entry.score)
            for entry in prediction.scores[:top_k]
        ],
        coverage=CoverageReply(**prediction.coverage.as_dict()),
        evidence=None
        if prediction.evidence is None
        else [
            EvidenceReply(
                segment=stretch.segment,
                start=stretch.start,
                end=stretch.end,
                score=stretch.score,
                label=stretch.label,
            )
            for stretch in prediction.evidence
        ],
    )


def _check_documents(documents: Sequence[str], limit: int) -> None:
    if not documents:
        raise RequestError(
            422,
            "'inputs' must hold at least one document.",
            found="an empty list",
            error_type="empty",
        )
    if len(documents) > limit:
        raise RequestError(
            422,
            f"A request may hold at most {limit} documents.",
            found=f"{len(documents)}",
            fix="Send several requests, or raise --max-client-batch-size on the server.",
        )
    for index, text in enumerate(documents):
        if not text.strip():
            raise RequestError(
                422,
                "A document must hold more than white space.",
                found=f"document {index} is {'blank' if text else 'empty'}",
                fix="Leave it out: the whole request was refused, so no answer is misplaced.",
                error_type="empty",
            )
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RequestError(
                422,
                "A document must be Unicode.",
                found=f"half of a surrogate pair in document {index} at character {error.start}",
                fix="Send the whole pair, or leave the character out.",
            ) from error


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        # json.loads would keep the last one and drop the others without a word.
        raise ValueError("an object that has the same key twice")
    return content


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name}, which is not JSON")


def _without_repeats(error: ValidationError) -> list[Any]:
    """Merge what the branches of a union say about one value, and keep the message short."""
    faults: dict[str, Any] = {}
    for fault in error.errors(include_input=False, include_url=False, include_context=False):
        key = str(fault["loc"][0]) if fault["loc"] else ""
        faults.setdefault(key, fault)
    return list(faults.values())[:5]


def _describe(fault: Any) -> str:
    key = str(fault["loc"][-1]) if fault["loc"] else "the request"
    if fault["type"] == "extra_forbidden":
        names = [*PredictRequest.model_fields, *PredictParameters.model_fields]
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
        hint = f", did you mean '{near[0]}'?" if near else ""
        return f"unknown key {key[:60]!a}{hint}"
    if fault["type"] == "value_error":
        return str(fault["msg"]).removeprefix("Value error, ")
    if fault["loc"] and fault["loc"][0] == "inputs":
        return "inputs: neither a string nor a list of strings"
    where = ".".join(str(part) for part in fault["loc"]) or key
    return f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
