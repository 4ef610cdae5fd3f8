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
    """

    parity_documents: int | None = None
    allow_drop: float | None = None
    replan: bool = False
