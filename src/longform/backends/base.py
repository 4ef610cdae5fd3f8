"""The contract that every runtime fulfils. Softmax, labels and thresholds live above it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from longform.types import POSITION_FEATURES, Floats, SegmentBatch


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What runs where.

    Attributes:
        name: `onnx`, `openvino` or `torch`.
        device: For example `cpu` or `cuda:0`.
        precision: Of the encoder's arithmetic: `fp32`, `bf16`, `fp16` or `int8`.
        vector_size: Width of a segment vector.
        threads: Threads that one call uses, 0 when the runtime decides.
    """

    name: str
    device: str
    precision: str
    vector_size: int
    threads: int

    def __str__(self) -> str:
        return f"{self.name} ({self.precision} on {self.device})"


@dataclass(frozen=True, slots=True)
class DeviceState:
    """How a device in a process of its own is.

    Attributes:
        name: Of the device.
        is_ready: Whether it takes batches.
        restarts: How often its process was started again.
        process_id: Of that process.
        memory: Free and total bytes of the device, as its process last said; None where the
            runtime does not tell.
    """

    name: str
    is_ready: bool
    restarts: int
    process_id: int | None
    memory: tuple[int, int] | None = None


MATRIX_SIZE = 2_048
"""Rows and columns of the matrices that `matrix_rate` multiplies: far beyond any cache."""
_REPEATS = 5


def best_rate(multiply: Callable[[], object], products: int = 1) -> float:
    """Return the GFLOP/s of the fastest of a few calls that each multiply square matrices.

    Args:
        multiply: Makes `products` products of `MATRIX_SIZE`.
        products: How many.
    """
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        multiply()
        seconds.append(time.perf_counter() - started)
    return 2e-9 * products * MATRIX_SIZE**3 / min(seconds)


class Backend(ABC):
    """An encoder and a head on one device.

    Attributes:
        token_budget: Padded tokens of an encoder batch that suit it: enough to fill its matrix
            units, few enough for the activations of a layer to stay in the cache.
        streams: Batches that run at once in `encode_all`.
        devices: Calls that may run at once, each from a thread of its own.
    """

    token_budget = 4_096
    streams = 1
    devices = 1

    @property
    def is_available(self) -> bool:
        """Whether a device takes batches now; one in this process always does."""
        return True

    @property
    def device_states(self) -> list[DeviceState]:
        """The devices in processes of their own; none for a backend in this process."""
        return []

    @property
    def memory(self) -> tuple[int, int] | None:
        """Free and total bytes of the device; None where the runtime does not tell."""
        return None

    @property
    @abstractmethod
    def info(self) -> BackendInfo:
        """What this backend runs on."""

    @abstractmethod
    def encode(self, batch: SegmentBatch) -> Floats:
        """Encode segments.

        Args:
            batch: int64 `[segments, tokens]`.

        Returns:
            float32 `[segments, vector_size]`.
        """

    def encode_all(self, batches: Iterable[SegmentBatch]) -> Iterator[Floats]:
        """Encode batches; a runtime with streams works on several at once.

        Args:
            batches: Made while earlier ones are encoded.

        Yields:
            What `encode` returns of each, in order.
        """
        return map(self.encode, batches)

    @abstractmethod
    def score(self, vectors: Floats, mask: Floats, positions: Floats) -> Floats:
        """Score documents.

        Args:
            vectors: float32 `[docs, segments, vector_size]`, padded with zeros at the end.
            mask: float32 `[docs, segments]`, 1 for real segments.
            positions: float32 `[docs, segments, 4]`.

        Returns:
            Logits, float32 `[docs, classes]`.
        """

    def matrix_rate(self) -> float | None:
        """Return the GFLOP/s of a large matrix product in this runtime, precision and threads.

        It is what the machine can do: the ceiling that the encoder's own rate is held against.
        None where it cannot be measured.
        """
        return None

    def warm_up(self, segment_length: int) -> None:
        """Run one full segment through encoder and head, so that the first request pays nothing.

        Args:
            segment_length: Tokens of the longest segment that will come.
        """
        ones = np.ones((1, segment_length), dtype=np.int64)
        vectors = self.encode(SegmentBatch(ones, ones))
        positions = np.zeros((1, 1, POSITION_FEATURES), dtype=np.float32)
        self.score(vectors[np.newaxis], np.ones((1, 1), dtype=np.float32), positions)

    def close(self) -> None:  # noqa: B027 - most runtimes free what they hold with the object
        """Free what the runtime holds. Calling it twice is fine."""
