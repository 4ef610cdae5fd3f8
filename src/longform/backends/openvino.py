"""OpenVINO for the encoder; the head, tiny and of any segment count, stays on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from longform.backends.base import Backend, BackendInfo
from longform.backends.onnx import OnnxHead
from longform.backends.threads import granted_threads
from longform.extras import require
from longform.types import Floats, SegmentBatch

Precision = Literal["fp32", "bf16", "int8"]

_QUANTIZATION_GROUP = "128"
"""Activations that share one scale: as accurate as smaller groups, and faster than larger ones."""


class OpenVINOBackend(Backend):
    """OpenVINO on the CPU: one stream a thread, each with batches of its own.

    Streams of one thread need no synchronisation inside a matrix product, which made them a fifth
    to a third faster than one stream of all threads on the machines measured.

    Args:
        encoder: `onnx/encoder.onnx`, or for int8 `openvino/encoder.int8.xml`, of a bundle.
        head: `onnx/head.onnx` of a bundle.
        precision: Of the encoder. bf16 pays only on CPUs with fast bf16 units; int8 has weights in
            int8 and quantises activations as they come.
        threads: Threads of one call; None takes what the machine grants.
    """

    token_budget = 1_024

    def __init__(
        self,
        encoder: Path,
        head: Path | None,
        precision: Precision = "fp32",
        threads: int | None = None,
    ) -> None:
        openvino = require("openvino", "The backend 'openvino'")
        self._threads = threads or granted_threads()
        self._precision = precision
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "NUM_STREAMS": str(self._threads),
            "INFERENCE_NUM_THREADS": str(self._threads),
        }
        if precision == "int8":
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _QUANTIZATION_GROUP
        model = openvino.Core().compile_model(str(encoder), "CPU", settings)
        self._vector_size = int(model.output(0).partial_shape[-1].get_length())
        self.streams = self._threads
        self._queue = openvino.AsyncInferQueue(model, self._threads)
        self._results: dict[int, Floats] = {}
        self._queue.set_callback(self._keep)
        self._head = OnnxHead(head, self._threads) if head is not None else None

    @property
    def info(self) -> BackendInfo:
        """OpenVINO on the CPU."""
        return BackendInfo("openvino", "cpu", self._precision, self._vector_size, self._threads)

    def encode(self, batch: SegmentBatch) -> Floats:
        """Encode segments; see `Backend.encode`. The rows are shared out among the streams."""
        rows, width = batch.input_ids.shape
        step = max(1, min(self.token_budget // width, -(-rows // self.streams)))
        chunks = (slice(start, start + step) for start in range(0, rows, step))
        parts = (SegmentBatch(batch.input_ids[c], batch.attention_mask[c]) for c in chunks)
        return np.concatenate(list(self.encode_all(parts)))

    def encode_all(self, batches: Iterable[SegmentBatch]) -> Iterator[Floats]:
        """Encode batches, one to a stream; see `Backend.encode_all`."""
        count = 0
        for batch in batches:
            inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
            # Waits until a stream is free.
            self._queue.start_async(inputs, count)
            count += 1
        self._queue.wait_all()
        for number in range(count):
            yield self._results.pop(number)

    def score(self, vectors: Floats, mask: Floats, positions: Floats) -> Floats:
        """Score documents; see `Backend.score`."""
        if self._head is None:
            raise RuntimeError("this backend was opened for its encoder alone")
        return self._head.score(vectors, mask, positions)

    def _keep(self, request: Any, start: int) -> None:
        # The tensor lives in the request's buffer until the request runs again: copy it out.
        self._results[start] = np.array(request.get_output_tensor(0).data, dtype=np.float32)
