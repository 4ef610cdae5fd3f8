"""The trained model itself, run by torch: the reference, and often the fastest on a plain CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from longform.backends.base import MATRIX_SIZE, Backend, BackendInfo, best_rate
from longform.backends.threads import granted_threads
from longform.types import Floats, SegmentBatch

if TYPE_CHECKING:
    from longform.models import LongTextClassifier


class TorchBackend(Backend):
    """A `LongTextClassifier` in evaluation mode.

    Args:
        model: The model; it is moved to the device and put into evaluation mode.
        precision: Arithmetic of the encoder; the head always runs in fp32.
        device: A torch device.
        threads: Threads of one call on a CPU; None takes what the machine grants.
    """

    def __init__(
        self,
        model: LongTextClassifier,
        precision: Literal["fp32", "bf16"] = "fp32",
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self._threads = threads or granted_threads()
        torch.set_num_threads(self._threads)
        self._precision = precision
        self._device = torch.device(device)
        self._model = model.to(self._device).eval()

    @classmethod
    def from_folder(
        cls, folder: Path, precision: Literal["fp32", "bf16"] = "fp32", threads: int | None = None
    ) -> TorchBackend:
        """Load the model of a bundle, on a GPU where there is one."""
        from longform.models import load_classifier

        model = load_classifier(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(model, precision, device, threads)

    @property
    def info(self) -> BackendInfo:
        """Torch on its device."""
        width = int(self._model.config.vector_size)
        return BackendInfo("torch", str(self._device), self._precision, width, self._threads)

    def encode(self, batch: SegmentBatch) -> Floats:
        """Encode segments; see `Backend.encode`."""
        with (
            torch.inference_mode(),
            torch.autocast(
                self._device.type, dtype=torch.bfloat16, enabled=self._precision == "bf16"
            ),
        ):
            vectors = self._model.encode(
                torch.from_numpy(batch.input_ids).to(self._device),
                torch.from_numpy(batch.attention_mask).to(self._device),
            )
        result: Floats = vectors.float().cpu().numpy()
        return result

    def matrix_rate(self) -> float | None:
        """Multiply in the precision of the encoder; see `Backend.matrix_rate`."""
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[self._precision]
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
