"""The HTTP skin over the models: the application, its error replies, its counting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from longform import __version__
from longform.errors import LongformError
from longform.serving.answering import AnswerDesk, ClientLeftError
from longform.serving.classify import add_classify
from longform.serving.health import add_health
from longform.serving.models import ModelRegistry
from longform.serving.open_inference import add_open_inference
from longform.serving.pages import PAGE_PATHS, add_pages
from longform.serving.prediction import add_prediction
from longform.serving.refusals import describe_error
from longform.serving.replies import json_reply
from longform.serving.reply_schemas import ErrorReply
from longform.serving.request_log import RequestWatch
from longform.serving.security import KeyGuard, KeyRing
from longform.serving.settings import ServerSettings
from longform.serving.streaming import add_streaming
from longform.serving.telemetry import Telemetry
from longform.serving.text_embeddings_inference import (
    TEI_STATUS,
    add_text_embeddings_inference,
)
from longform.serving.tracing import RequestTracer
from longform.serving.uploads import add_uploads

OPEN_PATHS = frozenset(
    {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", *PAGE_PATHS}
)
"""What needs no key: probes do not have one, and the page asks for it."""
CLIENT_CLOSED_REQUEST = 499
"""Status under which a request is counted whose client left before the answer (as in nginx)."""


def create_desk(registry: ModelRegistry, settings: ServerSettings) -> AnswerDesk:
    """Put counters and a desk before models, for all front doors of a server."""
    telemetry = Telemetry()
    registry.watcher = telemetry
    telemetry.watch(registry)
    return AnswerDesk(registry, settings, telemetry)


def create_app(
    registry: ModelRegistry, settings: ServerSettings, desk: AnswerDesk | None = None
) -> FastAPI:
    """Build the application; its start-up starts the models, its shutdown closes them.

    Args:
        registry: Models that have not been started.
        settings: Limits of the requests.
        desk: What other front doors share; None for one of its own.
    """
    desk = desk or create_desk(registry, settings)
    tracer = None
    if settings.otlp_endpoint is not None:
        tracer = RequestTracer.to_endpoint(settings.otlp_endpoint)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        registry.start()
        yield
        await asyncio.to_thread(registry.close)
        desk.telemetry.devices.stop()
        if tracer is not None:
            await asyncio.to_thread(tracer.close)

    app = FastAPI(
        title="longform",
        version=__version__,
        description="Classifies long documents and says how much of each was read.",
        docs_url=None,  # FastAPI's own pages load scripts from the internet.
        redoc_url=None,
        lifespan=lifespan,
    )
    if settings.api_keys is not None:
        keys = KeyRing.from_file(Path(settings.api_keys))
        open_paths = OPEN_PATHS | ({"/metrics"} if settings.open_metrics else set())
        app.add_middleware(KeyGuard, keys=keys, open_paths=open_paths)
    app.add_middleware(RequestWatch, telemetry=desk.telemetry, tracer=tracer)
    _add_error_replies(app)
    for add_routes in (
        add_prediction,
        add_streaming,
        add_uploads,
        add_open_inference,
        add_classify,
        add_text_embeddings_inference,
    ):
        add_routes(app, desk)
    add_health(app, registry, desk.telemetry)
    add_pages(app)
    return app


def _add_error_replies(app: FastAPI) -> None:
    async def reply(request: Request, error: Exception) -> Response:
        status, error_type, message, headers = describe_error(error)
        if request.url.path.startswith("/tei/"):
            status = TEI_STATUS.get(error_type, status)
        content = ErrorReply(error=message, error_type=error_type).model_dump_json()
        return json_reply(content, status, headers)

    async def reply_to_nobody(_: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    for kind in (LongformError, HTTPException, Exception):
        app.add_exception_handler(kind, reply)
    app.add_exception_handler(ClientLeftError, reply_to_nobody)
