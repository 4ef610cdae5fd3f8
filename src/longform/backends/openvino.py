"""OpenVINO for the encoder; the head, tiny and of any segment count, stays on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from longform.backends.base import MATRIX_SIZE, Backend, BackendInfo, best_rate
from longform.backends.onnx import OnnxHead
from longform.backends.processor import has_bf16_units
from longform.backends.threads import granted_threads
from longform.extras import require
from longform.types import Floats, SegmentBatch

Precision = Literal["fp32", "bf16", "int8", "int8-static"]

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
            int8 and quantises activations as they come, with all else in bf16 where the CPU has
            it; int8-static has scales of the activations that were calibrated.
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
        in_bf16 = precision == "bf16" or (precision == "int8" and has_bf16_units())
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if in_bf16 else "f32",
            "NUM_STREAMS": str(self._threads),
            "INFERENCE_NUM_THREADS": str(self._threads),
        }
        if precision == "int8":
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _QUANTIZATION_GROUP
        self._openvino, self._settings, self._core = openvino, settings, openvino.Core()
        model = self._core.compile_model(str(encoder), "CPU", settings)
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

    def matrix_rate(self) -> float | None:
        """Multiply as the encoder does, one product a stream; see `Backend.matrix_rate`."""
        compiled = self._core.compile_model(_matrix_product(self._precision), "CPU", self._settings)
        queue = self._openvino.AsyncInferQueue(compiled, self._threads)
        rows = np.random.default_rng(0).standard_normal((MATRIX_SIZE, MATRIX_SIZE))
        inputs = rows.astype(np.float32)

        def multiply() -> None:
            for _ in range(self._threads):
                queue.start_async([inputs])
            queue.wait_all()

        return best_rate(multiply, self._threads)

    def score(self, vectors: Floats, mask: Floats, positions: Floats) -> Floats:
        """Score documents; see `Backend.score`."""
        if self._head is None:
            raise RuntimeError("this backend was opened for its encoder alone")
        return self._head.score(vectors, mask, positions)

    def _keep(self, request: Any, start: int) -> None:
        # The tensor lives in the request's buffer until the request runs again: copy it out.
        self._results[start] = np.array(request.get_output_tensor(0).data, dtype=np.float32)


def _matrix_product(precision: Precision) -> Any:
    """Return a model of one product with constant weights, stored as the encoder's are."""
    openvino = require("openvino", "The backend 'openvino'")
    operators = openvino.opset13
    shape = (MATRIX_SIZE, MATRIX_SIZE)
    values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    rows = operators.parameter(shape, np.float32)
    weights = operators.constant(values)
    read: Any = rows
    if precision == "int8-static":
        low, high = np.float32(-4.0), np.float32(4.0)
        read = operators.fake_quantize(rows, low, high, low, high, 256)
    if precision.startswith("int8"):
        scale = np.abs(values).max(axis=1, keepdims=True) / 127.0
        integers = operators.constant(np.round(values / scale).astype(np.int8))
        weights = operators.multiply(operators.convert(integers, np.float32), scale)
    product = operators.matmul(read, weights, False, True)
    # A product alone would hand out all its numbers; the copying is not what is measured.
    total = operators.reduce_sum(product, np.array([1]), False)
    return openvino.Model([total], [rows], "matrix_product")
