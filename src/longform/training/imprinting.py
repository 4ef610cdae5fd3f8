"""A new class from a few examples: one more row beneath logits that stay what they were.

The direction of the row is a prototype, the mean of the examples, as in Qi et al., "Low-Shot
Learning with Imprinted Weights" (2018), taken from the mean of the documents of the old classes and
seen in units of each feature's spread. How long the row is, and its bias, are fitted: beside fixed
logits of old classes, softmax is a logistic regression whose offset is their log-sum-exp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longform.types import Booleans

Doubles = NDArray[np.float64]

MOST_FOLDS = 10
_RIDGE = 0.05
"""Pull of the length towards nothing, in documents; what keeps it finite where a few examples are
told apart from all others."""
_STEPS = 100
_ENOUGH = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class ImprintedRow:
    """What makes the logit of a new class from a document's features.

    Attributes:
        weights: float64 `[features]`.
        bias: Added.
    """

    weights: Doubles
    bias: float

    def logits(self, features: Any) -> Doubles:
        """Return float64 `[docs]` of features `[docs, features]`, dense or a scipy matrix."""
        found: Doubles = np.asarray(features @ self.weights, dtype=np.float64) + self.bias
        return found


def imprint(features: Any, is_new: Booleans, offsets: Doubles, classes: int) -> ImprintedRow:
    """Make the row of a new class.

    Args:
        features: float `[docs, features]`, dense or a scipy matrix: what the last layer reads.
        is_new: bool `[docs]`, the examples of the new class; the others are of old classes.
        offsets: float64 `[docs]`, log-sum-exp of the old logits.
        classes: Number of old classes. The examples weigh as much as documents of an average old
            class, at least their number.
    """
    direction, along = _project(features, is_new)
    centre, spread = float(along.mean()), float(along.std()) or 1.0
    points = (along - centre) / spread
    examples = int(is_new.sum())
    weight = max(1.0, (len(is_new) - examples) / (classes * examples))
    length, bias = _fit(points, is_new, offsets, np.where(is_new, weight, 1.0))
    return ImprintedRow(direction * (length / spread), bias - length * centre / spread)


def cross_fit(features: Any, is_new: Booleans, offsets: Doubles, classes: int) -> Doubles:
    """Return the new logit of each document by a row that was made without it, float64 `[docs]`.

    With up to `MOST_FOLDS` examples, each of them is left out once.
    """
    found = np.empty(len(is_new), dtype=np.float64)
    for held in _folds(is_new):
        rest = np.flatnonzero(~held)
        row = imprint(features[rest], is_new[rest], offsets[rest], classes)
        found[held] = row.logits(features[np.flatnonzero(held)])
    return found


def log_sum_exp(logits: Doubles) -> Doubles:
    """Return the logarithm of the sum of exponentials of each row, float64 `[docs]`."""
    largest = logits.max(axis=1)
    total: Doubles = largest + np.log(np.exp(logits - largest[:, np.newaxis]).sum(axis=1))
    return total


def _project(features: Any, is_new: Booleans) -> tuple[Doubles, Doubles]:
    """Return the unit direction of the examples, and how far each document lies along it.

    An example lies far along a direction that it is part of, as no document to come will: it is
    projected on that of the others. Of many examples, a tenth is left out at a time.
    """
    new = features[np.flatnonzero(is_new)]
    count = new.shape[0]
    total = np.asarray(new.sum(axis=0), dtype=np.float64).ravel()
    old = np.asarray(features[np.flatnonzero(~is_new)].mean(axis=0), dtype=np.float64).ravel()
    scales = np.ones_like(old)
    if isinstance(features, np.ndarray):
        # Dense features differ in scale; those of n-grams are weighed by rarity already.
        variance = features.astype(np.float64).var(axis=0)
        scales = variance + variance.mean() * 0.1 + 1e-12
    direction = _unit((total / count - old) / scales)
    along = np.asarray(features @ direction, dtype=np.float64)
    groups = np.arange(count) % min(count, MOST_FOLDS)
    if count > 1:
        apart = np.empty(count, dtype=np.float64)
        for group in np.unique(groups):
            held = new[np.flatnonzero(groups == group)]
            rest = total - np.asarray(held.sum(axis=0), dtype=np.float64).ravel()
            towards = _unit((rest / (count - held.shape[0]) - old) / scales)
            apart[groups == group] = np.asarray(held @ towards, dtype=np.float64)
        along[is_new] = apart
    return direction, along


def _unit(vector: Doubles) -> Doubles:
    length = np.linalg.norm(vector)
    return vector / length if length else vector


def _fit(
    points: Doubles, is_new: Booleans, offsets: Doubles, weights: Doubles
) -> tuple[float, float]:
    """Fit length and bias by Newton's method, halving steps that lead upwards."""
    design = np.stack([points, np.ones_like(points)], axis=1)
    signs = np.where(is_new, 1.0, -1.0)
    ridge = np.array([_RIDGE, 0.0])

    def loss(solution: Doubles) -> float:
        margins = signs * (design @ solution - offsets)
        return float(weights @ np.logaddexp(0.0, -margins) + 0.5 * ridge @ solution**2)

    solution = np.array([0.0, float(np.median(offsets))])
    value = loss(solution)
    for _ in range(_STEPS):
        share = 1.0 / (1.0 + np.exp(np.clip(offsets - design @ solution, -500.0, 500.0)))
        gradient = design.T @ (weights * (share - is_new)) + ridge * solution
        curvature = (design * (weights * share * (1.0 - share))[:, np.newaxis]).T @ design
        step = np.linalg.solve(curvature + np.diag(ridge + 1e-9), gradient)
        size = 1.0
        while loss(solution - size * step) > value and size > 1e-6:
            size /= 2.0
        solution = solution - size * step
        before, value = value, loss(solution)
        if before - value <= _ENOUGH * max(1.0, abs(value)):
            break
    return float(solution[0]), float(solution[1])


def _folds(is_new: Booleans) -> Iterator[Booleans]:
    """Yield which documents are held out: examples and others are dealt out each by themselves."""
    count = min(MOST_FOLDS, int(is_new.sum()))
    numbers = np.empty(len(is_new), dtype=np.int64)
    for kind in (is_new, ~is_new):
        numbers[kind] = np.arange(int(kind.sum())) % count
    for fold in range(count):
        yield numbers == fold
