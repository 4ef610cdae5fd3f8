"""The HTTP skin over the service: routes and status codes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longform import __version__
from longform.errors import InputError, LongformError
from longform.serving.answering import AnswerDesk, ClientLeftError
from longform.serving.classify import add_classify
from longform.serving.contract import Predictor
from longform.serving.examples import REPLIES, REQUESTS
from longform.serving.open_inference import add_open_inference
from longform.serving.pages import add_pages
from longform.serving.parsing import RequestError, parse_request
from longform.serving.replies import error_replies, json_reply, request_body
from longform.serving.schemas import (
    BackendReply,
    ErrorReply,
    ErrorType,
    HealthReply,
    InfoReply,
    ModelReply,
    PredictReply,
    PredictRequest,
    TimingReply,
    build_labels,
    build_prediction,
)
from longform.serving.service import (
    BackendFailureError,
    NotReadyError,
    OverloadedError,
    PredictionService,
    ServiceState,
)
from longform.serving.settings import ServerSettings
from longform.serving.telemetry import Telemetry
from longform.serving.text_embeddings_inference import (
    TEI_STATUS,
    add_text_embeddings_inference,
)

CLIENT_CLOSED_REQUEST = 499
"""Status under which a request is counted whose client left before the answer (as in nginx)."""


def create_app(service: PredictionService, settings: ServerSettings) -> FastAPI:
    """Build the application; its start-up starts the service, its shutdown closes it.

    Args:
        service: A service that has not been started.
        settings: Limits of the requests.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="longform",
        version=__version__,
        description="Classifies long documents and says how much of each was read.",
        docs_url=None,  # FastAPI's own pages load scripts from the internet.
        redoc_url=None,
        lifespan=lifespan,
    )
    telemetry = Telemetry(service)
    app.add_middleware(_RequestCounter, telemetry=telemetry)
    _add_error_replies(app)
    desk = AnswerDesk(service, settings, telemetry)
    _add_prediction(app, desk)
    for add_routes in (add_open_inference, add_classify, add_text_embeddings_inference):
        add_routes(app, desk)
    _add_health(app, service, telemetry)
    add_pages(app)
    return app


def _add_prediction(app: FastAPI, desk: AnswerDesk) -> None:
    service, settings = desk.service, desk.settings
    replies = {200: {"content": {"application/json": {"examples": REPLIES}}}, **error_replies()}

    @app.post(
        "/predict",
        summary="Classify documents",
        response_model=PredictReply,
        responses=replies,
        openapi_extra=request_body(PredictRequest, REQUESTS),
    )
    async def predict(request: Request) -> Response:
        asked, answer = await desk.answer(request, parse_request)
        top_k = asked.parameters.top_k or settings.top_k
        reply = PredictReply(
            model=_describe_model(service),
            predictions=[
                build_prediction(one, top_k, text_pair=answer.text_pair)
                for one in answer.predictions
            ],
            timing_ms=TimingReply(
                queue=round(answer.queue_seconds * 1000, 3),
                infer=round(answer.infer_seconds * 1000, 3),
                total=round((answer.queue_seconds + answer.infer_seconds) * 1000, 3),
            ),
        )
        return json_reply(reply.encode())


def _add_health(app: FastAPI, service: PredictionService, telemetry: Telemetry) -> None:
    unavailable: dict[int | str, dict[str, Any]] = {503: {"model": HealthReply}}

    def reply(is_well: bool) -> Response:
        predictor = service.predictor
        health = HealthReply(
            status=service.state.value,
            reason=service.reason,
            model=None if predictor is None else _describe_model(service),
            backend=None if predictor is None else _describe_backend(predictor),
        )
        return json_reply(health.model_dump_json(), 200 if is_well else 503)

    @app.get("/health/live", response_model=HealthReply, responses=unavailable)
    async def live() -> Response:
        """Tell whether the process is worth keeping: 503 asks for a restart."""
        return reply(service.is_alive)

    @app.get("/health/ready", response_model=HealthReply, responses=unavailable)
    async def ready() -> Response:
        """Tell whether the model takes work now, and if not, why."""
        return reply(service.is_alive and service.state is ServiceState.READY)

    @app.get("/info", response_model=InfoReply, responses={503: {"model": ErrorReply}})
    async def info() -> Response:
        """Tell what the model judges, one text or two, and which labels it may give."""
        predictor = service.loaded_predictor()
        described = InfoReply(
            model=_describe_model(service),
            backend=_describe_backend(predictor),
            problem_type=predictor.rule.problem_type,
            text_pair=predictor.bundle.description.text_pair,
            labels=build_labels(predictor.rule),
        )
        return json_reply(described.model_dump_json())

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return the metrics in the Prometheus text format."""
        return Response(telemetry.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_error_replies(app: FastAPI) -> None:
    async def reply(request: Request, error: Exception) -> Response:
        status, error_type, message, headers = _describe_error(error)
        if request.url.path.startswith("/tei/"):
            status = TEI_STATUS.get(error_type, status)
        content = ErrorReply(error=message, error_type=error_type).model_dump_json()
        return json_reply(content, status, headers)

    async def reply_to_nobody(_: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    for kind in (LongformError, HTTPException, Exception):
        app.add_exception_handler(kind, reply)
    app.add_exception_handler(ClientLeftError, reply_to_nobody)


def _describe_error(error: Exception) -> tuple[int, ErrorType, str, dict[str, str]]:
    """The one place where errors become status codes."""
    if isinstance(error, RequestError):
        return error.status, error.error_type, str(error), {}
    if isinstance(error, InputError):
        return 422, "validation", str(error), {}
    if isinstance(error, OverloadedError):
        return 429, "overloaded", str(error), {"Retry-After": str(error.retry_after)}
    if isinstance(error, NotReadyError):
        return 503, "unhealthy", str(error), {"Retry-After": "1"}
    if isinstance(error, BackendFailureError):
        return 500, "backend", str(error), {}
    if isinstance(error, HTTPException):
        message = f"{error.detail}. See /docs for the addresses that answer."
        return error.status_code, "validation", message, dict(error.headers or {})
    return 500, "backend", "The server failed; its log says more.", {}


def _describe_model(service: PredictionService) -> ModelReply:
    digest = service.predictor.bundle.digest if service.predictor is not None else ""
    return ModelReply(name=service.name, version=service.version, digest=digest)


def _describe_backend(predictor: Predictor) -> BackendReply:
    info = predictor.backend_info
    return BackendReply(name=info.name, device=info.device, precision=info.precision)


class _RequestCounter:
    """Counts each request once, whatever answered it."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        code = 500

        async def watch(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            endpoint = getattr(scope.get("route"), "path", "other")
            self._telemetry.count_request(endpoint, code, time.monotonic() - began)
