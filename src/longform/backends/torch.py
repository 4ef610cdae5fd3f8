"""The trained model itself, run by torch: the reference, and often the fastest on a plain CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from longform.backends.base import MATRIX_SIZE, Backend, BackendInfo, best_rate
from longform.backends.threads import granted_threads
from longform.errors import InputError
from longform.types import Floats, SegmentBatch

if TYPE_CHECKING:
    from longform.models import LongTextClassifier

Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend(Backend):
    """A `LongTextClassifier` in evaluation mode.

    Args:
        model: The model; it is moved to the device and put into evaluation mode.
        precision: Arithmetic of the encoder; the head always runs in fp32.
        device: A torch device.
        threads: Threads of one call on a CPU; None takes what the machine grants.

    Raises:
        InputError: fp16 on a CPU, which has no fast units for it.
    """

    name = "torch"

    def __init__(
        self,
        model: LongTextClassifier,
        precision: Precision = "fp32",
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self._threads = threads or granted_threads()
        torch.set_num_threads(self._threads)
        self._precision = precision
        self._device = torch.device(device)
        if precision == "fp16" and self._device.type == "cpu":
            raise InputError(
                "fp16 needs a GPU.", found="a CPU", fix="Take torch:bf16 or torch:fp32."
            )
        self._model = model.to(self._device).eval()
        use_fused_attention(self._model)

    @classmethod
    def from_folder(
        cls, folder: Path, precision: Precision = "fp32", threads: int | None = None
    ) -> TorchBackend:
        """Load the model of a bundle, on a GPU where there is one."""
        from longform.models import load_classifier

        return cls(load_classifier(folder), precision, default_device(), threads)

    @property
    def info(self) -> BackendInfo:
        """Torch on its device."""
        width = int(self._model.config.vector_size)
        return BackendInfo(self.name, str(self._device), self._precision, width, self._threads)

    def encode(self, batch: SegmentBatch) -> Floats:
        """Encode segments; see `Backend.encode`."""
        return self._encode(self._model.encode, batch)

    def _encode(self, encode: Callable[[Tensor, Tensor], Tensor], batch: SegmentBatch) -> Floats:
        dtype = _DTYPES[self._precision]
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, dtype=dtype, enabled=dtype != torch.float32),
        ):
            vectors = encode(
                torch.from_numpy(batch.input_ids).to(self._device),
                torch.from_numpy(batch.attention_mask).to(self._device),
            )
        result: Floats = vectors.float().cpu().numpy()
        return result

    def matrix_rate(self) -> float | None:
        """Multiply in the precision of the encoder; see `Backend.matrix_rate`."""
        dtype = _DTYPES[self._precision]
        left, right = (
            torch.randn(MATRIX_SIZE, MATRIX_SIZE).to(self._device, dtype) for _ in range(2)
        )

        def multiply() -> None:
            (left @ right)[0, 0].item()

        return best_rate(multiply)

    def score(self, vectors: Floats, mask: Floats, positions: Floats) -> Floats:
        """Score documents; see `Backend.score`."""
        with torch.inference_mode():
            tensors = [
                torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(self._device)
                for array in (vectors, mask, positions)
            ]
            result: Floats = self._model.head(*tensors).float().cpu().numpy()
        return result


def default_device() -> str:
    """Return the device that a model is loaded on: a GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def use_fused_attention(model: LongTextClassifier) -> None:
    """Let a pretrained encoder attend by one fused operator, where its architecture has that."""
    encoder: Any = getattr(model.encoder, "model", None)
    if getattr(encoder, "_supports_sdpa", False):
        encoder.set_attn_implementation("sdpa")
