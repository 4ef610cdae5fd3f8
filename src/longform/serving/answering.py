"""From a request on the wire to an answer: the way that every HTTP shape shares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from fastapi import Request

from longform.serving.parsing import RequestError
from longform.serving.service import Answer, PredictionService
from longform.serving.settings import ServerSettings
from longform.serving.telemetry import Telemetry
from longform.types import Document

CLIENT_CLOSED_REQUEST = 499
"""Status under which a request is counted whose client left before the answer (as in nginx)."""


class Asked(Protocol):
    """What every shape of a request comes down to."""

    @property
    def evidence(self) -> bool:
        """Whether evidence is wanted."""
        ...

    def documents(self) -> Sequence[Document]:
        """Return the documents in the order given."""
        ...


AskedT = TypeVar("AskedT", bound=Asked)


class AnswerDesk:
    """Takes requests of any shape to the service and back.

    Args:
        service: What answers.
        settings: Limits of the requests.
        telemetry: Counts what was answered.
    """

    def __init__(
        self, service: PredictionService, settings: ServerSettings, telemetry: Telemetry
    ) -> None:
        self.service = service
        self.settings = settings
        self.telemetry = telemetry

    async def answer(
        self, request: Request, parse: Callable[[bytes, int], AskedT]
    ) -> tuple[AskedT, Answer] | None:
        """Read a body, have its documents answered, and count them.

        Args:
            request: Its body is read here, within the limits of the server.
            parse: Reads the body, given the most documents that a request may hold.

        Returns:
            What was asked and the answer; None when the client left before it.

        Raises:
            RequestError: The body cannot be read, or `strict` forbids the answer.
            NotReadyError: The service does not take work now.
            OverloadedError: All permits are taken.
        """
        with self.service.permit():
            body = await read_body(request, self.settings)
            # In a thread: checking a body of many megabytes would hold up the health checks.
            asked = await asyncio.to_thread(parse, body, self.settings.max_client_batch_size)
            future = self.service.submit(asked.documents(), evidence=asked.evidence)
            answer = await _wait_for_answer(request, future)
        if answer is None:
            return None
        self.telemetry.observe_answer(answer)
        if self.settings.strict:
            _refuse_truncated(answer)
        return asked, answer


async def read_body(request: Request, settings: ServerSettings) -> bytes:
    """Read no more than the limit, for no longer than the time-out."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > settings.payload_limit:
        raise _too_large(f"{int(announced):,} bytes", settings)
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_timeout):
            async for chunk in request.stream():
                body += chunk
                if len(body) > settings.payload_limit:
                    raise _too_large("more", settings)
    except TimeoutError as error:
        raise RequestError(
            408,
            f"The request body must arrive within {settings.body_timeout:g} s.",
            found=f"{len(body):,} bytes until then",
        ) from error
    return bytes(body)


def _too_large(found: str, settings: ServerSettings) -> RequestError:
    return RequestError(
        413,
        f"A request body may hold {settings.payload_limit:,} bytes.",
        found=found,
        fix="Send fewer documents at once, or raise --payload-limit on the server.",
    )


async def _wait_for_answer(request: Request, future: Future[Answer]) -> Answer | None:
    """Wait for the answer; None when the client left, whose waiting work is then dropped."""
    answered = asyncio.wrap_future(future)
    gone = asyncio.create_task(_wait_for_disconnect(request))
    try:
        waited: set[asyncio.Future[Any]] = {answered, gone}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        return answered.result() if answered.done() else None
    finally:
        answered.cancel()
        gone.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _refuse_truncated(answer: Answer) -> None:
    for index, prediction in enumerate(answer.predictions):
        coverage = prediction.coverage
        if coverage.truncated:
            raise RequestError(
                413,
                "This server answers only when a document is read as a whole (--strict).",
                found=f"document {index}: {coverage.tokens_used:,} of {coverage.tokens_total:,} "
                f"tokens would be read ({coverage.reason})",
                fix="Send a shorter document, or use a model that reads every segment.",
            )
