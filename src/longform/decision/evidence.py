"""Which parts of a document the answer rests on: the head run once more without each part.

Exact for every aggregator, and cheap, since the head is tiny and the vectors are at hand. Where
the head is a sum over the segments, its terms are told beside that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longform.decision.rule import DecisionRule
from longform.errors import InputError
from longform.types import (
    Evidence,
    Explanation,
    Floats,
    Integers,
    LogitSplit,
    SegmentedDocument,
)

MAX_PARTS = 32
"""Leaving one part out is quadratic for a recurrent head: longer documents are grouped."""
REFINING_READINGS = 64
"""Readings of the head, beyond one for each part, that refining a long document may take."""
_PIECES = 8
_ROUND = 32
_LEAST_EFFECT = 0.1
"""Share of the strongest effect below which a part is not worth a closer look."""

Doubles = NDArray[np.float64]
ScoreFunction = Callable[[list[Floats], list[Floats]], Floats]
"""Vectors and positions of documents, `[segments, width]` and `[segments, 4]` each -> logits."""

Found = tuple[tuple[Evidence, ...], Explanation | None]
"""The parts of a document in reading order, and what their figures mean; None without parts."""


@dataclass(frozen=True, slots=True)
class EvidenceOptions:
    """What evidence is asked for.

    Attributes:
        refine: Split the parts of long documents that matter most, down to single segments.
        label: The label to explain; None takes the likeliest.
    """

    refine: bool = False
    label: str | None = None


DEFAULT_OPTIONS = EvidenceOptions()


def leave_one_out(
    document: SegmentedDocument,
    vectors: Floats,
    score: ScoreFunction,
    rule: DecisionRule,
    options: EvidenceOptions = DEFAULT_OPTIONS,
    split: LogitSplit | None = None,
) -> Found:
    """Measure how much the probability of a label rests on each part.

    The head reads the document once for each part, `MAX_PARTS` at most and one more for each
    place where text was left out; refining adds `REFINING_READINGS` at most.

    Args:
        document: The segments that were read.
        vectors: float32 `[segments, width]`, their vectors.
        score: Runs the head.
        rule: As in the prediction that is explained.
        options: What is asked for.
        split: The logits as a sum over the segments, where the head is one. It is told of only if
            it adds up to the logits.

    Returns:
        One item per part in reading order; no part spans what was not read, or both texts of a
        pair. Nothing for a document of one part, which cannot be left out.

    Raises:
        InputError: The label is not one of the model's.
    """
    if len(vectors) < 2:
        return (), None
    everything = np.arange(len(vectors))

    def run(parts: Sequence[Integers]) -> Floats:
        rows = [np.setdiff1d(everything, part) for part in parts]
        return score([vectors[row] for row in rows], [document.positions[row] for row in rows])

    parts = _split_parts(document)
    logits = run([np.empty(0, dtype=np.int64), *parts])
    tokens, row = document.coverage.tokens_total, explained_row(logits[0], rule, options.label)
    odds = row_log_odds(logits, rule, row, tokens)
    leaves = [_Leaf(*leaf) for leaf in zip(parts, logits[1:], odds[0] - odds[1:], strict=True)]
    if options.refine:
        leaves = _refine(
            leaves, run, lambda without: odds[0] - row_log_odds(without, rule, row, tokens)
        )
    exact = split if split is not None and split.adds_up(logits[0]) else None
    found = measure(
        logits[0],
        np.stack([leaf.without for leaf in leaves]),
        rule,
        row,
        tokens,
        contributions=None if exact is None else _added(exact, leaves),
        stretches=[_stretch(document, leaf.rows) for leaf in leaves],
    )
    told = rule.labels[row], float(logits[0, row])
    if exact is None:
        return found, Explanation("leave_one_out", *told)
    return found, Explanation("exact", *told, float(exact.base[row]))


def _added(split: LogitSplit, leaves: Sequence[_Leaf]) -> Floats:
    """Return what each part adds to the logits, float32 `[parts, classes]`."""
    return np.stack([split.contributions[leaf.rows].sum(axis=0) for leaf in leaves])


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where a part of a document stands: see `Evidence`."""

    segment: int
    start: int
    end: int
    part: int


def _stretch(document: SegmentedDocument, rows: Integers) -> Stretch:
    first, last = int(rows[0]), int(rows[-1])
    start, end = document.segments[first].start, document.segments[last].end
    return Stretch(first, start, end, int(document.positions[first, 3]))


