"""`POST /tei/predict`: the shape of text-embeddings-inference, where a flat list of two is a pair.

Unlike there, nothing is cut: `truncate` is accepted and has no effect.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request, Response
from pydantic import Field, StrictBool, StrictStr, TypeAdapter

from longform.serving.answering import AnswerDesk, Answered
from longform.serving.jobs import JobOptions
from longform.serving.parsing import check_documents, read_shape
from longform.serving.replies import error_replies, json_reply, request_body
from longform.serving.reply_schemas import LabelScoreReply
from longform.serving.schemas import ForeignRequest
from longform.types import Document

TEI_STATUS = {"backend": 424, "empty": 400}
"""Status codes of this shape, by `error_type`, where they differ from ours."""

_Pair = Annotated[list[StrictStr], Field(min_length=2, max_length=2)]
_OneOrTwo = Annotated[list[StrictStr], Field(min_length=1, max_length=2)]
_REPLY: TypeAdapter[list[LabelScoreReply] | list[list[LabelScoreReply]]] = TypeAdapter(
    list[LabelScoreReply] | list[list[LabelScoreReply]]
)


class TeiRequest(ForeignRequest):
    """A text, a pair of texts, or a batch of either."""

    inputs: StrictStr | _Pair | list[_OneOrTwo]
    """A text; two texts, which are a pair; or a list of lists of one text or two."""
    truncate: StrictBool | None = None
    """No effect: documents are read whole, or as the model's selection says."""
    truncation_direction: Literal["left", "right", "Left", "Right"] = "right"
    """No effect."""
    raw_scores: StrictBool = False
    """Answer logits instead of probabilities."""

    def options(self) -> JobOptions:
        """Return what is wanted beside the answer."""
        return JobOptions(raw_scores=self.raw_scores)

    @property
    def is_batch(self) -> bool:
        """Whether the answer is a list for each document."""
        return isinstance(self.inputs, list) and not any(
            isinstance(item, str) for item in self.inputs
        )

    def documents(self) -> list[Document]:
        """Return the documents in the order given."""
        given: list[Any] = list(self.inputs) if self.is_batch else [self.inputs]
        texts = [[item] if isinstance(item, str) else item for item in given]
        return [
            Document(str(index), item[0], text_pair=item[1] if len(item) > 1 else None)
            for index, item in enumerate(texts)
        ]


def parse_tei(body: bytes, limit: int) -> TeiRequest:
    """Read an untrusted body; see `parse_request`."""
    rule = "The request must hold 'inputs': a text, a pair, or a list of lists of texts."
    asked = read_shape(body, TeiRequest, rule)
    check_documents(asked.documents(), limit)
    return asked


def add_text_embeddings_inference(app: FastAPI, desk: AnswerDesk) -> None:
    """Add the route to an application."""
    examples: dict[str, Any] = {
        "a document": {"value": {"inputs": "The court finds that ..."}},
        "several documents": {"value": {"inputs": [["The court ..."], ["This contract ..."]]}},
    }

    @app.post(
        "/tei/predict",
        summary="Classify documents, in the shape of text-embeddings-inference",
        response_model=list[LabelScoreReply] | list[list[LabelScoreReply]],
        responses={code: reply for code, reply in error_replies(424).items() if code != 500},
        openapi_extra=request_body(TeiRequest, examples),
    )
    async def predict(request: Request) -> Response:
        answered = await desk.answer(request, parse_tei)
        scores = [
            [LabelScoreReply(label=one.label, score=one.score) for one in prediction.scores]
            for prediction in answered.answer.predictions
        ]
        body = _REPLY.dump_json(scores if answered.asked.is_batch else scores[0]).decode()
        return json_reply(body, headers=_headers(answered))


def _headers(answered: Answered[TeiRequest]) -> dict[str, str]:
    """Tell the cost of an answer, times in milliseconds."""
    answer = answered.answer
    texts = [(item.text, item.text_pair or "") for item in answered.asked.documents()]
    milliseconds = {
        "x-compute-time": answer.total_seconds,
        "x-total-time": answer.total_seconds,
        "x-tokenization-time": answer.tokenize_seconds,
        "x-queue-time": answer.queue_seconds,
        "x-inference-time": answer.encode_seconds + answer.head_seconds,
    }
    return {
        "x-compute-type": answered.service.loaded_predictor().backend_info.device,
        "x-compute-characters": str(sum(len(first) + len(second) for first, second in texts)),
        "x-compute-tokens": str(sum(one.coverage.tokens_used for one in answer.predictions)),
        **{name: str(round(1000 * seconds)) for name, seconds in milliseconds.items()},
    }
