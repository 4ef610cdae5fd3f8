"""ONNX Runtime: the backend that every installation has."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime

from longform.backends.base import Backend, BackendInfo
from longform.backends.threads import granted_threads
from longform.types import Floats, SegmentBatch

Precision = Literal["fp32", "fp16", "int8"]


class OnnxHead:
    """The exported head. Shared by the backends that compile only the encoder.

    Args:
        path: `onnx/head.onnx` of a bundle.
        threads: Threads of one call.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._session = open_session(path, threads)

    def score(self, vectors: Floats, mask: Floats, positions: Floats) -> Floats:
        """Score documents; shapes as in `Backend.score`."""
        logits: Floats = self._session.run(
            ["logits"],
            {
                "segment_vectors": np.ascontiguousarray(vectors, dtype=np.float32),
                "segment_mask": np.ascontiguousarray(mask, dtype=np.float32),
                "segment_positions": np.ascontiguousarray(positions, dtype=np.float32),
            },
        )[0]
        return logits


class OnnxBackend(Backend):
    """ONNX Runtime on the CPU.

    Args:
        encoder: `onnx/encoder.onnx` of a bundle, or the file of another precision beside it.
        head: `onnx/head.onnx` of a bundle.
        precision: Of the encoder.
        threads: Threads of one call; None takes what the machine grants.
    """

    def __init__(
        self,
        encoder: Path,
        head: Path,
        precision: Precision = "fp32",
        threads: int | None = None,
    ) -> None:
        self._precision = precision
        self._threads = threads or granted_threads()
        self._encoder = open_session(encoder, self._threads)
        self._head = OnnxHead(head, self._threads)
        self._vector_size = int(self._encoder.get_outputs()[0].shape[-1])

    @property
    def info(self) -> BackendInfo:
        """ONNX Runtime on the CPU."""
        return BackendInfo("onnx", "cpu", self._precision, self._vector_size, self._threads)

    def encode(self, batch: SegmentBatch) -> Floats:
        """Encode segments; see `Backend.encode`."""
        vectors: Floats = self._encoder.run(
            ["segment_vector"],
            {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask},
        )[0]
        return vectors

    def score(self, vectors: Floats, mask: Floats, positions: Floats) -> Floats:
        """Score documents; see `Backend.score`."""
        return self._head.score(vectors, mask, positions)


def open_session(path: Path, threads: int) -> Any:
    """Open an ONNX file with ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads must not burn the cores that tokenise the next documents.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )
