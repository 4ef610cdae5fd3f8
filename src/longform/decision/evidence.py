"""Which parts of a document the answer rests on: the head run once more without each part.

Exact for every aggregator, and cheap, since the head is tiny and the vectors are at hand.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from longform.decision.rule import DecisionRule
from longform.types import Evidence, Floats, Integers, SegmentedDocument

MAX_PARTS = 32
"""Leaving one part out is quadratic for a recurrent head: longer documents are grouped."""

ScoreFunction = Callable[[list[Floats], list[Floats]], Floats]
"""Vectors and positions of documents, `[segments, width]` and `[segments, 4]` each -> logits."""


def leave_one_out(
    document: SegmentedDocument,
    vectors: Floats,
    score: ScoreFunction,
    rule: DecisionRule,
) -> tuple[Evidence, ...]:
    """Measure how much the probability of the likeliest label rests on each part.

    Args:
        document: The segments that were read.
        vectors: float32 `[segments, width]`, their vectors.
        score: Runs the head.
        rule: As in the prediction that is explained.

    Returns:
        One item per part in reading order, about `MAX_PARTS` at most; no part spans what was not
        read, or both texts of a pair. Empty for a document of one part, which cannot be left
        out.
    """
    if len(vectors) < 2:
        return ()
    parts = _split_parts(document)
    everything = np.arange(len(vectors))
    readings = [everything, *(np.setdiff1d(everything, part) for part in parts)]
    logits = score(
        [vectors[rows] for rows in readings], [document.positions[rows] for rows in readings]
    )
    probabilities = rule.probabilities(logits)
    predicted = int(probabilities[0].argmax())
    whole = probabilities[0, predicted]
    return tuple(
        Evidence(
            segment=int(part[0]),
            start=document.segments[part[0]].start,
            end=document.segments[part[-1]].end,
            score=float(whole - without[predicted]),
            label=rule.labels[predicted],
            part=int(document.positions[part[0], 3]),
        )
        for part, without in zip(parts, probabilities[1:], strict=True)
    )


def _split_parts(document: SegmentedDocument) -> list[Integers]:
    """Group neighbouring segments; a part ends where text was left out or another text begins."""
    count = len(document.segments)
    index = document.positions[:, 0]
    after_gap = np.flatnonzero(np.diff(index) != 1) + 1
    even = np.linspace(0, count, min(count, MAX_PARTS) + 1).astype(np.int64)[1:-1]
    return np.split(np.arange(count), np.union1d(even, after_gap))
