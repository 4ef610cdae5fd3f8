"""The serving core: one predictor on one worker thread, a bound on the work taken, honest state.

Knows no HTTP. Front doors hand in documents and get a `concurrent.futures.Future`, so that an
event loop can wait without being held up: health and metrics answer while inference runs.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum

from longform.errors import InputError, LongformError
from longform.serving.contract import Predictor
from longform.text.documents import check_pair
from longform.types import Document, Prediction

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT = 10.0
"""Seconds to wait for work under way when the service closes."""


class ServiceState(StrEnum):
    """Where the service stands; only `READY` takes work."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


class OverloadedError(LongformError):
    """As much work is waiting as the service takes."""

    retry_after = 1
    """Seconds after which a client may try again."""


class NotReadyError(LongformError):
    """The service is starting, stopping, or has failed."""


class BackendFailureError(LongformError):
    """Inference failed for a reason that the client cannot mend."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The predictions of one request, in the order of its documents.

    Attributes:
        predictions: One per document.
        text_pair: Whether the documents are pairs of texts.
        queue_seconds: Waiting for the model.
        infer_seconds: Reading and scoring.
    """

    predictions: list[Prediction]
    text_pair: bool
    queue_seconds: float
    infer_seconds: float


@dataclass(slots=True)
class _Work:
    run: Callable[[], Answer]
    future: Future[Answer]


