"""What the routes of every shape have alike: JSON, and how bodies and errors are documented."""

from __future__ import annotations

from typing import Any

from fastapi import Response
from pydantic import BaseModel

from longform.serving.reply_schemas import ErrorReply
from longform.serving.schemas import request_schema

_ERRORS = {
    400: "Not JSON in UTF-8.",
    401: "No key, or not a known one (where the server wants keys).",
    404: "No such model.",
    408: "The body did not arrive in time.",
    415: "Not a kind of file, or of body, that can be read.",
    413: "Too large, or (strict) not wholly readable.",
    422: "Wrong shape, empty, too many documents, or not the number of texts that the model judges "
    "together.",
    424: "The model could not answer.",
    429: "Overloaded; see Retry-After.",
    500: "The model could not answer.",
    503: "The model is not ready.",
}
_COMMON = (400, 401, 408, 413, 422, 429, 500, 503)


def error_replies(*further: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors of a route that answers documents, for the OpenAPI document.

    Args:
        further: Status codes that not all such routes have.
    """
    codes = sorted({*_COMMON, *further})
    return {code: {"model": ErrorReply, "description": _ERRORS[code]} for code in codes}


def request_body(shape: type[BaseModel], examples: dict[str, Any]) -> dict[str, Any]:
    """Describe a body that the route itself reads, for `openapi_extra`.

    Args:
        shape: The model that a body must fulfil.
        examples: Bodies, under the names shown for them.
    """
    content = {"schema": request_schema(shape), "examples": examples}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def json_reply(content: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return JSON that is encoded already."""
    return Response(content, status, headers, media_type="application/json")
