"""A sketch of what a model met in validation, to tell later whether the world has changed.

Shares of lengths, labels and confidences in a few classes, compared by the population stability
index, sum over classes of (p - q) ln(p / q) (B. Yurdakul, Statistical Properties of Population
Stability Index, 2018). By custom, below 0.1 nothing has changed, above 0.25 something has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from longform.types import Floats

CONFIDENCE_BINS = 10
_LEAST_SHARE = 1e-3
"""A class that was never seen counts as this, so that the index stays finite."""
QUANTITIES = ("length", "label", "confidence")


@dataclass(slots=True)
class Sketch:
    """Counts of documents by class, for each quantity.

    Attributes:
        documents: How many were counted.
        counts: Quantity to class to documents. Lengths are classed by powers of two of their
            tokens, confidences by tenths.
    """

    documents: float = 0.0
    counts: dict[str, dict[str, float]] = field(
        default_factory=lambda: {quantity: {} for quantity in QUANTITIES}
    )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Sketch:
        """Read what `as_json` gave."""
        counts = {quantity: dict(content["counts"].get(quantity, {})) for quantity in QUANTITIES}
        return cls(float(content["documents"]), counts)

    @classmethod
    def of_answers(
        cls, labels: Sequence[str], tokens: Sequence[int], probabilities: Floats
    ) -> Sketch:
        """Count the answers to some documents.

        Args:
            labels: Names of the classes.
            tokens: Of each whole document.
            probabilities: float32 `[docs, classes]`.
        """
        sketch = cls()
        for length, row in zip(tokens, probabilities, strict=True):
            best = int(row.argmax())
            sketch.add(length, labels[best], float(row[best]))
        return sketch

    def as_json(self) -> dict[str, Any]:
        """Return what a bundle keeps."""
        return {"documents": self.documents, "counts": self.counts}

    def add(self, tokens: int, label: str, confidence: float) -> None:
        """Count an answer.

        Args:
            tokens: Of the whole document.
            label: The likeliest.
            confidence: Its probability.
        """
        self.documents += 1
        classes = (
            str(max(tokens, 1).bit_length()),
            label,
            str(min(int(confidence * CONFIDENCE_BINS), CONFIDENCE_BINS - 1)),
        )
        for quantity, name in zip(QUANTITIES, classes, strict=True):
            counts = self.counts[quantity]
            counts[name] = counts.get(name, 0.0) + 1

    def fade(self, share: float) -> None:
        """Keep a share of every count, so that what is newer weighs more."""
        self.documents *= share
        for counts in self.counts.values():
            for name in counts:
                counts[name] *= share

    def shares(self, quantity: str) -> dict[str, float]:
        """Return the share of each class."""
        counts = self.counts[quantity]
        total = sum(counts.values()) or 1.0
        return {name: count / total for name, count in counts.items()}

    def difference(self, other: Sketch, quantity: str) -> float:
        """Return the population stability index of a quantity; 0 for equal shares."""
        ours, theirs = self.shares(quantity), other.shares(quantity)
        index = 0.0
        for name in ours.keys() | theirs.keys():
            one = max(ours.get(name, 0.0), _LEAST_SHARE)
            two = max(theirs.get(name, 0.0), _LEAST_SHARE)
            index += (one - two) * math.log(one / two)
        return index
