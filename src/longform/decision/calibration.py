"""Temperatures that make probabilities mean what they say, fitted on documents not trained on.

C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On Calibration of Modern Neural Networks (2017): one
number divides all logits. It changes no answer, only how sure the answers are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from longform.decision.probabilities import Temperature
from longform.types import LENGTH_BUCKETS, Floats, Integers, Targets

Doubles = NDArray[np.float64]

LARGEST_TEMPERATURE = 100.0
"""Temperatures are looked for between this and its inverse."""
ENOUGH_DOCUMENTS = 100
"""Documents of a length from which on it may have a temperature of its own."""
_FOLDS = 5
_BISECTIONS = 36


@dataclass(frozen=True, slots=True)
class LengthTemperature:
    """The temperature of documents shorter than an end, and not shorter than the end before it.

    Attributes:
        below: In tokens, exclusive; None for all that are longer.
        temperature: Divides the logits.
    """

    below: int | None
    temperature: float


@dataclass(frozen=True, slots=True)
class Temperatures:
    """How logits are scaled.

    Attributes:
        pooled: Fitted on documents of every length.
        by_length: In ascending order, the last one open; empty where one temperature does for all.
    """

    pooled: float = 1.0
    by_length: tuple[LengthTemperature, ...] = ()

    def of(self, tokens: Integers | None) -> Temperature:
        """Return the temperature of each document, float64 `[docs]`, or the one of all.

        Args:
            tokens: int64 `[docs]`, the length of each whole document; None where it is not known,
                and then it is the pooled temperature.
        """
        if tokens is None or not self.by_length:
            return self.pooled
        ends = [item.below for item in self.by_length if item.below is not None]
        known = np.array([item.temperature for item in self.by_length], dtype=np.float64)
        place = np.searchsorted(np.array(ends, dtype=np.int64), tokens, side="right")
        chosen: Doubles = known[place]
        return chosen


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """What a fit found.

    Attributes:
        temperatures: The result.
        is_measured: False where every document was answered rightly, or the logits tell nothing:
            then no temperature can be told, and it stays at 1.
        gain_by_length: Mean negative log-likelihood, in nats a document, that temperatures by
            length save over one, cross-validated; None where no two lengths have documents enough.
    """

    temperatures: Temperatures
    is_measured: bool
    gain_by_length: float | None


def fit_temperature(logits: Floats, targets: Targets) -> float | None:
    """Return the temperature with the least negative log-likelihood.

    The likelihood is convex in the inverse temperature, so that its slope is bisected and nothing
    depends on a starting point.

    Args:
        logits: float32 `[docs, classes]`.
        targets: int64 `[docs]`, or bool `[docs, classes]` where there may be several labels.

    Returns:
        None where there is no minimum: all documents are answered rightly, so that the more certain
        the better, or nothing is known.
    """
    doubles = np.asarray(logits, dtype=np.float64)
    slope = _slope_of_several if targets.ndim == 2 else _slope_of_one
    low, high = -math.log(LARGEST_TEMPERATURE), math.log(LARGEST_TEMPERATURE)
    if not len(doubles) or slope(doubles, targets, math.exp(high)) <= 0.0:
        return None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if slope(doubles, targets, math.exp(middle)) > 0.0:
            high = middle
        else:
            low = middle
    return math.exp(-(low + high) / 2)


def fit_temperatures(logits: Floats, targets: Targets, tokens: Integers) -> TemperatureFit:
    """Fit one temperature, or one for each length where that is better on documents left out.

    Lengths get their own only where there is one label a document: the thresholds of several
    labels are those of one temperature.

    Args:
        logits: float32 `[docs, classes]`, of documents that the model was not trained on.
        targets: int64 `[docs]`, or bool `[docs, classes]`.
        tokens: int64 `[docs]`, the length of each whole document.
    """
    pooled = fit_temperature(logits, targets)
    if pooled is None:
        return TemperatureFit(Temperatures(), is_measured=False, gain_by_length=None)
    single = Temperatures(round(pooled, 6))
    buckets = _buckets(tokens)
    if targets.ndim == 2 or len(buckets) < 2:
        return TemperatureFit(single, is_measured=True, gain_by_length=None)
    gains = _cross_validate(logits, targets, tokens)
    mean = float(gains.mean())
    # One standard error: a difference that chance makes is no reason for four numbers.
    if mean <= float(gains.std(ddof=1)) / math.sqrt(len(gains)):
        return TemperatureFit(single, is_measured=True, gain_by_length=mean)
    fitted = _fit_by_length(logits, targets, tokens, single.pooled)
    return TemperatureFit(Temperatures(single.pooled, fitted), True, mean)


def negative_log_likelihood(
    logits: Floats, targets: Targets, temperature: Temperature = 1.0
) -> Doubles:
    """Return what each document costs, in nats, float64 `[docs]`.

    Args:
        logits: float32 `[docs, classes]`.
        targets: int64 `[docs]`, or bool `[docs, classes]`, whose labels are summed.
        temperature: Divides the logits.
    """
    scaled = np.asarray(logits, dtype=np.float64) / np.reshape(temperature, (-1, 1))
    if targets.ndim == 2:
        signed = np.where(targets, -scaled, scaled)
        summed: Doubles = np.logaddexp(0.0, signed).sum(axis=1)
        return summed
    peak = scaled.max(axis=1)
    total = peak + np.log(np.exp(scaled - peak[:, np.newaxis]).sum(axis=1))
    cost: Doubles = total - scaled[np.arange(len(scaled)), targets]
    return cost


def _slope_of_one(logits: Doubles, targets: Targets, inverse: float) -> float:
    """Return the derivative of the mean cost by the inverse temperature."""
    weights = np.exp(inverse * (logits - logits.max(axis=1, keepdims=True)))
    weights /= weights.sum(axis=1, keepdims=True)
    expected = (weights * logits).sum(axis=1)
    return float((expected - logits[np.arange(len(logits)), targets]).mean())


def _slope_of_several(logits: Doubles, targets: Targets, inverse: float) -> float:
    small = np.exp(-np.abs(inverse * logits))
    shares = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return float(((shares - targets) * logits).mean())


def _buckets(tokens: Integers) -> list[tuple[int | None, NDArray[np.bool_]]]:
    """Return the end of each length with documents enough for a fit, and which are of it."""
    edges: list[int | None] = [0, *LENGTH_BUCKETS, None]
    found = []
    for start, end in pairwise(edges):
        inside = tokens >= (start or 0)
        if end is not None:
            inside &= tokens < end
        if inside.sum() >= ENOUGH_DOCUMENTS:
            found.append((end, inside))
    return found


def _fit_by_length(
    logits: Floats, targets: Targets, tokens: Integers, pooled: float
) -> tuple[LengthTemperature, ...]:
    """Fit each length by itself; those of few documents, or without a minimum, get the pooled."""
    own: dict[int | None, float] = {}
    for end, inside in _buckets(tokens):
        found = fit_temperature(logits[inside], targets[inside])
        if found is not None:
            own[end] = round(found, 6)
    return tuple(LengthTemperature(end, own.get(end, pooled)) for end in (*LENGTH_BUCKETS, None))


def _cross_validate(logits: Floats, targets: Targets, tokens: Integers) -> Doubles:
    """Return what temperatures by length save for each document, fitted without it."""
    fold = np.random.default_rng(0).permutation(len(targets)) % _FOLDS
    saved = np.zeros(len(targets))
    for number in range(_FOLDS):
        rest, left_out = fold != number, fold == number
        pooled = fit_temperature(logits[rest], targets[rest])
        if pooled is None:
            continue
        fitted = _fit_by_length(logits[rest], targets[rest], tokens[rest], pooled)
        each = Temperatures(pooled, fitted).of(tokens[left_out])
        judged = logits[left_out], targets[left_out]
        saved[left_out] = negative_log_likelihood(*judged, pooled) - negative_log_likelihood(
            *judged, each
        )
    return saved
