"""Which documents teach most: how uncertain a model is of each, and how they spread.

Uncertainty sampling is after Settles, "Active Learning Literature Survey" (2009), section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from longform.decision.rule import DecisionRule
from longform.errors import InputError
from longform.types import Floats, Integers

Doubles = NDArray[np.float64]

Strategy = Literal[
    "margin", "entropy", "least-confidence", "diverse", "badge", "k-center", "random"
]
STRATEGIES: tuple[Strategy, ...] = (
    "margin",
    "entropy",
    "least-confidence",
    "diverse",
    "badge",
    "k-center",
    "random",
)
DEFAULT_STRATEGY: Strategy = "badge"
"""Chosen by `benchmarks/active_learning.py`: as many labels saved as by any, and of the best at the
end the one that differs least between seeds."""

_DIVERSE_REACH = 4
"""`diverse` spreads over so many times the documents that are wanted, the most uncertain ones.
Zhdanov, "Diverse Mini-Batch Active Learning" (2019), takes ten times as many from larger pools."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Documents of which some are to be picked.

    Attributes:
        probabilities: float32 `[docs, classes]`.
        vectors: float32 `[docs, width]`, what each document is like.
        priorities: float64 `[docs]`, as `prioritize` gave them.
        clusters: int64 `[docs]`; of documents with one number, near-copies, one is picked.
    """

    probabilities: Floats
    vectors: Floats
    priorities: Doubles
    clusters: Integers


def check_strategy(name: str) -> Strategy:
    """Return a strategy by its name.

    Raises:
        InputError: There is none of this name.
    """
    for strategy in STRATEGIES:
        if strategy == name:
            return strategy
    raise InputError(
        "Documents are picked by a strategy that longform knows.",
        found=f"--strategy {name}",
        fix=f"Choose of {', '.join(STRATEGIES)}.",
    )


def uncertainty(measure: str, probabilities: Floats, rule: DecisionRule) -> Doubles:
    """Measure how unsure a model is of documents.

    Where a document may have several labels, each is a question of its own, and the least certain
    one counts; its probability is first moved so that its threshold lies at one half.

    Args:
        measure: `margin`, one less the lead of the likeliest label; `entropy`, in units of the
            largest possible; `least-confidence`, one less the largest probability.
        probabilities: float32 `[docs, classes]`.
        rule: How they are decided.

    Returns:
        float64 `[docs]`, larger for less certain documents, from 0 to 1.
    """
    wide = probabilities.astype(np.float64)
    if rule.is_multi_label:
        least = np.array([rule.threshold(name) for name in rule.labels])
        below = np.clip(wide / (2 * np.maximum(least, 1e-9)), 0.0, 0.5)
        above = 0.5 + (wide - least) / (2 * np.maximum(1.0 - least, 1e-9))
        moved = np.where(wide < least, below, above)
        pairs = np.stack([moved, 1.0 - moved], axis=-1)
        asked: Doubles = _of_one(measure, pairs).max(axis=-1)
        return asked
    return _of_one(measure, wide)


def _of_one(measure: str, shares: Doubles) -> Doubles:
    if measure == "entropy":
        logarithms = np.log(np.maximum(shares, 1e-300))
        entropy: Doubles = -(shares * logarithms).sum(axis=-1) / np.log(max(shares.shape[-1], 2))
        return entropy
    ordered = np.sort(shares, axis=-1)
    if measure == "least-confidence":
        confidence: Doubles = 1.0 - ordered[..., -1]
        return confidence
    margin: Doubles = 1.0 - (ordered[..., -1] - ordered[..., -2])
    return margin


def prioritize(
    strategy: Strategy,
    probabilities: Floats,
    rule: DecisionRule,
    generator: np.random.Generator,
) -> Doubles:
    """Say which documents are worth keeping while a pool goes by.

    Args:
        strategy: By which documents will be picked.
        probabilities: float32 `[docs, classes]`.
        rule: How they are decided.
        generator: Draws the samples of strategies that ask for no uncertainty.

    Returns:
        float64 `[docs]`; the largest are kept.
    """
    if strategy in ("random", "badge", "k-center"):
        # A uniform sample: these strategies weigh the documents when they pick.
        return generator.random(len(probabilities))
    measure = "margin" if strategy == "diverse" else strategy
    return uncertainty(measure, probabilities, rule)


def pick(
    strategy: Strategy, candidates: Candidates, count: int, generator: np.random.Generator
) -> list[int]:
    """Pick documents.

    Args:
        strategy: How.
        candidates: Of which.
        count: How many; fewer come back where near-copies leave fewer.
        generator: Draws where a strategy draws.

    Returns:
        Indices, what to label first first.
    """
    order = np.argsort(-candidates.priorities, kind="stable")
    unique = _first_of_clusters(candidates.clusters, order)
    if strategy == "diverse":
        near = unique[: _DIVERSE_REACH * count]
        weights = candidates.priorities[near]
        points = _unit(candidates.vectors[near])
        return [near[place] for place in _greedy_spread(points, weights, count)]
    if strategy == "k-center":
        points = _unit(candidates.vectors[unique])
        spread = _greedy_spread(points, np.ones(len(unique)), count)
        return [unique[place] for place in spread]
    if strategy == "badge":
        return [unique[place] for place in _badge(candidates, unique, count, generator)]
    return unique[:count]


def _first_of_clusters(clusters: Integers, order: Integers) -> list[int]:
    seen: set[int] = set()
    kept: list[int] = []
    for index in order.tolist():
        cluster = int(clusters[index])
        if cluster not in seen:
            seen.add(cluster)
            kept.append(index)
    return kept


def _unit(vectors: Floats) -> Doubles:
    """Return vectors of length one around their mean: encoders put all texts into a narrow cone."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    unit: Doubles = centred / np.maximum(lengths, 1e-12)
    return unit


