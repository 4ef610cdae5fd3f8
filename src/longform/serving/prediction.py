"""`POST /predict`: documents in, labels with coverage out."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from longform.errors import LongformError
from longform.serving.answering import AnswerDesk, Answered
from longform.serving.examples import REPLIES, REQUESTS
from longform.serving.jobs import Answer
from longform.serving.parsing import parse_request
from longform.serving.refusals import describe_error
from longform.serving.replies import error_replies, json_reply, request_body
from longform.serving.reply_schemas import (
    ItemErrorReply,
    PredictionReply,
    PredictReply,
    TimingReply,
    build_prediction,
    describe_model,
)
from longform.serving.schemas import PredictRequest
from longform.types import Prediction


def add_prediction(app: FastAPI, desk: AnswerDesk) -> None:
    """Add the route to an application."""
    replies = {
        200: {"content": {"application/json": {"examples": REPLIES}}},
        **error_replies(404),
    }

    @app.post(
        "/predict",
        summary="Classify documents",
        response_model=PredictReply,
        responses=replies,
        openapi_extra=request_body(PredictRequest, REQUESTS),
    )
    async def predict(request: Request) -> Response:
        answered = await desk.answer(request, parse_request)
        return json_reply(build_reply(answered, desk.settings.top_k).encode())


def build_reply(answered: Answered[PredictRequest], top_k: int | None) -> PredictReply:
    """Turn an answer into its shape on the wire.

    Args:
        answered: The request and its answer.
        top_k: Most scores of an answer where the request does not say.

    Raises:
        LongformError: The request held one document, which has no answer.
    """
    asked, answer = answered.asked, answered.answer
    outcomes = answer.outcomes if asked.is_batch else answer.predictions
    most = asked.parameters.top_k or top_k
    return PredictReply(
        model=describe_model(answered.service),
        predictions=[_item(outcome, most, text_pair=answer.text_pair) for outcome in outcomes],
        timing_ms=_timing(answer),
    )


def _item(
    outcome: Prediction | LongformError, top_k: int | None, *, text_pair: bool
) -> PredictionReply | ItemErrorReply:
    if isinstance(outcome, Prediction):
        return build_prediction(outcome, top_k, text_pair=text_pair)
    _, error_type, message, _ = describe_error(outcome)
    return ItemErrorReply(error=message, error_type=error_type)


def _timing(answer: Answer) -> TimingReply:
    return TimingReply(
        tokenize=round(answer.tokenize_seconds * 1000, 3),
        queue=round(answer.queue_seconds * 1000, 3),
        infer=round((answer.encode_seconds + answer.head_seconds) * 1000, 3),
        total=round(answer.total_seconds * 1000, 3),
    )
