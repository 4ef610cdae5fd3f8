"""The shapes an encoder runs in: one plan for CPU batches, TensorRT profiles and Ascend gears."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from longform.errors import BundleError

TOKEN_BUDGET = 4_096
"""Padded tokens of a batch unless memory allows fewer: enough to fill any device's matrix units."""
MOST_BUCKETS = 8
_STEP = 8
"""Bucket lengths are multiples of this: what vector units and tensor cores read at once."""
_MOST_LENGTHS = 128
"""Lengths that are considered as the end of a bucket."""
_WORTH_A_BUCKET = 0.005
"""Share of all work that one more bucket must save: each is compiled and warmed up."""
_SHORTEST = 16
"""Tokens of the shortest bucket."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A shape that a batch of segments is padded to.

    Attributes:
        length: Tokens of a row.
        rows: Most rows of a batch.
    """

    length: int
    rows: int


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """Shapes that a compiler makes one version for, each rows and tokens.

    Attributes:
        least: Smallest.
        best: The one that kernels are chosen for.
        most: Largest.
    """

    least: tuple[int, int]
    best: tuple[int, int]
    most: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ShapePlan:
    """The buckets of one model, shortest first; the last holds the longest segment.

    Attributes:
        buckets: At least one.
        padded_share: Work that goes into padding, as a share of all work, on the documents that
            the plan was made for; None of a plan that was made without documents.
    """

    buckets: tuple[Bucket, ...]
    padded_share: float | None = None

    def bucket(self, tokens: int) -> Bucket:
        """Return the smallest bucket that holds a segment.

        Raises:
            ValueError: The segment is longer than any bucket.
        """
        place = bisect_left(self.buckets, tokens, key=lambda bucket: bucket.length)
        if place == len(self.buckets):
            raise ValueError(f"a segment of {tokens} tokens is longer than any of {self.buckets}")
        return self.buckets[place]

    def ranges(self) -> list[ShapeRange]:
        """Return one range for each bucket: from one row of its shortest segment to all of it."""
        ends = [0, *(bucket.length for bucket in self.buckets)]
        return [
            ShapeRange((1, shorter + 1), (bucket.rows, longer), (bucket.rows, longer))
            for (shorter, longer), bucket in zip(pairwise(ends), self.buckets, strict=True)
        ]

    @property
    def longest(self) -> int:
        """Tokens of the longest segment."""
        return self.buckets[-1].length

    def as_json(self) -> str:
        """Return the content of `shapes.json`."""
        return json.dumps(asdict(self), indent=2) + "\n"


def read_plan(text: str) -> ShapePlan:
    """Read the content of `shapes.json`.

    Raises:
        BundleError: It is not what `ShapePlan.as_json` writes.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        buckets = tuple(
            Bucket(int(entry["length"]), int(entry["rows"])) for entry in content["buckets"]
        )
        share = content.get("padded_share")
        plan = ShapePlan(buckets, None if share is None else float(share))
    except (ValueError, KeyError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
    else:
        lengths = [bucket.length for bucket in buckets]
        ascending = all(shorter < longer for shorter, longer in pairwise(lengths))
        if buckets and ascending and min(lengths) > 0 and min(b.rows for b in buckets) > 0:
            return plan
        found = f"buckets {[asdict(bucket) for bucket in buckets]}"
    raise BundleError(
        "shapes.json must list buckets of ascending lengths, each with its rows.",
        found=found,
        fix="Export the bundle again.",
    )


def plan_shapes(
    lengths: Iterable[int] | Mapping[int, int],
    longest: int,
    *,
    token_budget: int = TOKEN_BUDGET,
    attention_length: float = 2_304.0,
    most_buckets: int = MOST_BUCKETS,
) -> ShapePlan:
    """Choose buckets that waste the least work on padding.

    The ends of the buckets are found exactly, by dynamic programming over the histogram, for each
    number of buckets; the smallest number is taken that one more would improve by less than half a
    percent of all work. Between and below them, lengths are halved down to 16 tokens, so that a
    segment of a length that the histogram lacks is not padded to several times its length.

    Args:
        lengths: Tokens of each segment of the user's documents, or a histogram of them.
        longest: Tokens of the longest segment that can come.
        token_budget: Most padded tokens of a batch: the bound on the memory of activations, which
            grows with padded tokens and with nothing else.
        attention_length: Length at which attention costs as much as everything else: 6 x the width
            of the encoder, from 24 L d^2 n for linear layers and 4 L n s d for attention.
        most_buckets: Most buckets, without those that fill gaps.
    """
    histogram = Counter(lengths)
    if any(length < 1 or length > longest for length in histogram):
        raise ValueError(f"segments must have 1 to {longest} tokens")
    step = _STEP * max(1, -(-longest // (_STEP * _MOST_LENGTHS)))
    ends = sorted({min(longest, -(-length // step) * step) for length in histogram} | {longest})
    counts = Counter[int]()
    useful = 0.0
    for length, count in histogram.items():
        counts[ends[bisect_left(ends, length)]] += count
        useful += count * _work(length, attention_length)
    chosen, work = _best_ends(ends, counts, attention_length, most_buckets)
    return ShapePlan(
        tuple(Bucket(end, max(1, token_budget // end)) for end in _without_gaps(chosen)),
        round(1.0 - useful / work, 4) if work else None,
    )


def _without_gaps(ends: list[int]) -> list[int]:
    """Return the ends of buckets with further ones, so that each is at most twice the one before.

    The first is at most twice the shortest length that is worth a bucket.
    """
    filled = set(ends)
    for shorter, end in pairwise([_SHORTEST - _STEP, *ends]):
        half = _half(end)
        while half > shorter:
            filled.add(half)
            half = _half(half)
    return sorted(filled)


def _half(length: int) -> int:
    return -(-length // (2 * _STEP)) * _STEP


def _work(length: int, attention_length: float) -> float:
    """Return the cost of a row, in tokens of the linear layers."""
    return length * (1.0 + length / attention_length)


def _best_ends(
    ends: list[int], counts: Counter[int], attention_length: float, most_buckets: int
) -> tuple[list[int], float]:
    """Return the ends of the chosen buckets, and the work that they make of the histogram."""
    before = [0]
    for end in ends:
        before.append(before[-1] + counts[end])
    costs = [_work(end, attention_length) for end in ends]
    # best[last]: least work of all segments up to ends[last], whose bucket ends there.
    best = [(before[last + 1] * costs[last], [end]) for last, end in enumerate(ends)]
    answer = best[-1]
    for _ in range(1, min(most_buckets, len(ends))):
        best = [
            min(
                [best[last]]
                + [
                    (
                        best[middle][0] + (before[last + 1] - before[middle + 1]) * costs[last],
                        [*best[middle][1], ends[last]],
                    )
                    for middle in range(last)
                ],
                key=lambda item: (item[0], len(item[1])),
            )
            for last in range(len(ends))
        ]
        if answer[0] - best[-1][0] < _WORTH_A_BUCKET * answer[0]:
            break
        answer = best[-1]
    return answer[1], answer[0]