def _greedy_spread(points: Doubles, weights: Doubles, count: int) -> list[int]:
    """Pick points far from those picked before, the heavier ones rather.

    With equal weights this is the greedy k-centre of Sener and Savarese, "Active Learning for
    Convolutional Neural Networks: A Core-Set Approach" (2018).
    """

    def distances(place: int) -> Doubles:
        squared: Doubles = np.maximum(2.0 - 2.0 * points @ points[place], 0.0)
        return squared

    return _pick_by_distance(len(points), int(weights.argmax()), distances, weights, count)


def _badge(
    candidates: Candidates, unique: Sequence[int], count: int, generator: np.random.Generator
) -> list[int]:
    """Draw by k-means++ over the gradients that the likeliest label would give the last layer.

    Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds" (2020). A
    gradient is the outer product of error and document vector, whose inner products are those of
    its factors: it is never built.
    """
    rows = np.array(unique, dtype=np.int64)
    errors = candidates.probabilities[rows].astype(np.float64)
    errors[np.arange(len(rows)), errors.argmax(axis=1)] -= 1.0
    points = np.concatenate([_unit(candidates.vectors[rows]), np.ones((len(rows), 1))], axis=1)
    norms = (errors**2).sum(axis=1) * (points**2).sum(axis=1)

    def distances(place: int) -> Doubles:
        inner = (errors @ errors[place]) * (points @ points[place])
        squared: Doubles = np.maximum(norms + norms[place] - 2.0 * inner, 0.0)
        return squared

    first = int(norms.argmax())
    return _pick_by_distance(len(rows), first, distances, np.ones(len(rows)), count, generator)


def _pick_by_distance(
    total: int,
    first: int,
    distances: Callable[[int], Doubles],
    weights: Doubles,
    count: int,
    generator: np.random.Generator | None = None,
) -> list[int]:
    """Pick the farthest, weighed point each time, or draw one by its distance."""
    picked = [first] if total and count else []
    nearest = np.full(total, np.inf)
    free = np.ones(total, dtype=np.bool_)
    while picked and len(picked) < min(count, total):
        free[picked[-1]] = False
        nearest = np.minimum(nearest, distances(picked[-1]))
        values = np.where(free, nearest * weights, 0.0)
        if not values.any():
            # All that is left is like something that was picked: the order decides.
            picked.append(int(np.flatnonzero(free)[0]))
        elif generator is None:
            picked.append(int(values.argmax()))
        else:
            picked.append(int(generator.choice(total, p=values / values.sum())))
    return picked
