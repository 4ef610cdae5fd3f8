"""`POST /predict/stream`: the answer as it forms, by server-sent events.

Events: `progress` for each document that moved, with the answer from what was read of it so far
(its coverage has the reason `streaming`); at the end `answer`, the body of `/predict`, or `error`.
Format: the event stream of the HTML standard (html.spec.whatwg.org, server-sent events).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from longform.errors import LongformError
from longform.serving.answering import AnswerDesk, Answered
from longform.serving.examples import REQUESTS
from longform.serving.jobs import Progress
from longform.serving.parsing import parse_request
from longform.serving.prediction import build_reply
from longform.serving.refusals import describe_error
from longform.serving.replies import error_replies, request_body
from longform.serving.reply_schemas import ErrorReply, absent_keys, build_prediction
from longform.serving.request_log import note_answer
from longform.serving.schemas import PredictRequest

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_SILENCE = 15.0
"""Seconds after which a comment keeps proxies from taking the connection for dead."""


def add_streaming(app: FastAPI, desk: AnswerDesk) -> None:
    """Add the route to an application."""
    content: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}

    @app.post(
        "/predict/stream",
        summary="Classify documents, telling the answer as it forms",
        response_class=StreamingResponse,
        responses={200: {"content": content}, **error_replies(404)},
        openapi_extra=request_body(PredictRequest, REQUESTS),
    )
    async def stream(request: Request) -> Response:
        events = _events(request, desk)
        # What is refused before the first event is refused with a status code.
        first = await anext(events)

        async def all_events() -> AsyncIterator[bytes]:
            async with contextlib.aclosing(events):
                yield first
                async for event in events:
                    yield event

        return StreamingResponse(all_events(), media_type="text/event-stream", headers=_HEADERS)


async def _events(request: Request, desk: AnswerDesk) -> AsyncGenerator[bytes]:
    async with desk.stream(request, parse_request) as (asked, service, stream):
        yield b": reading\n\n"
        top_k = asked.parameters.top_k or desk.settings.top_k
        text_pair = service.loaded_predictor().bundle.description.text_pair
        while True:
            try:
                news = await stream.next_progress(_SILENCE)
            except TimeoutError:
                yield b": still reading\n\n"
                continue
            if news is None:
                break
            for progress in news:
                yield _event("progress", _progress(progress, top_k, text_pair=text_pair))
        try:
            answer = desk.judge(asked, await stream.answer())
            desk.telemetry.observe_answer(service, answer)
            note_answer(request.scope, answer, service.name, service.version)
            reply = build_reply(Answered(asked, answer, service), desk.settings.top_k).encode()
        except LongformError as error:
            _, error_type, message, _ = describe_error(error)
            refusal = ErrorReply(error=message, error_type=error_type)
            yield _event("error", refusal.model_dump_json())
        else:
            yield _event("answer", reply)


def _progress(progress: Progress, top_k: int | None, *, text_pair: bool) -> str:
    reply = build_prediction(progress.prediction, top_k, text_pair=text_pair)
    absent = set(absent_keys(reply)) | {"evidence", "explanation"}
    if not reply.warnings:
        absent.add("warnings")
    prediction = reply.model_dump(exclude=absent)
    return json.dumps({"index": progress.index, "prediction": prediction}, ensure_ascii=False)


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()
