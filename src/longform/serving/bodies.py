"""The reading of request bodies within the limits of the server."""

from __future__ import annotations

import asyncio

from fastapi import Request

from longform.serving.parsing import RequestError
from longform.serving.settings import ServerSettings


async def read_body(request: Request, settings: ServerSettings) -> bytes:
    """Read no more than the limit, for no longer than the time-out.

    Raises:
        RequestError: 413 or 408.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > settings.payload_limit:
        raise too_large(f"{int(announced):,} bytes", settings)
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_timeout):
            async for chunk in request.stream():
                body += chunk
                if len(body) > settings.payload_limit:
                    raise too_large("more", settings)
    except TimeoutError as error:
        raise RequestError(
            408,
            f"The request body must arrive within {settings.body_timeout:g} s.",
            found=f"{len(body):,} bytes until then",
        ) from error
    return bytes(body)


def too_large(found: str, settings: ServerSettings) -> RequestError:
    """Say that a body is beyond the limit."""
    return RequestError(
        413,
        f"A request body may hold {settings.payload_limit:,} bytes.",
        found=found,
        fix="Send fewer documents at once, or raise --payload-limit on the server.",
    )
