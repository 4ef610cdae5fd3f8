"""Exact binomial probabilities and the bounds on a rate that follow from them, by numpy alone.

C. J. Clopper and E. S. Pearson, The Use of Confidence or Fiducial Limits Illustrated in the Case
of the Binomial (Biometrika, 1934). Terms are summed as exponentials of logarithms, so that tails
far below the smallest float do not become nonsense on the way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longform.errors import LongformError

_BISECTIONS = 60
"""Halvings of [0, 1]: more than a float64 tells apart."""


@dataclass(frozen=True, slots=True)
class RateInterval:
    """A rate that was observed, with its bounds.

    Attributes:
        successes: Times it happened.
        trials: Times it could have.
        lower: Least rate that is compatible with it, from 0 to 1.
        upper: Greatest.
    """

    successes: int
    trials: int
    lower: float
    upper: float

    @property
    def rate(self) -> float:
        """The observed share; 0 where there were no trials."""
        return self.successes / self.trials if self.trials else 0.0


def binomial_cdf(successes: int, trials: int, probability: float) -> float:
    """Return P(Bin(trials, probability) <= successes), from 0 to 1.

    This is the exact p-value of the hypothesis "the rate is at least `probability`" when
    `successes` were seen in `trials`.

    Args:
        successes: At most so many; below 0 nothing is.
        trials: Number of independent trials, at least 0.
        probability: Of one success, from 0 to 1.

    Raises:
        LongformError: There cannot be such a distribution.
    """
    _check(trials, probability)
    if successes < 0:
        return 0.0
    if successes >= trials or probability == 0.0:
        return 1.0
    if probability == 1.0:
        return 0.0
    return _lower_tail(_log_coefficients(trials, successes), trials, probability)


def most_successes(trials: int, probability: float, level: float) -> int:
    """Return the largest count with P(Bin(trials, probability) <= count) <= level; -1 for none.

    Args:
        trials: Number of independent trials, at least 0.
        probability: Of one success, between 0 and 1, ends excluded.
        level: From 0 to 1.
    """
    _check(trials, level)
    log_odds = math.log(probability) - math.log1p(-probability)
    log_term = trials * math.log1p(-probability)
    total, count = math.exp(log_term), 0
    while count < trials and total <= level:
        log_term += math.log(trials - count) - math.log(count + 1) + log_odds
        count += 1
        total += math.exp(log_term)
    return count - 1 if total > level else count


def binomial_sf(successes: int, trials: int, probability: float) -> float:
    """Return P(Bin(trials, probability) >= successes), from 0 to 1: the other tail.

    Raises:
        LongformError: There cannot be such a distribution.
    """
    return binomial_cdf(trials - successes, trials, 1.0 - probability)


def upper_bound(successes: int, trials: int, confidence: float) -> float:
    """Return the Clopper-Pearson upper bound on a rate, one-sided.

    The true rate is above it in no more than a share of 1 - `confidence` of repetitions, however
    few the trials.

    Args:
        successes: Observed, from 0 to `trials`.
        trials: At least 0; of none, the bound is 1.
        confidence: From 0 to 1, 0.95 for instance.

    Raises:
        LongformError: The counts or the confidence are impossible.
    """
    _check(trials, confidence)
    if not 0 <= successes <= trials:
        raise LongformError(
            f"a count of successes lies between 0 and the number of trials, {trials}; "
            f"got {successes}"
        )
    if successes == trials:
        return 1.0
    coefficients = _log_coefficients(trials, successes)
    low, high = successes / trials, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _lower_tail(coefficients, trials, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high


def lower_bound(successes: int, trials: int, confidence: float) -> float:
    """Return the Clopper-Pearson lower bound on a rate, one-sided; 0 where nothing was seen.

    Raises:
        LongformError: The counts or the confidence are impossible.
    """
    return 1.0 - upper_bound(trials - successes, trials, confidence)


def rate_interval(successes: int, trials: int, confidence: float = 0.95) -> RateInterval:
    """Return a rate with its two-sided Clopper-Pearson interval.

    Raises:
        LongformError: The counts or the confidence are impossible.
    """
    each = (1.0 + confidence) / 2
    return RateInterval(
        successes,
        trials,
        lower_bound(successes, trials, each),
        upper_bound(successes, trials, each),
    )


def _check(trials: int, share: float) -> None:
    """Refuse what is no number of trials and no probability."""
    if trials < 0:
        raise LongformError(f"a number of trials is at least 0; got {trials}")
    if not 0.0 <= share <= 1.0:
        raise LongformError(f"a probability lies between 0 and 1; got {share}")


def _log_coefficients(trials: int, last: int) -> NDArray[np.float64]:
    """Return log C(trials, i) for i from 0 to `last`, float64."""
    steps = np.arange(1, last + 1, dtype=np.float64)
    return np.concatenate([[0.0], np.cumsum(np.log(trials - steps + 1.0) - np.log(steps))])


def _lower_tail(coefficients: NDArray[np.float64], trials: int, probability: float) -> float:
    """Return the sum of the first terms, for a probability between 0 and 1."""
    if probability >= 1.0:
        return 0.0
    counts = np.arange(len(coefficients), dtype=np.float64)
    logs = (
        coefficients
        + counts * math.log(probability if probability > 0.0 else np.finfo(np.float64).tiny)
        + (trials - counts) * math.log1p(-probability)
    )
    largest = float(logs.max())
    return min(math.exp(largest + math.log(float(np.exp(logs - largest).sum()))), 1.0)
