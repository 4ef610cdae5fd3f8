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


class ClientLeftError(Exception):
    """The client left before its answer; its waiting work was dropped."""


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

    def require_model(self, name: str | None, version: str | None = None) -> None:
        """Refuse a model that is not served here.

        Raises:
            RequestError: 404.
        """
        served = self.service
        if name not in {None, served.name} or version not in {None, served.version}:
            raise RequestError(
                404,
                "The model must be one that is served here.",
                found=f"{str(name)[:60]!a}" + (f", version {version[:20]!a}" if version else ""),
                fix=f"Ask for '{served.name}', version {served.version}.",
            )

    async def answer(
        self, request: Request, parse: Callable[[bytes, int], AskedT]
    ) -> tuple[AskedT, Answer]:
        """Read a body, have its documents answered, and count them.

        Args:
            request: Its body is read here, within the limits of the server.
            parse: Reads the body, given the most documents that a request may hold.

        Returns:
            What was asked and the answer.

        Raises:
            ClientLeftError: Nobody waits for the answer any more.
            RequestError: The body cannot be read, or `strict` forbids the answer.
            NotReadyError: The service does not take work now.
            OverloadedError: All permits are taken.
        """
        with self.service.permit():
            body = await _read_body(request, self.settings)
            # In a thread: checking a body of many megabytes would hold up the health checks.
            asked = await asyncio.to_thread(parse, body, self.settings.max_client_batch_size)
            future = self.service.submit(asked.documents(), evidence=asked.evidence)
            answer = await _wait_for_answer(request, future)
        self.telemetry.observe_answer(answer)
        if self.settings.strict:
            _refuse_truncated(answer)
        return asked, answer


async def _read_body(request: Request, settings: ServerSettings) -> bytes:
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


async def _wait_for_answer(request: Request, future: Future[Answer]) -> Answer:
    """Wait for the answer, unless the client leaves: then its waiting work is dropped."""
    answered = asyncio.wrap_future(future)
    gone = asyncio.create_task(_wait_for_disconnect(request))
    try:
        waited: set[asyncio.Future[Any]] = {answered, gone}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise ClientLeftError
        return answered.result()
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