class PredictionService:
    """Holds a predictor and answers with it, one request at a time, on a thread of its own.

    Args:
        load: Opens the predictor. Called on the worker thread by `start`, so that a server can
            bind its port and answer health checks while a large model loads.
        name: Name of the model in replies and metrics.
        version: Version of the model in replies and metrics.
        max_concurrent_requests: Permits: requests that may wait or run at once.
    """

    def __init__(
        self,
        load: Callable[[], Predictor],
        *,
        name: str = "default",
        version: str = "1",
        max_concurrent_requests: int = 512,
    ) -> None:
        self.name = name
        self.version = version
        self.max_concurrent_requests = max_concurrent_requests
        self.state = ServiceState.STARTING
        self.reason: str | None = "the model is loading"
        self.failure: LongformError | None = None
        self.predictor: Predictor | None = None
        self._load = load
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._permits_taken = 0
        self._opened = threading.Event()
        self._was_ready = False
        # A daemon: a native call that never returns must not keep the process alive after close().
        self._worker = threading.Thread(target=self._run, name="longform-inference", daemon=True)

    @property
    def pending_requests(self) -> int:
        """Requests that hold a permit: being received, waiting, or running."""
        return self._permits_taken

    @property
    def is_alive(self) -> bool:
        """Whether the worker can still do, or come to do, work."""
        has_died = self._worker.ident is not None and not self._worker.is_alive()
        if has_died and self.state in {ServiceState.STARTING, ServiceState.READY}:
            self._fail(BackendFailureError("The inference thread has died."))
        return self.state is not ServiceState.FAILED

    @property
    def failed_to_start(self) -> bool:
        """Whether the model could not be opened at all, so that waiting is of no use."""
        return self.state is ServiceState.FAILED and not self._was_ready

    def start(self) -> None:
        """Start loading, warming up and checking the model in the background."""
        self._worker.start()

    def wait_until_opened(self, timeout: float) -> ServiceState:
        """Wait until the start has come to an end, good or bad, and return the state."""
        self._opened.wait(timeout)
        return self.state

    @contextlib.contextmanager
    def permit(self) -> Iterator[None]:
        """Hold one of the permits for the life of a request, its receiving included.

        Raises:
            NotReadyError: The service does not take work now.
            OverloadedError: All permits are taken.
        """
        self._require_ready()
        with self._lock:
            if self._permits_taken >= self.max_concurrent_requests:
                raise OverloadedError(
                    f"The server takes {self.max_concurrent_requests} requests at once.",
                    found="all of them are taken",
                    fix=f"Try again in {OverloadedError.retry_after} s.",
                )
            self._permits_taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._permits_taken -= 1

    def loaded_predictor(self) -> Predictor:
        """Return the predictor, from the moment on that it is loaded.

        Raises:
            NotReadyError: It is not, or not yet.
        """
        if self.predictor is None:
            raise self._not_ready()
        return self.predictor

    def submit(self, documents: Sequence[Document], *, evidence: bool = False) -> Future[Answer]:
        """Queue documents for inference.

        Cancelling the future drops work that has not begun. The future raises `InputError` for a
        text that cannot be read, `BackendFailureError` for every other fault.

        Raises:
            NotReadyError: The service does not take work now.
            InputError: A document has one text and the model judges two together, or the other
                way round.
        """
        predictor = self._require_ready()
        text_pair = predictor.bundle.description.text_pair
        for document in documents:
            check_pair(document, pairs=text_pair)
        submitted = time.monotonic()
        future: Future[Answer] = Future()

        def run() -> Answer:
            began = time.monotonic()
            predictions = predictor.predict(documents, evidence=evidence)
            _check_predictions(predictions, len(documents))
            return Answer(predictions, text_pair, began - submitted, time.monotonic() - began)

        self._work.put(_Work(run, future))
        if not self._worker.is_alive():
            self._refuse_waiting()
        return future

    def drain(self) -> None:
        """Take no more work; what was taken is finished. Safe to call in a signal handler."""
        if self.state in {ServiceState.STARTING, ServiceState.READY}:
            self.state = ServiceState.STOPPING
            self.reason = "the server is shutting down"

    def close(self) -> None:
        """Drain, wait a limited time for the worker, and free the model."""
        self.drain()
        self._work.put(None)
        if self._worker.is_alive():
            self._worker.join(CLOSE_TIMEOUT)
        if self._worker.is_alive():
            logger.warning("Inference is still running after %.0f s; left behind.", CLOSE_TIMEOUT)

    def _require_ready(self) -> Predictor:
        if not self.is_alive or self.state is not ServiceState.READY or self.predictor is None:
            raise self._not_ready()
        return self.predictor

    def _not_ready(self) -> NotReadyError:
        return NotReadyError("The model is not ready.", found=self.reason or self.state)

    def _run(self) -> None:
        try:
            self._open()
            while self.state is not ServiceState.FAILED and (work := self._work.get()) is not None:
                self._answer(work)
        finally:
            self._opened.set()
            self._refuse_waiting()
            if self.predictor is not None:
                self.predictor.close()

    def _open(self) -> None:
        began = time.monotonic()
        try:
            predictor = self._load()
            self.predictor = predictor
            self.reason = "the model is warming up"
            predictor.warm_up()
            self.reason = "the model is being checked on this device"
            predictor.check_golden()
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
            if self.state is ServiceState.STARTING:
                self.state, self.reason, self._was_ready = ServiceState.READY, None, True
            logger.info("Model %s is ready after %.1f s.", self.name, time.monotonic() - began)
        self._opened.set()

    def _answer(self, work: _Work) -> None:
        if not work.future.set_running_or_notify_cancel():
            return
        try:
            answer = work.run()
        except InputError as error:
            work.future.set_exception(error)
        except BackendFailureError as error:
            logger.error("Inference failed: %s", error)
            work.future.set_exception(error)
            self._examine()
        except Exception as error:
            # A library's message may quote a document, so the log names the type alone.
            logger.error("Inference failed: %s", type(error).__name__)
            logger.debug("Inference failed.", exc_info=True)
            work.future.set_exception(
                BackendFailureError(
                    "The model could not answer this request.", found=type(error).__name__
                )
            )
            self._examine()
        except BaseException as error:
            # Not passed on: the thread ends because the state says so, and the log has the reason.
            failure = BackendFailureError(
                "The inference thread has died.",
                found=type(error).__name__,
                fix="Restart the server.",
            )
            self._fail(failure)
            work.future.set_exception(failure)
        else:
            work.future.set_result(answer)

    def _examine(self) -> None:
        """Decide after a failure whether the text was at fault or the backend is broken."""
        if self.predictor is None:
            return
        try:
            self.predictor.check_golden()
        except Exception as error:
            self._fail(
                BackendFailureError(
                    "The backend failed and no longer gives the answers stored in the bundle.",
                    found=f"{type(error).__name__}: {error}",
                    fix="Restart the server.",
                )
            )

    def _refuse_waiting(self) -> None:
        while not self._work.empty():
            work = self._work.get()
            if work is None:
                self._work.put(None)
                return
            if work.future.set_running_or_notify_cancel():
                work.future.set_exception(self._not_ready())

    def _fail(self, error: LongformError) -> None:
        logger.error("%s", error)
        self.failure = error
        self.reason = str(error)
        self.state = ServiceState.FAILED


def _check_predictions(predictions: Sequence[Prediction], expected: int) -> None:
    if len(predictions) != expected:
        raise BackendFailureError(
            "There must be one prediction per document.",
            found=f"{len(predictions)} for {expected}",
        )
    for prediction in predictions:
        numbers = [prediction.score, *(entry.score for entry in prediction.scores)]
        numbers += [entry.score for entry in prediction.labels or ()]
        numbers += [stretch.score for stretch in prediction.evidence or ()]
        if not all(math.isfinite(number) for number in numbers):
            raise BackendFailureError("A score must be a finite number.", found="NaN or Infinity")
