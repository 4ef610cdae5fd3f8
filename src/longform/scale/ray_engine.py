"""The engine of many machines: a pipeline of Ray Data, whose unit is the part.

Parts travel as single rows, and every row is a block of its own. What Ray repeats after a fault is
therefore a part, and a part that is written twice is the same file written twice.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from longform.errors import LongformError
from longform.scale.answers import PartAccount
from longform.scale.cluster import ClusterNode
from longform.scale.job import BulkJob, FileWork
from longform.scale.local import iterate_parts
from longform.scale.parts import Part
from longform.scale.scoring import PartScorer, ScoringSettings, SegmentedPart

_READING_CPUS = 0.05
_CPU_SHARE = 0.25
"""Of its threads, what a worker asks of the cluster: those of a lost machine find room on another
and are slower there, instead of waiting for a machine that never comes."""
_WORKERS_OF_A_READER = 4
"""Of CPUs; a GPU or NPU has a reader of its own. A reader keeps up with more workers than that even
where they are linear models, and is a process of four seconds of processor time before its first
row."""
_PAYLOAD = "payload"


@dataclass(frozen=True, slots=True)
class RayPlan:
    """How a job is divided over a cluster.

    Attributes:
        workers: Actors that score.
        threads: CPU threads of each.
        readers: Files that are read at once.
        gpus: NVIDIA GPUs of each, 0 or 1.
        npus: Ascend NPUs of each, 0 or 1.
        segmenters: Actors that cut documents for those that score; 0 where each cuts its own.
    """

    workers: int
    threads: int
    readers: int
    gpus: int = 0
    npus: int = 0
    segmenters: int = 0


def plan_cluster(
    nodes: Sequence[ClusterNode], threads: int, workers: int | None, device: str
) -> RayPlan:
    """Divide a cluster.

    On CPUs each worker cuts and scores its own documents: nothing is copied, and none waits for the
    other. A worker of a GPU or NPU only encodes, and CPUs cut for it.

    Args:
        nodes: The machines.
        threads: CPU threads that a worker can use.
        workers: As many as are wanted; None fills the cluster.
        device: `cpu`, `gpu` or `npu`.
    """
    cpus = sum(int(node.cpus) for node in nodes)
    if device == "cpu":
        room = sum(int(node.cpus // threads) for node in nodes)
        count = workers or max(1, room)
        return RayPlan(count, threads, count_readers(count, device))
    devices = int(sum(node.gpus if device == "gpu" else node.npus for node in nodes))
    count = workers or devices
    return RayPlan(
        count,
        threads=1,
        readers=count_readers(count, device),
        gpus=int(device == "gpu"),
        npus=int(device == "npu"),
        segmenters=max(1, cpus - count),
    )


def count_readers(workers: int, device: str) -> int:
    """Return how many files are read at once for so many workers of `cpu`, `gpu` or `npu`."""
    return math.ceil(workers / _WORKERS_OF_A_READER) if device == "cpu" else workers


def run_ray(
    job: BulkJob, work: Sequence[FileWork], plan: RayPlan
) -> Generator[PartAccount, None, None]:
    """Score what is left of a job on the cluster that this process is connected to.

    Yields:
        The account of each part, once it is written, in the order in which they end.

    Raises:
        LongformError: The cluster lost what it needs, or a worker cannot open the bundle.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.ERROR)
    # It advises those who wrote the pipeline; a job of fewer parts than workers is no fault.
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = 1  # A block ends with the first row that fills it.
    context.execution_options.verbose_progress = False
    rows = [{_PAYLOAD: pickle.dumps(item)} for item in work]
    options: dict[str, Any] = {"batch_size": 1, "batch_format": "numpy", "zero_copy_batch": False}
    pipeline = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _read,
        fn_kwargs={"job": job},
        num_cpus=_READING_CPUS,
        compute=TaskPoolStrategy(size=min(len(rows), plan.readers)),
        **options,
    )
    scoring = _worker_options(plan) | {"compute": ActorPoolStrategy(size=plan.workers)}
    if plan.segmenters:
        pipeline = pipeline.map_batches(
            _Segmenter,
            fn_constructor_args=(job.scoring,),
            num_cpus=_CPU_SHARE,
            compute=ActorPoolStrategy(min_size=1, max_size=plan.segmenters),
            **options,
        )
    pipeline = pipeline.map_batches(
        _Scorer, fn_constructor_args=(job.scoring,), **scoring, **options
    )
    try:
        for row in pipeline.iter_rows():
            yield pickle.loads(row[_PAYLOAD])
    except ray.exceptions.RayError as error:
        raise _explain(error) from error


def _worker_options(plan: RayPlan) -> dict[str, Any]:
    options: dict[str, Any] = {"num_cpus": _CPU_SHARE * plan.threads}
    if plan.gpus:
        options["num_gpus"] = plan.gpus
    if plan.npus:
        options["resources"] = {"NPU": plan.npus}
    return options


def _read(batch: dict[str, Any], job: BulkJob) -> Iterator[dict[str, Any]]:
    """Yield the parts of a file that are not finished."""
    for content in batch[_PAYLOAD]:
        for part in iterate_parts(pickle.loads(content), job):
            yield _pack(part)


class _Segmenter:
    """Cuts documents on CPUs, for workers that have a device."""

    def __init__(self, settings: ScoringSettings) -> None:
        self._scorer = _open(settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        part: Part = pickle.loads(batch[_PAYLOAD][0])
        return _pack(self._scorer.segment(part))


class _Scorer:
    """Scores and writes parts."""

    def __init__(self, settings: ScoringSettings) -> None:
        self._scorer = _open(settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        part: Part | SegmentedPart = pickle.loads(batch[_PAYLOAD][0])
        if isinstance(part, SegmentedPart):
            return _pack(self._scorer.finish(part))
        return _pack(self._scorer.run(part))


def _open(settings: ScoringSettings) -> PartScorer:
    settings.limit_threads()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return PartScorer(settings)


def _pack(content: Any) -> dict[str, Any]:
    packed = np.empty(1, dtype=object)
    packed[0] = pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    return {_PAYLOAD: packed}


def _explain(error: Exception) -> LongformError:
    cause = error
    while getattr(cause, "cause", None) is not None or cause.__cause__ is not None:
        cause = getattr(cause, "cause", None) or cause.__cause__  # type: ignore[assignment]
        if isinstance(cause, LongformError):
            return LongformError(cause.rule, found=cause.found, fix=cause.fix)
    told = " ".join(str(cause).split())
    return LongformError(
        "The cluster must go on to the end of a job.",
        found=told[-600:],
        fix="Run the same command again: finished parts are kept.",
    )
