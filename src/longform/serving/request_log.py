"""One line of log for each request, without its texts, and the id that it goes by."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import uuid
from typing import Any, Literal

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longform.serving.jobs import Answer
from longform.serving.pages import PAGE_PATHS
from longform.serving.telemetry import Telemetry
from longform.serving.tracing import RequestTracer

logger = logging.getLogger("longform.requests")

REQUEST_ID = "x-request-id"
STATE = "longform"
"""Where in a request's scope its answer is noted, for whoever logs and traces it."""
_FIT_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_QUIET = PAGE_PATHS | {
    "/metrics", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"
}  # fmt: skip
"""What probes and pages ask all the time."""
LogFormat = Literal["text", "json"]


class RequestWatch:
    """Counts, logs and traces each request once, whatever answered it, and gives it an id.

    Args:
        app: The application.
        telemetry: Counts it.
        tracer: Traces it; None traces nothing.
    """

    def __init__(
        self, app: ASGIApp, telemetry: Telemetry, tracer: RequestTracer | None = None
    ) -> None:
        self._app = app
        self._telemetry = telemetry
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and take note of its end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, started = time.monotonic(), time.time_ns()
        request_id = _request_id(scope)
        noted: dict[str, Any] = {}
        scope[STATE] = noted
        code = 500

        async def watch(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            endpoint = getattr(scope.get("route"), "path", "other")
            seconds = time.monotonic() - began
            self._telemetry.count_request(endpoint, code, seconds)
            answer: Answer | None = noted.get("answer")
            if endpoint not in _QUIET:
                _log(request_id, scope, endpoint, code, seconds, noted)
                if self._tracer is not None:
                    self._tracer.record(Headers(scope=scope), endpoint, code, started, answer)


def note_answer(scope: Scope, answer: Answer, model: str, version: str) -> None:
    """Leave word of what answered a request, for its log line."""
    noted = scope.get(STATE)
    if noted is not None:
        noted.update(answer=answer, model=model, version=version)


def set_up_logging(form: LogFormat, level: str = "INFO") -> None:
    """Write the log of this process to standard error.

    Args:
        form: `json` for one object a line, `text` for people.
        level: Least severity that is written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Their lines would double ours, or name what clients sent.
    for name in ("uvicorn.access", "httpx", "python_multipart"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _log(
    request_id: str,
    scope: Scope,
    endpoint: str,
    code: int,
    seconds: float,
    noted: dict[str, Any],
) -> None:
    fields: dict[str, Any] = {
        "request_id": request_id,
        "method": scope["method"],
        "endpoint": endpoint,
        "code": code,
        "seconds": round(seconds, 4),
    }
    if owner := scope.get("longform.key"):
        fields["key"] = owner
    answer: Answer | None = noted.get("answer")
    if answer is not None:
        read = [item.coverage for item in answer.outcomes if hasattr(item, "coverage")]
        fields |= {
            "model": noted["model"],
            "version": noted["version"],
            "documents": len(answer.outcomes),
            "unanswered": len(answer.outcomes) - len(read),
            "tokens": sum(coverage.tokens_used for coverage in read),
            "truncated": sum(coverage.truncated for coverage in read),
            "tokenize_seconds": round(answer.tokenize_seconds, 4),
            "queue_seconds": round(answer.queue_seconds, 4),
            "encode_seconds": round(answer.encode_seconds, 4),
            "head_seconds": round(answer.head_seconds, 4),
        }
    logger.info("request", extra={"fields": fields})


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID, "")
    # Only what cannot forge a line of log, or a header.
    return given if _FIT_ID.fullmatch(given) else uuid.uuid4().hex


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        line = super().format(record)
        if fields:
            line += " " + " ".join(f"{name}={value}" for name, value in fields.items())
        if record.exc_info:
            return line
        # One line a record: what comes from outside must not forge another.
        return line.replace("\r", "\\r").replace("\n", "\\n")
