"""The one place where errors become status codes."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from longform.errors import InputError
from longform.serving.failures import BackendFailureError, NotReadyError, OverloadedError
from longform.serving.parsing import RequestError
from longform.serving.reply_schemas import ErrorType
from longform.serving.versions import ModelRefusedError, UnknownModelError

Refusal = tuple[int, ErrorType, str, dict[str, str]]
"""Status code, kind for programs, message, headers."""


def describe_error(error: Exception) -> Refusal:
    """Turn an error into what a client is told."""
    if isinstance(error, RequestError):
        return error.status, error.error_type, str(error), {}
    if isinstance(error, UnknownModelError):
        return 404, "validation", str(error), {}
    if isinstance(error, InputError):
        return 422, "validation", str(error), {}
    if isinstance(error, ModelRefusedError):
        return 409, "validation", str(error), {}
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
