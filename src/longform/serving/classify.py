"""`POST /v1/classify`: the shape of vLLM's and SGLang's classification."""

from __future__ import annotations

import time
import uuid
from typing import Literal

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, FiniteFloat, StrictStr

from longform.serving.answering import AnswerDesk
from longform.serving.parsing import check_documents, read_shape
from longform.serving.replies import error_replies, json_reply, request_body
from longform.serving.reply_schemas import CoverageReply
from longform.serving.schemas import ForeignRequest
from longform.types import Document, Prediction


class ClassifyRequest(ForeignRequest):
    """One text or several. `truncate_prompt_tokens` is refused: nothing is cut here."""

    input: StrictStr | list[StrictStr]
    """A text, or a list of texts."""
    model: StrictStr | None = None
    """Name of the model; null for the one that is served."""
    user: StrictStr | None = None
    """Of the caller's own use; not kept."""

    @property
    def model_name(self) -> str | None:
        """The model asked for."""
        return self.model

    def documents(self) -> list[Document]:
        """Return the texts in the order given."""
        texts = [self.input] if isinstance(self.input, str) else self.input
        return [Document(str(index), text) for index, text in enumerate(texts)]


class ClassifiedReply(BaseModel):
    """The answer for one text; `probs` are in the order of the model's labels."""

    index: int
    label: str
    probs: list[FiniteFloat]
    num_classes: int
    coverage: CoverageReply
    calibrated: bool = False
    abstained: bool = False
    prediction_set: list[str] | None = None


class UsageReply(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: None = None


class ClassifyReply(BaseModel):
    """The answers in the order sent.

    `coverage`, `calibrated`, `abstained` and `prediction_set` are additions to vLLM's shape.
    """

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ClassifiedReply]
    usage: UsageReply


def parse_classify(body: bytes, limit: int) -> ClassifyRequest:
    """Read an untrusted body; see `parse_request`."""
    rule = "The request must hold 'input': a text or a list of texts."
    asked = read_shape(body, ClassifyRequest, rule)
    check_documents(asked.documents(), limit)
    return asked


def add_classify(app: FastAPI, desk: AnswerDesk) -> None:
    """Add the route to an application."""
    examples = {"a document": {"value": {"input": "The court finds that ..."}}}

    @app.post(
        "/v1/classify",
        summary="Classify documents, in the shape of vLLM",
        response_model=ClassifyReply,
        responses=error_replies(404),
        openapi_extra=request_body(ClassifyRequest, examples),
    )
    async def classify(request: Request) -> Response:
        answered = await desk.answer(request, parse_classify)
        predictions = answered.answer.predictions
        labels = answered.service.loaded_predictor().rule.labels
        used = sum(prediction.coverage.tokens_used for prediction in predictions)
        reply = ClassifyReply(
            id=f"classify-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=answered.service.name,
            data=[
                _classified(index, prediction, labels)
                for index, prediction in enumerate(predictions)
            ],
            usage=UsageReply(prompt_tokens=used, total_tokens=used),
        )
        has_sets = any(prediction.prediction_set is not None for prediction in predictions)
        absent = None if has_sets else {"data": {"__all__": {"prediction_set"}}}
        return json_reply(reply.model_dump_json(exclude=absent))


def _classified(index: int, prediction: Prediction, labels: tuple[str, ...]) -> ClassifiedReply:
    probabilities = {entry.label: entry.score for entry in prediction.scores}
    return ClassifiedReply(
        index=index,
        label=prediction.label,
        probs=[probabilities[label] for label in labels],
        num_classes=len(labels),
        coverage=CoverageReply(**prediction.coverage.as_dict()),
        calibrated=prediction.calibrated,
        abstained=prediction.abstained,
        prediction_set=None
        if prediction.prediction_set is None
        else list(prediction.prediction_set),
    )
