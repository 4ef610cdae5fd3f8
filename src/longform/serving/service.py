"""The serving core: one version of one model, honest about its state. Knows no HTTP.

Front doors hand in documents and get a `concurrent.futures.Future`, so that an event loop can wait
without being held up: health and metrics answer while inference runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from enum import StrEnum

from longform.errors import InputError, LongformError
from longform.serving.contract import Predictor
from longform.serving.engine import Engine
from longform.serving.failures import BackendFailureError, NotReadyError
from longform.serving.jobs import Answer, Job, JobOptions
from longform.serving.limits import EngineLimits
from longform.serving.reports import BatchReport
from longform.text.documents import check_pair
from longform.types import Document

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT = 10.0
"""Seconds to wait for work under way when the service closes."""


class ServiceState(StrEnum):
    """Where the service stands; only `READY` takes work."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


class ServiceWatcher:
    """Who wants to know what happens in a service; this one does not. Called on any thread."""

    def batch_done(self, service: PredictionService, report: BatchReport) -> None:
        """Take note of a batch."""

    def request_dropped(self, service: PredictionService) -> None:
        """Take note of a request whose client left before its answer."""

    def version_retired(self, service: PredictionService) -> None:
        """Take note of a version that answers no more."""


class PredictionService:
    """Holds a predictor and answers with it.

    Args:
        load: Opens the predictor. Called on a thread of its own by `start`, so that a server can
            bind its port and answer health checks while a large model loads.
        name: Name of the model in replies and metrics.
        version: Version of the model in replies and metrics.
        limits: How batches are made.
        watcher: Told of batches and dropped requests.
    """

    def __init__(
        self,
        load: Callable[[], Predictor],
        *,
        name: str = "default",
        version: str = "1",
        limits: EngineLimits | None = None,
        watcher: ServiceWatcher | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.state = ServiceState.STARTING
        self.reason: str | None = "the model is loading"
        self.failure: LongformError | None = None
        self.predictor: Predictor | None = None
        self.ready_after_seconds = 0.0
        self._load = load
        self._limits = limits or EngineLimits()
        self._watcher = watcher or ServiceWatcher()
        self._engine: Engine | None = None
        self._opened = threading.Event()
        self._was_ready = False
        self._is_closed = False
        self._closing = threading.Lock()
        # A daemon: a native call that never returns must not keep the process alive after close().
        self._opener = threading.Thread(target=self._open, name="longform-open", daemon=True)

    @property
    def queued_tokens(self) -> int:
        """Tokens that still have to be encoded."""
        return 0 if self._engine is None else self._engine.queued_tokens

    @property
    def tokens_per_second(self) -> float:
        """The pace of late; 0 before the first batch."""
        return 0.0 if self._engine is None else self._engine.tokens_per_second

    @property
    def is_alive(self) -> bool:
        """Whether the service can still do, or come to do, work."""
        if (
            self.state is ServiceState.READY
            and self._engine is not None
            and not self._engine.is_alive
        ):
            self._fail(BackendFailureError("The inference thread has died."))
        return self.state is not ServiceState.FAILED

    @property
    def is_ready(self) -> bool:
        """Whether the service takes work now."""
        return (
            self.is_alive
            and self.state is ServiceState.READY
            and self.predictor is not None
            and self.predictor.is_available
        )

    @property
    def failed_to_start(self) -> bool:
        """Whether the model could not be opened at all, so that waiting is of no use."""
        return self.state is ServiceState.FAILED and not self._was_ready

    def start(self) -> None:
        """Start loading, warming up and checking the model in the background."""
        self._opener.start()

    def wait_until_opened(self, timeout: float | None = None) -> ServiceState:
        """Wait until the start has come to an end, good or bad, and return the state."""
        self._opened.wait(timeout)
        return self.state

    def loaded_predictor(self) -> Predictor:
        """Return the predictor, from the moment on that it is loaded.

        Raises:
            NotReadyError: It is not, or not yet.
        """
        if self.predictor is None:
            raise self._not_ready()
        return self.predictor

    def require_ready(self) -> None:
        """Refuse work that would be refused later.

        Raises:
            NotReadyError: The service does not take work now.
        """
        if not self.is_ready:
            raise self._not_ready()

    def submit(
        self,
        documents: Sequence[Document],
        options: JobOptions | None = None,
        faults: Mapping[int, LongformError] | None = None,
    ) -> Future[Answer]:
        """Queue documents for inference.

        Args:
            documents: The documents.
            options: What is wanted beside an answer.
            faults: What is known to be wrong with documents, by their places: these are not read.

        A document that cannot be read has its error in the answer; the others are answered.
        Cancelling the future drops what has not been encoded. The future raises
        `BackendFailureError` for what is no client's fault, `NotReadyError` when the service stops.

        Raises:
            NotReadyError: The service does not take work now.
            OverloadedError: As many tokens wait as may.
        """
        self.require_ready()
        predictor, engine = self.loaded_predictor(), self._engine
        assert engine is not None
        text_pair = predictor.bundle.description.text_pair
        job = Job(documents, options or JobOptions(), text_pair)
        job.outcomes.update(faults or {})
        for index, document in enumerate(documents):
            if index in job.outcomes:
                continue
            try:
                check_pair(document, pairs=text_pair)
            except InputError as error:
                job.outcomes[index] = error
        engine.submit(job)
        return job.future

    def drain(self) -> None:
        """Take no more work; what was taken is finished. Safe to call in a signal handler."""
        if self.state in {ServiceState.STARTING, ServiceState.READY}:
            self.state = ServiceState.STOPPING
            self.reason = "the server is shutting down"

    def close(self) -> None:
        """Drain, wait a limited time for what was taken, and free the model."""
        self.drain()
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        if self._opener.ident is not None:
            self._opener.join(CLOSE_TIMEOUT)
        if self._engine is not None:
            has_ended = self._engine.close(CLOSE_TIMEOUT)
            self._engine.refuse_waiting(self._not_ready())
            if not has_ended:
                logger.warning("Inference still runs after %.0f s; left behind.", CLOSE_TIMEOUT)
                return
        if self.predictor is not None and not self._opener.is_alive():
            self.predictor.close()

    # What the engine says

    def batch_done(self, report: BatchReport) -> None:
        """Take note of a batch."""
        self._watcher.batch_done(self, report)

    def request_dropped(self) -> None:
        """Take note of a request whose client left."""
        self._watcher.request_dropped(self)

    def backend_failed(self) -> None:
        """Decide after a failure whether the text was at fault or the backend is broken."""
        if self.predictor is None or self.state is ServiceState.FAILED:
            return
        try:
            self.predictor.check_golden()
        except NotReadyError:
            # A device is away for a moment; that says nothing of the answers it gives.
            return
        except Exception as error:
            self._fail(
                BackendFailureError(
                    "The backend failed and no longer gives the answers stored in the bundle.",
                    found=f"{type(error).__name__}: {error}",
                    fix="Restart the server.",
                )
            )

    def device_died(self, error: BaseException) -> None:
        """Take note that a thread of the engine has ended."""
        failure = BackendFailureError(
            "The inference thread has died.",
            found=type(error).__name__,
            fix="Restart the server.",
        )
        self._fail(failure, said=failure)

    def _not_ready(self) -> NotReadyError:
        reason = self.reason
        if self.state is ServiceState.READY:
            reason = "its devices are starting again"
        return NotReadyError("The model is not ready.", found=reason or self.state)

    def _open(self) -> None:
        began = time.monotonic()
        try:
            self.predictor = self._load()
            self.reason = "the model is warming up"
            self.predictor.warm_up()
            self.reason = "the model is being checked on this device"
            self.predictor.check_golden()
            longest = self.predictor.bundle.description.knobs.segments.segment_length
            limits = replace(self._limits, quantum=max(self._limits.quantum, longest))
            self._engine = Engine(self.predictor, limits, self)
            self._engine.start()
        except LongformError as error:
            self._fail(error)
        except Exception as error:
            logger.exception("The model could not be started.")
            self._fail(
                BackendFailureError(
                    "The model could not be started.", found=f"{type(error).__name__}: {error}"
                )
            )
        else:
            self.ready_after_seconds = time.monotonic() - began
            if self.state is ServiceState.STARTING:
                self.state, self.reason, self._was_ready = ServiceState.READY, None, True
            logger.info(
                "Model %s version %s is ready after %.1f s.",
                self.name,
                self.version,
                self.ready_after_seconds,
            )
        self._opened.set()

    def _fail(self, error: LongformError, said: LongformError | None = None) -> None:
        logger.error("%s", error)
        self.failure = error
        self.reason = str(error)
        self.state = ServiceState.FAILED
        if self._engine is not None:
            self._engine.refuse_waiting(said or self._not_ready())
