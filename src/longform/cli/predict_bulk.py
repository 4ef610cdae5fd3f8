"""The run behind `longform predict` into a folder: an engine chosen, its progress shown."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longform.backends.choice import looks_up
from longform.backends.threads import granted_threads
from longform.bundle import Bundle, answering_bundle
from longform.config import DataSettings
from longform.reporting import Reporter, counted, describe_seconds
from longform.scale.answers import ANSWERS, ERRORS, PartAccount
from longform.scale.job import (
    BulkJob,
    FileWork,
    Progress,
    claimed_output,
    make_scoring,
    write_summary,
)
from longform.scale.local import run_local
from longform.scale.parts import PartLimits
from longform.scale.sources import InputFile, list_inputs

if TYPE_CHECKING:
    from longform.scale.cluster import ClusterNode

_DEVICES = {"cuda": "gpu", "tensorrt": "gpu", "ascend": "npu", "cann": "npu"}


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """What is asked for.

    Attributes:
        source: File, folder, pattern or URL.
        output: Folder or URL.
        backend: What the model runs on.
        settings: How documents are read.
        limits: How they are cut into parts.
        top_k: Scores of each answer; None keeps all.
        engine: `local` or `ray`.
        address: Of a Ray cluster; None starts one.
        workers: Processes or actors that score; None fills the machine.
        resume: Refuse to begin a new job.
        restart: Forget what is in the output.
    """

    source: str
    output: str
    backend: str
    settings: DataSettings
    limits: PartLimits
    top_k: int | None
    engine: str
    address: str | None
    workers: int | None
    resume: bool
    restart: bool


def run_bulk(bundle: Bundle, request: BulkRequest, reporter: Reporter) -> dict[str, Any]:
    """Score many documents into a folder.

    Returns:
        Counts of documents, errors and parts, seconds, and documents a second of this run.

    Raises:
        InputError: Documents, output or cluster cannot be used.
        LongformError: A worker died.
    """
    files = tuple(list_inputs(request.source))
    threads = 1 if _is_light(bundle) else granted_threads()
    scoring = make_scoring(bundle, request.output, request.backend, request.top_k, threads)
    job = BulkJob(scoring, files, request.settings, request.limits)
    with ExitStack() as stack:
        nodes: list[ClusterNode] = []
        if request.engine == "ray":
            from longform.scale.cluster import connected

            # Before the output is claimed: a cluster that is not there leaves no trace.
            nodes = stack.enter_context(connected(request.address, "--engine ray"))
        progress = stack.enter_context(
            claimed_output(job, resume=request.resume, restart=request.restart)
        )
        work = progress.work(files)
        _announce(files, progress, work, reporter)
        started = time.perf_counter()
        before = progress.totals()["documents"]
        if work:
            accounts = _start(job, work, request, nodes, reporter)
            _follow(accounts, progress, work, reporter)
        seconds = time.perf_counter() - started
        summary = _summarize(progress, before, seconds, request)
        write_summary(job, summary)
    _conclude(summary, request.output, reporter)
    return summary


def _is_light(bundle: Bundle) -> bool:
    """Tell whether a model computes so little that a thread each is what it can use."""
    answering = answering_bundle(bundle)
    return answering.description.kind == "linear" or looks_up(answering)


def _start(
    job: BulkJob,
    work: Sequence[FileWork],
    request: BulkRequest,
    nodes: Sequence[ClusterNode],
    reporter: Reporter,
) -> Generator[PartAccount, None, None]:
    threads = job.scoring.threads
    if request.engine != "ray":
        workers = request.workers or max(1, granted_threads() // threads)
        reporter.say(
            f"{counted(workers, 'worker')} of {counted(threads, 'thread')} on this machine."
        )
        return run_local(job, work, workers)
    from longform.scale.ray_engine import plan_cluster, run_ray

    device = _DEVICES.get(request.backend.partition(":")[0], "cpu")
    plan = plan_cluster(nodes, threads, request.workers, device)
    cut = f", {counted(plan.segmenters, 'segmenter')} before them" if plan.segmenters else ""
    reporter.say(
        f"{counted(plan.workers, 'worker')} of {counted(plan.threads, 'thread')} on "
        f"{counted(len(nodes), 'machine')} of the cluster{cut}."
    )
    return run_ray(job, work, plan)


def _follow(
    accounts: Generator[PartAccount, None, None],
    progress: Progress,
    work: Sequence[FileWork],
    reporter: Reporter,
) -> None:
    """Count parts as they end, and show how far the job is by files."""
    begun, documents, errors = time.perf_counter(), 0, 0
    # Closed at once on a signal: else Python waits for its workers at the end of the process.
    with closing(accounts), reporter.track("Predicting", len(work), unit="files") as advance:
        for account in accounts:
            if not progress.add(account):
                continue
            documents += account.answers
            errors += account.errors
            rate = documents / max(time.perf_counter() - begun, 1e-9)
            advance(
                float(account.is_last),
                None,
                documents=f"{documents:,}",
                rate=f"{rate:,.0f}/s",
                errors=f"{errors:,}",
            )


def _announce(
    files: Sequence[InputFile],
    progress: Progress,
    work: Sequence[FileWork],
    reporter: Reporter,
) -> None:
    size = sum(file.size for file in files)
    reporter.say(f"{counted(len(files), 'file')}, {math.ceil(size / 1e6):,} MB.")
    if progress.accounts:
        done = progress.totals()
        left = f"{counted(len(work), 'file')} left" if work else "nothing is left"
        reporter.say(
            f"Going on after {counted(done['parts'], 'finished part')} with "
            f"{done['documents']:,} answers; {left}."
        )


def _summarize(
    progress: Progress, before: int, seconds: float, request: BulkRequest
) -> dict[str, Any]:
    totals = progress.totals()
    scored = totals["documents"] - before
    return {
        **totals,
        "scored_now": scored,
        "seconds": round(seconds, 2),
        "documents_per_second": round(scored / seconds, 2) if scored else 0.0,
        "engine": request.engine,
        "output": request.output,
    }


def _conclude(summary: dict[str, Any], output: str, reporter: Reporter) -> None:
    reporter.say(
        f"{counted(summary['documents'], 'document')} classified, {summary['truncated']:,} of them "
        f"not read whole; {counted(summary['error_rows'], 'row')} without an answer."
    )
    reporter.say(
        f"{summary['scored_now']:,} of them now, in {describe_seconds(summary['seconds'])} "
        f"({summary['documents_per_second']:,.0f} a second)."
    )
    reporter.say(f"Answers: {output.rstrip('/')}/{ANSWERS}")
    if summary["error_rows"]:
        reporter.say(f"Rows without an answer, each with its reason: {output.rstrip('/')}/{ERRORS}")
    if summary["failed_files"]:
        reporter.say(
            f"{counted(summary['failed_files'], 'file')} could not be read to the end (row 0 there "
            "tells why); the same command tries again."
        )
