"""The engine of one machine: parts in this process, or in as many as there are CPUs."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from longform.data.readers import DocumentReader
from longform.errors import InputError, LongformError
from longform.scale.answers import PartAccount
from longform.scale.job import BulkJob, FileWork
from longform.scale.parts import Part, failed_file, read_parts
from longform.scale.scoring import PartScorer, ScoringSettings
from longform.scale.sources import local_copy

_WAITING_PER_WORKER = 2
"""Parts that are read ahead for each worker: what bounds the memory of the reading process."""
_scorer: PartScorer | LongformError | None = None


def iterate_parts(work: FileWork, job: BulkJob) -> Iterator[Part]:
    """Yield the parts of a file that are not finished; a file that cannot be opened is an error."""
    try:
        with local_copy(work.file) as path:
            reader = DocumentReader(path, job.settings, labelled=False)
            yield from read_parts(reader, work.file.number, job.limits, work.finished)
    except InputError as fault:
        yield failed_file(work.file.number, str(fault), work.finished)


def run_local(
    job: BulkJob, work: Sequence[FileWork], workers: int
) -> Generator[PartAccount, None, None]:
    """Score what is left of a job.

    Args:
        job: The job.
        work: Files with what is finished of them.
        workers: Processes that score; with one, it is this process.

    Yields:
        The account of each part, once it is written.

    Raises:
        LongformError: A worker died, or the bundle cannot be opened.
    """
    parts = (part for item in work for part in iterate_parts(item, job))
    if workers > 1:
        yield from _run_processes(job.scoring, parts, workers)
        return
    job.scoring.limit_threads()
    scorer = PartScorer(job.scoring)
    try:
        for part in parts:
            yield scorer.run(part)
    finally:
        scorer.close()


def _run_processes(
    settings: ScoringSettings, parts: Iterator[Part], workers: int
) -> Iterator[PartAccount]:
    # Not forked: runtimes have threads, which a copy of the process would not have.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_open, initargs=(settings,))
    waiting: deque[Future[PartAccount]] = deque()
    try:
        for part in parts:
            waiting.append(pool.submit(_run, part))
            if len(waiting) >= workers * _WAITING_PER_WORKER:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise LongformError(
            "Every worker of a bulk job must live to its end.",
            found="one died, for want of memory as a rule",
            fix="Run the same command again: finished parts are kept. Fewer --workers, or smaller "
            "parts (--part-rows), need less memory.",
        ) from error
    except BaseException:
        # Signals too: a part that is not written is scored again by the next run.
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _open(settings: ScoringSettings) -> None:
    global _scorer
    settings.limit_threads()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _scorer = PartScorer(settings)
    except LongformError as error:
        # A pool whose initializer fails breaks, and keeps the reason to itself.
        _scorer = error


def _end_with_parent() -> None:
    """End this process when the one that reads is killed: the queue between them would not."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run(part: Part) -> PartAccount:
    if isinstance(_scorer, LongformError):
        raise _scorer
    assert _scorer is not None
    return _scorer.run(part)
