"""How much of all documents was read, and why the rest was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from longform.types import Coverage


@dataclass(frozen=True, slots=True)
class CoverageTotals:
    """How much of all documents was read.

    Attributes:
        reasons: Why tokens were left out -> number of documents; empty when nothing was.
    """

    tokens_total: int
    tokens_used: int
    segments_total: int
    segments_used: int
    truncated_documents: int
    reasons: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_coverages(cls, coverages: Iterable[Coverage]) -> CoverageTotals:
        """Add up the coverage of documents."""
        coverages = tuple(coverages)
        reasons = Counter(item.reason or "unknown" for item in coverages if item.truncated)
        return cls(
            sum(item.tokens_total for item in coverages),
            sum(item.tokens_used for item in coverages),
            sum(item.segments_total for item in coverages),
            sum(item.segments_used for item in coverages),
            sum(item.truncated for item in coverages),
            dict(reasons.most_common()),
        )

    @property
    def share(self) -> float:
        """Share of the tokens that were read; 1 when there are none."""
        return self.tokens_used / self.tokens_total if self.tokens_total else 1.0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and the share."""
        return {**asdict(self), "share": self.share}
