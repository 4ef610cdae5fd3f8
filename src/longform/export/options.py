"""What a user may say of an export."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What a user may say of an export.

    Attributes:
        parity_documents: Documents to compare; None takes as many as fit a short time.
        allow_drop: Points of accuracy that a reduced precision may lose; None leaves it to the
            tolerance of the precision.
        replan: Plan the shapes anew, from these documents.
        soc: The Ascend chip to compile for; None asks npu-smi.
        precision_mode: In which an Ascend chip computes, by its compiler's names.
        dry_run: Write the compiler's command and do not run it.
    """

    parity_documents: int | None = None
    allow_drop: float | None = None
    replan: bool = False
    soc: str | None = None
    precision_mode: str = "mixed_float16"
    dry_run: bool = False
