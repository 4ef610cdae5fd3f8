"""The exported split of the logits over the segments, on ONNX Runtime's CPU."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from longform.backends.onnx import open_session
from longform.types import Floats, LogitSplit


class OnnxContributions:
    """`onnx/contributions.onnx`, opened when it is first asked: few requests want evidence.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, vectors: Floats, positions: Floats) -> LogitSplit:
        """Split the logits of one document.

        Args:
            vectors: float32 `[segments, width]`.
            positions: float32 `[segments, 4]`.
        """
        contributions, base = self._session.run(
            ["contributions", "base"],
            {
                "segment_vectors": np.ascontiguousarray(vectors[np.newaxis], dtype=np.float32),
                "segment_mask": np.ones((1, len(vectors)), dtype=np.float32),
                "segment_positions": np.ascontiguousarray(positions[np.newaxis], dtype=np.float32),
            },
        )
        return LogitSplit(contributions[0], base[0])

    @cached_property
    def _session(self) -> Any:
        return open_session(self._path, threads=1)
