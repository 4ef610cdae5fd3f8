"""OpenVINO for the encoder; the head, tiny and of any segment count, stays on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from longform.backends.base import Backend, BackendInfo
from longform.backends.onnx import OnnxHead
from longform.backends.threads import granted_threads
from longform.extras import require
from longform.types import Floats, SegmentBatch


class OpenVINOBackend(Backend):
    """OpenVINO on the CPU.

    Args:
        encoder: `onnx/encoder.onnx` of a bundle.
        head: `onnx/head.onnx` of a bundle.
        precision: Arithmetic of the encoder; bf16 pays only on CPUs with fast bf16 units.
        threads: Threads of one call; None takes what the machine grants.
    """

    def __init__(
        self,
        encoder: Path,
        head: Path,
        precision: Literal["fp32", "bf16"] = "fp32",
        threads: int | None = None,
    ) -> None:
        openvino = require("openvino", "The backend 'openvino'")
        self._threads = threads or granted_threads()
        self._precision = precision
        settings = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(self._threads),
        }
        self._encoder = openvino.Core().compile_model(str(encoder), "CPU", settings)
        self._head = OnnxHead(head, self._threads)
        self._vector_size = int(self._encoder.output(0).partial_shape[-1].get_length())

    @property
    def info(self) -> BackendInfo:
        """OpenVINO on the CPU."""
        return BackendInfo("openvino", "cpu", self._precision, self._vector_size, self._threads)

    def encode(self, batch: SegmentBatch) -> Floats:
        """Encode segments; see `Backend.encode`."""
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        # The result lives in the runtime's buffer until the next call: copy it out.
        return np.array(self._encoder(inputs)[0], dtype=np.float32)

    def score(self, vectors: Floats, mask: Floats, positions: Floats) -> Floats:
        """Score documents; see `Backend.score`."""
        return self._head.score(vectors, mask, positions)
