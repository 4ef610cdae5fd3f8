"""Paired comparison of two contenders over the splits that both were judged on.

What makes a measured difference uncertain is the choice of documents and the luck of training.
Two terms of variance say so:

- Documents: every document counts once, by the mean over the splits that judged it, so that a
  repetition of the cross-validation adds no document that is not there. Documents that must not be
  parted (near-copies, a group) are one unit.
- Training: what the differences of the splits vary beyond what their documents explain, times
  `1/splits + judged/trained`. The second summand is the correction of Nadeau and Bengio,
  "Inference for the Generalization Error", Machine Learning 52 (2003): training sets overlap, so
  that more splits do not average their luck away.

Their corrected resampled t-test applies the correction to the variance as a whole; on few splits,
of which each judges hundreds of different documents, that throws away most of what was measured
(two splits leave one degree of freedom). A pooled McNemar test has no term for training at all.
Degrees of freedom are Satterthwaite's; on one split nothing is known of the luck of training, and
the result says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from longform.evaluation.metrics import accuracy, macro_f1, right_answers
from longform.types import Integers, Targets

Metric = Literal["accuracy", "macro_f1"]
METRICS: tuple[Metric, ...] = ("accuracy", "macro_f1")

_RESAMPLES = 400
_SEED = 20_031
"""Of the resamples: the same for all pairs, so that nothing hangs on the order of comparisons."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one contender answered on one split.

    Attributes:
        places: Of the judged documents among all, int64 `[judged]`.
        predicted: int64 `[judged]`, or bool `[judged, classes]`.
        trained: Documents it learnt from.
    """

    places: Integers
    predicted: Targets
    trained: int


@dataclass(frozen=True, slots=True)
class Truth:
    """The documents that contenders are judged on.

    Attributes:
        labels: int64 `[docs]`, or bool `[docs, classes]`.
        units: int64 `[docs]`: documents of one unit must not be parted.
        classes: Number of classes.
    """

    labels: Targets
    units: Integers
    classes: int


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better a contender is than another, as a fraction of 1.

    Attributes:
        value: Mean difference.
        error: Standard error.
        low: Lower end of the 95 % interval.
        high: Upper end.
        p_value: Two-sided: how often chance alone would give as much, were both equally good.
        splits: That both were judged on.
        documents: Different ones among them.
    """

    value: float
    error: float
    low: float
    high: float
    p_value: float
    splits: int
    documents: int

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the interval at another confidence, from the normal distribution."""
        from scipy.stats import norm

        half = float(norm.ppf(0.5 + confidence / 2)) * self.error
        return self.value - half, self.value + half

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return {name: getattr(self, name) for name in self.__slots__}


def score(truth: Truth, splits: Mapping[int, Judged], metric: Metric) -> float:
    """Return the metric over all judged documents, each counting as often as the others.

    Macro-F1 comes from the counts of all splits together: the mean of the macro-F1 of each split
    is biased where classes are rare (Forman and Scholz, "Apples-to-Apples in Cross-Validation
    Studies", 2010).
    """
    if metric == "accuracy":
        hits, counts = np.zeros(len(truth.labels)), np.zeros(len(truth.labels))
        for judged in splits.values():
            hits[judged.places] += right_answers(truth.labels[judged.places], judged.predicted)
            counts[judged.places] += 1
        seen = counts > 0
        return float((hits[seen] / counts[seen]).mean()) if seen.any() else 0.0
    units = np.arange(len(truth.labels))
    counts3 = _class_counts(truth, splits, units, len(units))
    return float(_f1_of(counts3.sum(axis=1, keepdims=True))[0])


def split_scores(truth: Truth, splits: Mapping[int, Judged], metric: Metric) -> list[float]:
    """Return the metric of each split, in their order."""
    found = []
    for _, judged in sorted(splits.items()):
        labels = truth.labels[judged.places]
        if metric == "accuracy":
            found.append(accuracy(labels, judged.predicted))
        else:
            found.append(macro_f1(labels, judged.predicted, truth.classes))
    return found


def compare(
    truth: Truth, first: Mapping[int, Judged], second: Mapping[int, Judged], metric: Metric
) -> Difference | None:
    """Compare two contenders on the splits that both were judged on; None without any.

    Args:
        truth: The documents.
        first: Split -> answers of one contender.
        second: Of the other; its figures are taken from those of the first.
        metric: What is compared.
    """
    shared = sorted(first.keys() & second.keys())
    if not shared:
        return None
    ours, theirs = ({number: side[number] for number in shared} for side in (first, second))
    measure = _accuracy_difference if metric == "accuracy" else _f1_difference
    value, variance, units = measure(truth, ours, theirs)
    single = [measure(truth, {n: ours[n]}, {n: theirs[n]}) for n in shared]
    training, freedom = 0.0, float(len(shared) - 1)
    if len(shared) > 1:
        spread = float(np.var([item[0] for item in single], ddof=1))
        explained = float(np.mean([item[1] for item in single]))
        ratio = float(np.mean([len(j.places) / max(j.trained, 1) for j in ours.values()]))
        training = max(0.0, spread - explained) * (1 / len(shared) + ratio)
    places = np.unique(np.concatenate([judged.places for judged in ours.values()]))
    return _difference(value, (variance, units - 1), (training, freedom), len(shared), len(places))


def _difference(
    value: float,
    documents: tuple[float, float],
    training: tuple[float, float],
    splits: int,
    count: int,
) -> Difference:
    """Join two variances, each with its degrees of freedom (Satterthwaite, 1946)."""
    from scipy.stats import t

    total = documents[0] + training[0]
    error = float(np.sqrt(total))
    if error == 0:
        return Difference(value, 0.0, value, value, 1.0 if value == 0 else 0.0, splits, count)
    parts = sum(part**2 / max(freedom, 1) for part, freedom in (documents, training))
    freedom = max(total**2 / parts, 1.0)
    half = float(t.ppf(0.975, freedom)) * error
    p_value = float(2 * t.sf(abs(value) / error, freedom))
    return Difference(value, error, value - half, value + half, p_value, splits, count)


def _accuracy_difference(
    truth: Truth, first: Mapping[int, Judged], second: Mapping[int, Judged]
) -> tuple[float, float, int]:
    """Return the difference, its variance over documents and the number of units."""
    gains, counts = np.zeros(len(truth.labels)), np.zeros(len(truth.labels))
    for number, ours in first.items():
        labels = truth.labels[ours.places]
        gained = right_answers(labels, ours.predicted).astype(np.float64)
        gained -= right_answers(labels, second[number].predicted)
        gains[ours.places] += gained
        counts[ours.places] += 1
    seen = np.flatnonzero(counts)
    gains = gains[seen] / counts[seen]
    _, unit = np.unique(truth.units[seen], return_inverse=True)
    sums, sizes = np.bincount(unit, weights=gains), np.bincount(unit)
    value, documents, units = float(gains.mean()), len(seen), len(sizes)
    residuals = sums - value * sizes
    # One more unit, on either side once: without it, three wins of three would be certain
    # (after Agresti and Min, Statistics in Medicine 24, 2005).
    smoothing = float((sizes**2).mean()) if np.any(gains) else 0.0
    variance = (float((residuals**2).sum()) * units / max(units - 1, 1) + smoothing) / documents**2
    return value, variance, units


def _f1_difference(
    truth: Truth, first: Mapping[int, Judged], second: Mapping[int, Judged]
) -> tuple[float, float, int]:
    """Return the difference, its variance by the paired bootstrap over units, and their number."""
    places = np.unique(np.concatenate([judged.places for judged in first.values()]))
    distinct, numbers = np.unique(truth.units[places], return_inverse=True)
    units = np.zeros(len(truth.labels), dtype=np.int64)
    units[places] = numbers
    ours, theirs = (_class_counts(truth, side, units, len(distinct)) for side in (first, second))
    value = float((_f1_of(ours.sum(1, keepdims=True)) - _f1_of(theirs.sum(1, keepdims=True)))[0])
    if np.array_equal(ours, theirs):
        return value, 0.0, len(distinct)
    rng = np.random.default_rng(_SEED)
    weights = rng.multinomial(len(distinct), np.full(len(distinct), 1 / len(distinct)), _RESAMPLES)
    drawn = weights.astype(np.float32)
    gains = _f1_of(drawn @ ours) - _f1_of(drawn @ theirs)
    return value, float(gains.var(ddof=1)), len(distinct)


def _class_counts(
    truth: Truth, splits: Mapping[int, Judged], units: Integers, many: int
) -> NDArray[np.float32]:
    """Return right answers, labels and predictions of each class, float32 `[3, units, classes]`."""
    judged_often = np.zeros(len(truth.labels))
    for judged in splits.values():
        judged_often[judged.places] += 1
    counts = np.zeros((3, many, truth.classes), dtype=np.float32)
    for judged in splits.values():
        labels = truth.labels[judged.places]
        weights = (1 / judged_often[judged.places]).astype(np.float32)
        rows = units[judged.places]
        if labels.ndim == 2:
            for kind, flags in enumerate((labels & judged.predicted, labels, judged.predicted)):
                np.add.at(counts[kind], rows, flags * weights[:, None])
            continue
        right = labels == judged.predicted
        np.add.at(counts[0], (rows[right], labels[right]), weights[right])
        np.add.at(counts[1], (rows, labels), weights)
        np.add.at(counts[2], (rows, judged.predicted), weights)
    return counts


def _f1_of(counts: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean F1 of the classes that occur, float64 `[resamples]`.

    Args:
        counts: `[3, resamples, classes]`, as `_class_counts` names them.
    """
    right, labels, predicted = counts.astype(np.float64)
    occurring = labels + predicted
    f1 = np.where(occurring > 0, 2 * right / np.maximum(occurring, 1e-12), 0.0)
    result: NDArray[np.float64] = f1.sum(axis=1) / np.maximum((occurring > 0).sum(axis=1), 1)
    return result


def majority(labels: Targets, trained: Integers, judged: Integers) -> Targets:
    """Answer with the commonest class of the training documents, or set of classes."""
    values, counts = np.unique(labels[trained], axis=0, return_counts=True)
    answer = values[counts.argmax()]
    answers: Targets = np.repeat(answer[np.newaxis], len(judged), axis=0)
    return answers


def share_between(values: Sequence[float]) -> float:
    """Return the standard deviation of the figures of the splits; 0 for one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
