"""The machine room: threads that cut documents, and threads that keep each device busy.

Segments of all waiting requests share the encoder's batches. Texts are cut on threads of their
own while the devices encode, long ones not before short ones. What a device hands back goes to the
documents it belongs to, and those that are read are scored together.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from longform.errors import InputError, LongformError
from longform.serving.contract import Predictor
from longform.serving.failures import NotReadyError, OverloadedError
from longform.serving.jobs import Job, JobOptions, Weight
from longform.serving.limits import EngineLimits
from longform.serving.pace import Pace
from longform.serving.reports import BatchReport, EngineWatcher
from longform.serving.scheduler import BatchItem, SegmentScheduler
from longform.serving.scoring import MoreToRead, backend_failure, score_documents
from longform.types import Document, SegmentedDocument

logger = logging.getLogger(__name__)

_LONG_CHARACTERS = 20_000
"""Requests with more text are cut on a thread of their own, so that short ones pass them."""
_CUT_TOGETHER = 400_000
"""Most characters that are cut in one call."""


class Engine:
    """Runs one predictor for many requests at once.

    Args:
        predictor: Open and warm.
        limits: How batches are made.
        watcher: Told of batches and failures.
    """

    def __init__(self, predictor: Predictor, limits: EngineLimits, watcher: EngineWatcher) -> None:
        self._predictor = predictor
        self._limits = limits
        self._watcher = watcher
        self._pace = Pace(limits.max_batch_tokens, limits.max_batch_seconds)
        self._scheduler = SegmentScheduler(limits.quantum)
        self._changed = threading.Condition()
        self._active: set[Job] = set()
        self._queued_tokens = 0
        self._is_closing = False
        self._short: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._long: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads = [
            _daemon("cut-short", self._cut, self._short),
            _daemon("cut-long", self._cut, self._long),
            *(_daemon(f"device-{i}", self._run_device) for i in range(predictor.devices)),
        ]

    @property
    def queued_tokens(self) -> int:
        """Tokens that still have to be encoded."""
        return self._queued_tokens

    @property
    def active_requests(self) -> int:
        """Requests that have no answer yet."""
        return len(self._active)

    @property
    def tokens_per_second(self) -> float:
        """The pace of late; 0 before the first batch."""
        return self._pace.tokens_per_second

    @property
    def is_alive(self) -> bool:
        """Whether all threads run."""
        return all(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Take a request.

        Raises:
            OverloadedError: As many tokens wait as may.
        """
        job.tokens = self._pace.estimate_tokens(job.characters)
        with self._changed:
            self._refuse_overload(job.tokens)
            self._active.add(job)
            self._queued_tokens += job.tokens
        job.future.add_done_callback(lambda _: self._drop_if_cancelled(job))
        lane = self._long if job.characters > _LONG_CHARACTERS else self._short
        lane.put(job)

    def refuse_waiting(self, error: LongformError) -> None:
        """Answer every request with an error."""
        with self._changed:
            jobs = list(self._active)
        for job in jobs:
            self._fail(job, error)

    def close(self, timeout: float) -> bool:
        """Finish what was taken, within a time, and end the threads; tell whether they ended."""
        until = time.monotonic() + timeout
        with self._changed:
            self._changed.wait_for(lambda: not self._active or not self.is_alive, timeout)
            self._is_closing = True
            self._changed.notify_all()
        self._short.put(None)
        self._long.put(None)
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(max(until - time.monotonic(), 0.1))
        return not any(thread.is_alive() for thread in self._threads)

    def _refuse_overload(self, tokens: int) -> None:
        most = self._limits.max_queued_tokens or self._pace.most_queued_tokens
        # One request is always taken, however long: it could never come in otherwise.
        if self._queued_tokens and self._queued_tokens + tokens > most:
            raise OverloadedError(
                f"The server lets {most:,} tokens wait.",
                found=f"{self._queued_tokens:,} wait already",
                retry_after=self._pace.seconds_for(self._queued_tokens),
            )

    # Cutting

    def _cut(self, lane: queue.SimpleQueue[Job | None]) -> None:
        while (job := lane.get()) is not None:
            jobs, characters = [job], job.characters
            while characters < _CUT_TOGETHER and not lane.empty():
                following = lane.get()
                if following is None:
                    lane.put(None)
                    break
                jobs.append(following)
                characters += following.characters
            jobs = [job for job in jobs if not job.future.cancelled()]
            if jobs:
                self._place(jobs)

    def _place(self, jobs: list[Job]) -> None:
        documents = [document for job in jobs for document in job.readable]
        try:
            segmented = self._segment(documents)
        except Exception as error:
            for job in jobs:
                self._fail(job, backend_failure(error))
            return
        first = 0
        with self._changed:
            for job in jobs:
                last = first + len(job.readable)
                estimated = job.tokens
                job.place(segmented[first:last])
                first = last
                if job not in self._active:
                    continue
                self._queued_tokens += job.tokens - estimated
                self._pace.learn_density(job.characters, job.tokens)
                self._pace.note_arrival(job.tokens, len(self._active))
                if job.next_segment() is not None:
                    self._scheduler.add(job)
            self._changed.notify_all()
        for job in jobs:
            self._finish_if_answered(job)

    def _segment(self, documents: Sequence[Document]) -> list[SegmentedDocument | InputError]:
        try:
            return list(self._predictor.segment(documents))
        except InputError as error:
            if len(documents) == 1:
                return [error]
            return [result for item in documents for result in self._segment([item])]

    # Encoding

    def _run_device(self) -> None:
        try:
            while (following := self._next_batch()) is not None:
                batch, budget, stopped = following
                self._encode(batch, budget)
                if stopped:
                    self._conclude(stopped)
        except BaseException as error:
            # Not passed on: the thread ends because the service says so, which logs the reason.
            self._watcher.device_died(error)

    def _next_batch(self) -> tuple[list[BatchItem], int, list[Job]] | None:
        """Wait for segments.

        Returns:
            A batch, the tokens that it might have had, and the requests whose deadline has come;
            None at the end.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closing or len(self._scheduler))
            if self._is_closing:
                return None
            self._wait_to_be_filled()
            budget = self._pace.budget()
            stopped = self._stop_at_deadlines(budget)
            most = min(2 * budget, self._limits.max_batch_tokens)
            batch = self._scheduler.take(budget, most)
            now = time.monotonic()
            for item in batch:
                item.job.encode_began = item.job.encode_began or now
        return batch, budget, stopped

    def _wait_to_be_filled(self) -> None:
        if not self._limits.max_wait_seconds:
            return
        oldest = min((job.tokenized for job in self._scheduler.jobs), default=0.0)
        until = oldest + self._limits.max_wait_seconds
        while self._queued_tokens < self._limits.max_batch_tokens and not self._is_closing:
            left = until - time.monotonic()
            if left <= 0 or not self._changed.wait(left):
                break

    def _stop_at_deadlines(self, budget: int) -> list[Job]:
        ends = time.monotonic() + self._pace.seconds_for(budget)
        stopped = [job for job in self._scheduler.jobs if job.has_to_stop(ends)]
        for job in stopped:
            before = job.tokens
            job.stop()
            self._queued_tokens += job.tokens - before
        return stopped

    def _encode(self, batch: list[BatchItem], budget: int) -> None:
        batch = [item for item in batch if item.job in self._active]
        if not batch:
            return
        began = time.monotonic()
        try:
            encoded = self._predictor.encode_segments([item.segment for item in batch])
        except Exception as error:
            self._batch_failed(batch, budget, error)
            return
        ended = time.monotonic()
        taken = sum(len(item.segment.token_ids) for item in batch)
        self._pace.learn(encoded.tokens, ended - began)
        for item, vector in zip(batch, encoded.vectors, strict=True):
            reading = item.job.readings[item.document]
            assert reading is not None
            reading.store(item.index, vector)
        jobs = dict.fromkeys(item.job for item in batch)
        with self._changed:
            for item in batch:
                if item.job in self._active:
                    item.job.tokens -= len(item.segment.token_ids)
                    self._queued_tokens -= len(item.segment.token_ids)
            for job in jobs:
                job.encode_ended = ended
        self._watcher.batch_done(
            BatchReport(
                len(batch),
                len(jobs),
                encoded.tokens,
                encoded.padded_tokens,
                taken / budget,
                ended - began,
            )
        )
        self._conclude(list(jobs))

    def _batch_failed(self, batch: list[BatchItem], budget: int, error: Exception) -> None:
        jobs = dict.fromkeys(item.job for item in batch)
        if len(jobs) > 1 and not isinstance(error, NotReadyError):
            # One text may be at fault; the others must not suffer for it.
            for job in jobs:
                self._encode([item for item in batch if item.job is job], budget)
            return
        self._report(error, list(jobs))

    # Scoring

    def _conclude(self, jobs: list[Job]) -> None:
        """Score the documents that are read, and those whose progress is wanted."""
        for result in score_documents(self._predictor, jobs):
            if isinstance(result, MoreToRead):
                self._read_on(result)
            else:
                self._report(result[1], [result[0]])
        for job in jobs:
            self._finish_if_answered(job)
        self._take_audits()

    def _read_on(self, more: MoreToRead) -> None:
        """Let a document wait for the encoder again."""
        job = more.job
        with self._changed:
            reading = job.readings[more.index]
            # Two devices may have ended the same reading at once; it is read on once.
            if job not in self._active or reading is None or not reading.rests_on(more.was_read):
                return
            before = job.tokens
            job.read_on(more.index, more.further)
            self._queued_tokens += job.tokens - before
            if job not in self._scheduler:
                self._scheduler.add(job)
            self._changed.notify_all()

    def _take_audits(self) -> None:
        """Let what the model wants to read once more wait behind all requests."""
        for document in self._predictor.pending_audits():
            text_pair = document.text_pair is not None
            job = Job([document], JobOptions(weight=Weight.LOW), text_pair)
            try:
                self.submit(job)
            except OverloadedError:
                # The sample is smaller for it; no request waits for it.
                logger.debug("An audit is left out: too much is waiting.")

    # Ends

    def _finish_if_answered(self, job: Job) -> None:
        if job.is_finished and self._settle(job) and job.future.set_running_or_notify_cancel():
            job.future.set_result(job.answer())

    def _report(self, error: Exception, jobs: list[Job]) -> None:
        if isinstance(error, NotReadyError):
            failure: LongformError = error
        else:
            failure = backend_failure(error)
            logger.error("Inference failed: %s", failure)
            logger.debug("Inference failed.", exc_info=error)
        for job in jobs:
            self._fail(job, failure)
        if not isinstance(error, NotReadyError):
            self._watcher.backend_failed()

    def _fail(self, job: Job, error: LongformError) -> None:
        if self._settle(job) and job.future.set_running_or_notify_cancel():
            job.future.set_exception(error)

    def _drop_if_cancelled(self, job: Job) -> None:
        if job.future.cancelled() and self._settle(job):
            self._watcher.request_dropped()

    def _settle(self, job: Job) -> bool:
        """Let a request go; tell whether it was here."""
        with self._changed:
            if job not in self._active:
                return False
            self._active.remove(job)
            self._scheduler.remove(job)
            self._queued_tokens -= job.tokens
            job.tokens = 0
            if not self._active:
                self._changed.notify_all()
            return True


def _daemon(name: str, run: Callable[..., None], *arguments: object) -> threading.Thread:
    # A native call that never returns must not keep the process alive after close().
    return threading.Thread(target=run, args=arguments, name=f"longform-{name}", daemon=True)
