"""Predictions and labels to figures. numpy only, so that `evaluate` needs no training library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from longform.types import LENGTH_BUCKETS, Booleans, Floats, Integers, Targets


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Figures of one class; a ratio without cases is 0."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


def confusion_matrix(labels: Targets, predicted: Targets, classes: int) -> Integers:
    """Count documents, int64 `[true class, predicted class]`, from class numbers `[docs]`."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def right_answers(labels: Targets, predicted: Targets) -> Booleans:
    """Return which documents got exactly their label, or their set of labels, bool `[docs]`."""
    equal = labels == predicted
    right: Booleans = equal if equal.ndim == 1 else equal.all(axis=1)
    return right


def accuracy(labels: Targets, predicted: Targets) -> float:
    """Return the share of right answers; 0 for no documents.

    Where a document may have several labels, only the whole set counts as right.
    """
    return float(right_answers(labels, predicted).mean()) if len(labels) else 0.0


def headline(labels: Targets, predicted: Targets, classes: int) -> dict[str, float]:
    """Return accuracy and macro-F1 by their names."""
    return {
        "accuracy": accuracy(labels, predicted),
        "macro_f1": macro_f1(labels, predicted, classes),
    }


def per_class(labels: Targets, predicted: Targets, names: Sequence[str]) -> list[ClassScores]:
    """Return precision, recall and F1 of every class, in the order of `names`."""
    right, support, claimed = _count(labels, predicted, len(names))
    precision = _ratio(right, claimed)
    recall = _ratio(right, support)
    f1 = _ratio(2 * right, support + claimed)
    return [
        ClassScores(
            name, float(precision[row]), float(recall[row]), float(f1[row]), int(support[row])
        )
        for row, name in enumerate(names)
    ]


def macro_f1(labels: Targets, predicted: Targets, classes: int) -> float:
    """Return the mean F1 over the classes that occur as label or as prediction.

    As scikit-learn's `f1_score(average="macro")`: a class that neither occurs nor is predicted
    has no F1 and does not count.
    """
    right, support, claimed = _count(labels, predicted, classes)
    occurring = support + claimed
    f1 = _ratio(2 * right, occurring)
    return float(f1[occurring > 0].mean()) if (occurring > 0).any() else 0.0


def micro_f1(labels: Targets, predicted: Targets, classes: int) -> float:
    """Return the F1 of all decisions together; with one label a document it is the accuracy."""
    right, support, claimed = (int(n.sum()) for n in _count(labels, predicted, classes))
    return 2 * right / (support + claimed) if support + claimed else 0.0


def roc_auc(truth: Booleans, scores: Floats) -> float | None:
    """Return how probably a document with the label scores above one without it.

    The Mann-Whitney statistic: documents of equal score count half.

    Args:
        truth: bool `[docs]`.
        scores: float32 `[docs]`.

    Returns:
        None where all documents have the label, or none.
    """
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return None
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    above = mean_rank[place][truth].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def _count(labels: Targets, predicted: Targets, classes: int) -> tuple[Integers, ...]:
    """Count for each class the documents that rightly got it, have it, and got it."""
    if labels.ndim == 2:
        sums = labels & predicted, labels, predicted
        return tuple(flags.sum(axis=0).astype(np.int64) for flags in sums)
    classes_of = labels[labels == predicted], labels, predicted
    return tuple(np.bincount(rows, minlength=classes).astype(np.int64) for rows in classes_of)


@dataclass(frozen=True, slots=True)
class LengthScores:
    """Figures of the documents whose token count lies in `[minimum, maximum)`."""

    minimum: int
    maximum: int | None
    documents: int
    accuracy: float
    macro_f1: float


def by_length(
    labels: Targets, predicted: Targets, tokens: Integers, classes: int
) -> list[LengthScores]:
    """Return accuracy and macro-F1 for each bucket of document length that has documents.

    Args:
        labels: int64 `[docs]`, or bool `[docs, classes]`.
        predicted: The same.
        tokens: int64 `[docs]`, the whole length of each document in tokens.
        classes: Number of classes.
    """
    edges: list[int | None] = [0, *LENGTH_BUCKETS, None]
    buckets = []
    for minimum, maximum in pairwise(edges):
        inside = tokens >= (minimum or 0)
        if maximum is not None:
            inside &= tokens < maximum
        if inside.any():
            chosen = labels[inside], predicted[inside]
            buckets.append(
                LengthScores(
                    minimum or 0,
                    maximum,
                    int(inside.sum()),
                    accuracy(*chosen),
                    macro_f1(*chosen, classes),
                )
            )
    return buckets


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Documents whose score lies in one of equal-width bins."""

    minimum: float
    maximum: float
    documents: int
    mean_score: float
    accuracy: float


def calibration(
    scores: Sequence[float], right: Sequence[bool], bins: int = 10
) -> tuple[float, list[CalibrationBin]]:
    """Compare how sure the answers are with how often they are right.

    Args:
        scores: Probability of the predicted label of each document.
        right: Whether it was the true one.
        bins: Bins of equal width.

    Returns:
        The expected calibration error (Guo et al., "On Calibration of Modern Neural Networks",
        2017) and the bins that have documents.
    """
    confidence = np.asarray(scores, dtype=np.float64)
    hits = np.asarray(right, dtype=np.float64)
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    filled = []
    error = 0.0
    for number in np.unique(index):
        inside = index == number
        mean_score, share = float(confidence[inside].mean()), float(hits[inside].mean())
        error += abs(mean_score - share) * float(inside.mean())
        edges = number / bins, (number + 1) / bins
        filled.append(CalibrationBin(*edges, int(inside.sum()), mean_score, share))
    return error, filled


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> NDArray[np.float64]:
    return np.asarray(numerator / np.maximum(denominator, 1), dtype=np.float64)
