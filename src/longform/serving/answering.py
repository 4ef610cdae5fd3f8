"""From a request on the wire to an answer: the way that every front door shares."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from fastapi import Request
from starlette.types import Scope

from longform.errors import LongformError
from longform.serving.bodies import read_body
from longform.serving.comparing import Comparing
from longform.serving.jobs import Answer, JobOptions, Progress
from longform.serving.models import ModelRegistry
from longform.serving.parsing import RequestError
from longform.serving.request_log import note_answer
from longform.serving.service import PredictionService
from longform.serving.settings import ServerSettings
from longform.serving.telemetry import Telemetry
from longform.types import Document, Prediction

_PARSED_AT_ONCE = 32_768
"""Larger bodies are parsed in a thread: many megabytes would hold up the health checks."""


class ClientLeftError(Exception):
    """The client left before its answer; its waiting work was dropped."""


class Asked(Protocol):
    """What every shape of a request comes down to."""

    @property
    def model_name(self) -> str | None:
        """The model asked for; None for the first one."""
        ...

    @property
    def model_version(self) -> str | None:
        """The version asked for; None for the one that serves."""
        ...

    @property
    def is_strict(self) -> bool:
        """Whether a document that would be read in part is refused."""
        ...

    @property
    def faults(self) -> Mapping[int, LongformError]:
        """What is wrong with documents of a batch that is answered item by item."""
        ...

    def documents(self) -> Sequence[Document]:
        """Return the documents in the order given."""
        ...

    def options(self) -> JobOptions:
        """Return what is wanted beside the answer."""
        ...


AskedT = TypeVar("AskedT", bound=Asked)


@dataclass(frozen=True, slots=True)
class Answered(Generic[AskedT]):
    """A request that was answered.

    Attributes:
        asked: The request.
        answer: Its answer.
        service: The version that gave it.
    """

    asked: AskedT
    answer: Answer
    service: PredictionService


class AnswerDesk:
    """Takes requests of any shape to a model and back.

    Args:
        registry: The models.
        settings: Limits of the requests.
        telemetry: Counts what was answered.
    """

    def __init__(
        self, registry: ModelRegistry, settings: ServerSettings, telemetry: Telemetry
    ) -> None:
        self.registry = registry
        self.settings = settings
        self.telemetry = telemetry
        self._comparing = Comparing(registry)

    async def answer(
        self, request: Request, parse: Callable[[bytes, int], AskedT]
    ) -> Answered[AskedT]:
        """Read a body, have its documents answered, and count them.

        Args:
            request: Its body is read here, within the limits of the server.
            parse: Reads the body, given the most documents that a request may hold.

        Raises:
            ClientLeftError: Nobody waits for the answer any more.
            RequestError: The body cannot be read, or `strict` forbids the answer.
            UnknownModelError: The model is not served.
            NotReadyError: The model does not take work now.
            OverloadedError: All permits are taken, or too much is waiting.
        """
        with self.registry.permit():
            asked = await self._read(request, parse)
            name = await self.registry.provide(asked.model_name)
            with self.registry.lease(name, asked.model_version) as service:
                future = self.submit(service, asked)
                answer = await _wait_for_answer(request, future)
                note_answer(request.scope, answer, service.name, service.version)
                return self._hand_out(asked, answer, service)

    @contextlib.asynccontextmanager
    async def stream(
        self, request: Request, parse: Callable[[bytes, int], AskedT]
    ) -> AsyncIterator[tuple[AskedT, PredictionService, ProgressStream]]:
        """Like `answer`, with what is known on the way; see `ProgressStream`."""
        with self.registry.permit():
            asked = await self._read(request, parse)
            async with self._follow(asked) as (service, stream):
                yield asked, service, stream

    @contextlib.asynccontextmanager
    async def stream_asked(
        self, asked: Asked
    ) -> AsyncIterator[tuple[PredictionService, ProgressStream]]:
        """The same for a request that was read before."""
        with self.registry.permit():
            async with self._follow(asked) as following:
                yield following

    @contextlib.asynccontextmanager
    async def _follow(
        self, asked: Asked
    ) -> AsyncIterator[tuple[PredictionService, ProgressStream]]:
        name = await self.registry.provide(asked.model_name)
        with self.registry.lease(name, asked.model_version) as service:
            stream = ProgressStream()
            future = self.submit(service, asked, on_progress=stream.put)
            stream.follow(future)
            try:
                yield service, stream
            finally:
                future.cancel()

    async def answer_asked(self, asked: AskedT, scope: Scope | None = None) -> Answered[AskedT]:
        """Answer a request that was read before; cancelling drops what has not been encoded.

        Args:
            asked: The request.
            scope: Of an HTTP request, whose log line is to name the answer.
        """
        with self.registry.permit():
            name = await self.registry.provide(asked.model_name)
            with self.registry.lease(name, asked.model_version) as service:
                answer = await asyncio.wrap_future(self.submit(service, asked))
                if scope is not None:
                    note_answer(scope, answer, service.name, service.version)
                return self._hand_out(asked, answer, service)

    def submit(
        self,
        service: PredictionService,
        asked: Asked,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Future[Answer]:
        """Queue what a request asks for."""
        options = asked.options()
        if on_progress is not None:
            options = replace(options, on_progress=on_progress)
        documents = asked.documents()
        future = service.submit(documents, options, asked.faults)
        self._comparing.watch(service, documents, future)
        return future

    def _hand_out(
        self, asked: AskedT, answer: Answer, service: PredictionService
    ) -> Answered[AskedT]:
        self.telemetry.observe_answer(service, answer)
        return Answered(asked, self.judge(asked, answer), service)

    def judge(self, asked: Asked, answer: Answer) -> Answer:
        """Replace what `strict` forbids by what it says."""
        if not (self.settings.strict or asked.is_strict):
            return answer
        outcomes = [
            _refusal(index, outcome)
            if isinstance(outcome, Prediction) and outcome.coverage.truncated
            else outcome
            for index, outcome in enumerate(answer.outcomes)
        ]
        return replace(answer, outcomes=outcomes)

    async def _read(self, request: Request, parse: Callable[[bytes, int], AskedT]) -> AskedT:
        body = await read_body(request, self.settings)
        if len(body) <= _PARSED_AT_ONCE:
            return parse(body, self.settings.max_client_batch_size)
        return await asyncio.to_thread(parse, body, self.settings.max_client_batch_size)


class ProgressStream:
    """What is known of a request so far, for one reader on the event loop.

    A reader that is slower than the model misses what was overtaken: of each document there is
    only the newest answer.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._newest: dict[int, Progress] = {}
        self._changed = asyncio.Event()
        self._answer: asyncio.Future[Answer] = self._loop.create_future()

    def put(self, progress: Progress) -> None:
        """Take note of progress; called on any thread."""
        # A loop that is closed has nobody left who reads.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._note, progress)

    def follow(self, future: Future[Answer]) -> None:
        """Take the final answer from a future."""
        self._answer = asyncio.wrap_future(future, loop=self._loop)
        self._answer.add_done_callback(lambda _: self._changed.set())

    async def next_progress(self, timeout: float) -> list[Progress] | None:
        """Wait for news: one item per document that moved; None when the answer is there.

        Raises:
            TimeoutError: Nothing happened for so long.
        """
        while True:
            self._changed.clear()
            if self._newest:
                news, self._newest = list(self._newest.values()), {}
                return news
            if self._answer.done():
                return None
            async with asyncio.timeout(None if math.isinf(timeout) else timeout):
                await self._changed.wait()

    async def answer(self) -> Answer:
        """Return the answer.

        Raises:
            LongformError: There is none.
        """
        return await self._answer

    def _note(self, progress: Progress) -> None:
        self._newest[progress.index] = progress
        self._changed.set()


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


def _refusal(index: int, prediction: Prediction) -> RequestError:
    coverage = prediction.coverage
    return RequestError(
        413,
        "A document must be read as a whole (strict).",
        found=f"document {index}: {coverage.tokens_used:,} of {coverage.tokens_total:,} tokens "
        f"would be read ({coverage.reason})",
        fix="Send a shorter document, or use a model that reads every segment.",
    )
