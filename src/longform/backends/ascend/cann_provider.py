"""ONNX Runtime's own provider for Ascend: the second choice, for where `atc` cannot be run.

The provider compiles a graph for every new input shape, which takes minutes. Batches are therefore
split and padded to the gears of the bundle's shape plan, and the warm-up compiles them all before
the first request.
"""

from __future__ import annotations

from pathlib import Path

from longform.backends.ascend.gears import Gear, encode_in_gears, plan_gears, warm_up_gears
from longform.backends.onnx import OnnxBackend
from longform.shapes import ShapePlan
from longform.types import Floats, Integers, SegmentBatch


class CannProviderBackend(OnnxBackend):
    """The encoder on an Ascend card by ONNX Runtime, the head on the CPU.

    Args:
        encoder: `onnx/encoder.onnx` of a bundle.
        head: `onnx/head.onnx` of a bundle.
        plan: The shapes that are compiled.

    Raises:
        MissingExtraError: This installation of ONNX Runtime lacks the provider.
    """

    def __init__(self, encoder: Path, head: Path, plan: ShapePlan) -> None:
        super().__init__(encoder, head, provider="cann", plan=plan)
        self._gears = plan_gears(plan)
        self.token_budget = max(gear.rows * gear.length for gear in self._gears)

    def encode(self, batch: SegmentBatch) -> Floats:
        """Encode segments in the shapes that are compiled already."""
        return encode_in_gears(self._gears, batch, self._run)

    def warm_up(self, segment_length: int) -> None:
        """Compile every gear, the largest first."""
        warm_up_gears(self._gears, self._run)
        super().warm_up(segment_length)

    def _run(self, gear: Gear, input_ids: Integers, attention_mask: Integers) -> Floats:
        return super().encode(SegmentBatch(input_ids, attention_mask))
