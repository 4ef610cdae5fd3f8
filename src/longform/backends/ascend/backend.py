"""The Ascend NPU as a backend: the encoder on a card by gears, the head on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from longform.backends.ascend.card import Card
from longform.backends.ascend.compiled_model import CompiledModel
from longform.backends.ascend.gears import CompiledEncoder, encode_in_gears, warm_up_gears
from longform.backends.base import Backend, BackendInfo
from longform.backends.onnx import OnnxHead
from longform.backends.threads import granted_threads
from longform.errors import BundleError
from longform.types import Floats, SegmentBatch


class AscendBackend(Backend):
    """An encoder that was compiled for a card.

    Args:
        compiled: What `gears.json` says of it.
        folder: Of the bundle.
        head: `onnx/head.onnx` of the bundle.
        card: Number of the card among those that this process sees.

    Raises:
        MissingExtraError: pyACL is not installed.
        AscendError: The card cannot be used, or has no room for the model.
        BundleError: The encoder was compiled for another chip.
    """

    def __init__(self, compiled: CompiledEncoder, folder: Path, head: Path, card: int = 0) -> None:
        self._compiled = compiled
        self._card = Card(card)
        try:
            soc_name = self._card.soc_name
            if soc_name != compiled.soc_version:
                raise BundleError(
                    "The encoder must have been compiled for this chip.",
                    found=f"compiled for {compiled.soc_version}, this is {soc_name}",
                    fix=f"longform export BUNDLE --target ascend --soc {soc_name}, which runs: "
                    f"{compiled.command_for(soc_name)}",
                )
            self._model = CompiledModel(self._card, folder / compiled.file)
        except BaseException:
            self._card.close()
            raise
        self._threads = granted_threads()
        self._head = OnnxHead(head, self._threads)
        self.token_budget = max(gear.rows * gear.length for gear in compiled.gears)
        self._vector_size = self._measure_vector_size()

    @property
    def info(self) -> BackendInfo:
        """The card and what it computes in."""
        device = f"ascend:{self._card.number}"
        return BackendInfo("ascend", device, self._compiled.precision, self._vector_size, 0)

    @property
    def memory(self) -> tuple[int, int]:
        """Free and total bytes of the card."""
        return self._card.memory()

    def encode(self, batch: SegmentBatch) -> Floats:
        """Encode segments; a batch of no gear's shape is split and padded to gears."""
        return encode_in_gears(self._compiled.gears, batch, self._model.run)

    def score(self, vectors: Floats, mask: Floats, positions: Floats) -> Floats:
        """Score documents on the CPU; see `Backend.score`."""
        return self._head.score(vectors, mask, positions)

    def warm_up(self, segment_length: int) -> None:
        """Run every gear once, the largest first: it needs the most memory."""
        warm_up_gears(self._compiled.gears, self._model.run)
        super().warm_up(segment_length)

    def close(self) -> None:
        """Unload the model and give the card back."""
        self._model.close()
        self._card.close()

    def _measure_vector_size(self) -> int:
        gear = min(self._compiled.gears, key=lambda one: one.rows * one.length)
        ones = np.ones((gear.rows, gear.length), dtype=np.int64)
        try:
            return int(self._model.run(gear, ones, ones).shape[-1])
        except BaseException:
            self.close()
            raise