def measure(
    logits: Floats,
    without: Floats,
    rule: DecisionRule,
    row: int,
    tokens: int,
    *,
    contributions: Floats | None,
    stretches: Sequence[Stretch],
) -> tuple[Evidence, ...]:
    """Turn what is left without each stretch into evidence.

    Args:
        logits: float32 `[classes]` of the whole document.
        without: float32 `[stretches, classes]`.
        rule: As in the prediction that is explained.
        row: Of the label in the logits.
        tokens: Length of the whole document.
        contributions: float32 `[stretches, classes]`, the terms of a sum; None takes the falls of
            the logit.
        stretches: Where they stand.
    """
    both = np.concatenate([logits[np.newaxis], without])
    probabilities = rule.probabilities(both, np.full(len(both), tokens))[:, row]
    odds = row_log_odds(both, rule, row, tokens)
    added = logits[row] - without[:, row] if contributions is None else contributions[:, row]
    return tuple(
        Evidence(
            segment=stretch.segment,
            start=stretch.start,
            end=stretch.end,
            score=float(probabilities[0] - probabilities[index]),
            label=rule.labels[row],
            part=stretch.part,
            contribution=float(added[index - 1]),
            log_odds=float(odds[0] - odds[index]),
        )
        for index, stretch in enumerate(stretches, start=1)
    )


def explained_row(logits: Floats, rule: DecisionRule, label: str | None) -> int:
    """Return the row of the label to explain: the likeliest where none is named.

    Raises:
        InputError: The label is not one of the model's.
    """
    if label is None:
        return int(rule.probabilities(logits[np.newaxis])[0].argmax())
    if label not in rule.labels:
        raise InputError(
            "The label to explain must be one of the model's.",
            found=f"'{label}'",
            fix=f"Choose of {', '.join(rule.labels[:20])}{' ...' * (len(rule.labels) > 20)}.",
        )
    return rule.labels.index(label)


def row_log_odds(logits: Floats, rule: DecisionRule, row: int, tokens: int) -> Doubles:
    """Return the log-odds of one label, float64 `[readings]`, for readings of one document.

    Args:
        logits: float32 `[readings, classes]`.
        rule: As in the prediction that is explained.
        row: Of the label in the logits.
        tokens: Length of the whole document.
    """
    return rule.log_odds(logits, np.full(len(logits), tokens))[:, row]


@dataclass(frozen=True, slots=True, eq=False)
class _Leaf:
    """A part: its segments, the logits without it, and how far the log-odds fall."""

    rows: Integers
    without: Floats
    effect: float


def _refine(
    leaves: list[_Leaf],
    run: Callable[[Sequence[Integers]], Floats],
    effect: Callable[[Floats], Doubles],
) -> list[_Leaf]:
    """Split the strongest parts, and of those the strongest again, as far as readings allow."""
    left = REFINING_READINGS
    while True:
        strongest = max(abs(leaf.effect) for leaf in leaves)
        worth = [
            leaf
            for leaf in sorted(leaves, key=lambda leaf: -abs(leaf.effect))
            if len(leaf.rows) > 1 and abs(leaf.effect) >= _LEAST_EFFECT * strongest
        ]
        chosen: list[_Leaf] = []
        pieces: list[Integers] = []
        for leaf in worth:
            cut = np.array_split(leaf.rows, min(len(leaf.rows), _PIECES))
            if len(pieces) + len(cut) > min(left, _ROUND):
                break
            chosen.append(leaf)
            pieces += cut
        if not chosen:
            return sorted(leaves, key=lambda leaf: int(leaf.rows[0]))
        without = run(pieces)
        left -= len(pieces)
        split = {id(leaf) for leaf in chosen}
        leaves = [leaf for leaf in leaves if id(leaf) not in split]
        leaves += [_Leaf(*leaf) for leaf in zip(pieces, without, effect(without), strict=True)]


def _split_parts(document: SegmentedDocument) -> list[Integers]:
    """Group neighbouring segments; a part ends where text was left out or another text begins."""
    count = len(document.segments)
    index = document.positions[:, 0]
    after_gap = np.flatnonzero(np.diff(index) != 1) + 1
    even = np.linspace(0, count, min(count, MAX_PARTS) + 1).astype(np.int64)[1:-1]
    return np.split(np.arange(count), np.union1d(even, after_gap))
