"""Workers as one backend: whoever is free gets the next batch."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from longform.backends.base import Backend, BackendInfo, DeviceState
from longform.bundle import Bundle
from longform.serving.failures import NotReadyError
from longform.serving.workers.devices import Device
from longform.serving.workers.frames import Array
from longform.serving.workers.supervisor import Worker, WorkerLostError
from longform.types import Floats, SegmentBatch

_WAIT_SECONDS = 10.0
"""How long a batch waits for a free worker before it is answered that there is none."""


class WorkerBackend(Backend):
    """A backend whose batches run in other processes, several at once.

    A batch whose worker dies is tried once more on another one; where there is none, it fails
    with `NotReadyError`.

    Args:
        bundle: A verified bundle.
        backend: What each worker runs it on.
        devices: One worker for each.

    Raises:
        LongformError: No worker could open the bundle, or one does not give the golden answers.
    """

    def __init__(self, bundle: Bundle, backend: str, devices: Sequence[Device]) -> None:
        settings = {
            "bundle": str(bundle.folder.resolve()),
            "digest": bundle.digest,
            "backend": backend,
        }
        self._changed = threading.Condition()
        self._busy: set[Worker] = set()
        self._workers = [Worker(device, settings, self._notify) for device in devices]
        for worker in self._workers:
            worker.start()
        try:
            introduction = self._await_all()
        except BaseException:
            self.close()
            raise
        self._info = BackendInfo(**introduction["info"])
        self.token_budget = introduction["token_budget"]
        self.streams = introduction["streams"]
        self.devices = len(devices)

    @property
    def info(self) -> BackendInfo:
        """What the workers run."""
        return self._info

    @property
    def is_available(self) -> bool:
        """Whether a worker takes batches now."""
        return any(worker.is_ready for worker in self._workers)

    @property
    def device_states(self) -> list[DeviceState]:
        """How the workers are."""
        return [
            DeviceState(
                worker.device.name,
                worker.is_ready,
                worker.restarts,
                worker.process_id,
                worker.memory,
            )
            for worker in self._workers
        ]

    def encode(self, batch: SegmentBatch) -> Floats:
        """Encode segments on a free worker."""
        return next(self.encode_all([batch]))

    def encode_all(self, batches: Iterable[SegmentBatch]) -> Iterator[Floats]:
        """Encode batches on one free worker, which uses its streams."""
        arrays = [array for batch in batches for array in (batch.input_ids, batch.attention_mask)]
        yield from self._call("encode", arrays)

    def score(self, vectors: Floats, mask: Floats, positions: Floats) -> Floats:
        """Score documents on a free worker."""
        return self._call("score", [vectors, mask, positions])[0]

    def warm_up(self, segment_length: int) -> None:
        """Do nothing: a worker is warm before it says that it is ready."""

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.close()

    def _call(self, name: str, arrays: list[Array]) -> list[Array]:
        try:
            return self._call_one(name, arrays)
        except WorkerLostError:
            if not self.is_available:
                raise
        return self._call_one(name, arrays)

    def _call_one(self, name: str, arrays: list[Array]) -> list[Array]:
        worker = self._lease()
        try:
            return worker.call(name, arrays)
        finally:
            with self._changed:
                self._busy.discard(worker)
                self._changed.notify_all()

    def _lease(self) -> Worker:
        def free() -> Worker | None:
            return next(
                (one for one in self._workers if one.is_ready and one not in self._busy), None
            )

        with self._changed:
            # Scoring may meet a busy worker; that passes. None at all is said at once.
            self._changed.wait_for(lambda: free() or not self.is_available, _WAIT_SECONDS)
            worker = free()
            if worker is None:
                raise NotReadyError(
                    "A device must be there.", found="every worker is starting again"
                )
            self._busy.add(worker)
            return worker

    def _await_all(self) -> dict[str, Any]:
        """Wait for every worker; one that cannot open the bundle is a fault of the whole."""
        with self._changed:
            self._changed.wait_for(
                lambda: all(one.is_ready or one.failure is not None for one in self._workers)
            )
        for worker in self._workers:
            if worker.failure is not None:
                raise worker.failure
        introduction = self._workers[0].introduction
        assert introduction is not None
        return introduction

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
