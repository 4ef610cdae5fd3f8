"""The model compiled by `torch.compile`, once for each shape of a plan: on a GPU as CUDA graphs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from longform.backends.torch import Precision, TorchBackend, default_device
from longform.errors import MissingExtraError
from longform.shapes import Bucket, ShapePlan
from longform.types import Floats, SegmentBatch

if TYPE_CHECKING:
    from longform.models import LongTextClassifier


class CompiledTorchBackend(TorchBackend):
    """A model whose encoder is compiled for the shapes of a plan, and for no others.

    Batches are padded to the rows and the length of their bucket, so that after `warm_up` nothing
    is compiled any more. On a GPU the mode `reduce-overhead` records each shape as a CUDA graph. It
    is opened only when it is asked for: compiling takes up to a minute a shape.

    Args:
        model: The model.
        plan: The shapes.
        precision: Arithmetic of the encoder; the head always runs in fp32.
        device: A torch device.
        threads: Threads of one call on a CPU; None takes what the machine grants.
        compiler: Backend of `torch.compile`.

    Raises:
        MissingExtraError: On a CPU, there is no C++ compiler.
    """

    name = "torch-compiled"

    def __init__(
        self,
        model: LongTextClassifier,
        plan: ShapePlan,
        precision: Precision = "fp32",
        device: str = "cpu",
        threads: int | None = None,
        compiler: str = "inductor",
    ) -> None:
        super().__init__(model, precision, device, threads)
        if compiler == "inductor" and self._device.type == "cpu":
            require_compiler()
        options: dict[str, Any] = {"dynamic": False, "backend": compiler}
        if self._device.type == "cuda":
            options["mode"] = "reduce-overhead"
        self._plan = plan
        self._compiled: Callable[[Tensor, Tensor], Tensor] = torch.compile(
            self._model.encode, **options
        )

    @classmethod
    def from_bundle(cls, folder: Path, plan: ShapePlan, precision: Precision) -> TorchBackend:
        """Load the model of a bundle, on a GPU where there is one."""
        from longform.models import load_classifier

        return cls(load_classifier(folder), plan, precision, default_device())

    def encode(self, batch: SegmentBatch) -> Floats:
        """Encode segments in full batches of their bucket; see `Backend.encode`."""
        rows, width = batch.input_ids.shape
        bucket = self._plan.bucket(width)
        parts = [
            self._encode_padded(batch, slice(start, start + bucket.rows), bucket)
            for start in range(0, rows, bucket.rows)
        ]
        return np.concatenate(parts)

    def warm_up(self, segment_length: int) -> None:
        """Compile every shape, the largest first, so that what does not fit shows at once."""
        for bucket in reversed(self._plan.buckets):
            ones = np.ones((bucket.rows, bucket.length), dtype=np.int64)
            self.encode(SegmentBatch(ones, ones))
        super().warm_up(segment_length)

    def _encode_padded(self, batch: SegmentBatch, chosen: slice, bucket: Bucket) -> Floats:
        ids, mask = batch.input_ids[chosen], batch.attention_mask[chosen]
        rows, width = ids.shape
        beyond = ((0, bucket.rows - rows), (0, bucket.length - width))
        # Rows of padding read one token, so that no softmax is taken over nothing.
        padded_mask = np.pad(mask, beyond)
        padded_mask[rows:, 0] = 1
        padded = SegmentBatch(np.pad(ids, beyond), padded_mask)
        return self._encode(self._compiled, padded)[:rows]


def require_compiler() -> None:
    """Make sure that what torch generates for a CPU can be compiled.

    Raises:
        MissingExtraError: It cannot; torch would say so in a traceback, after a while.
    """
    named = os.environ.get("CXX")
    known = [named] if named else ["c++", "g++", "clang++"]
    if not any(shutil.which(program) for program in known):
        raise MissingExtraError(
            "The backend 'torch-compiled' needs a C++ compiler on a CPU.",
            found=f"none of {', '.join(known)} on the path",
            fix="Install one, for example g++, or take --backend torch.",
        )
