"""Saying "I don't know": the confidence below which an answer is not given.

The error among the answers given is bounded by Learn-then-Test (A. Angelopoulos, S. Bates,
E. Candès, M. Jordan and L. Lei, 2021) in its split fixed-sequence form: one part of the documents
says where to begin, thresholds are then tested from there to ever lower ones on another part by
exact binomial p-values, and the last that passes is taken. The error of a threshold is that of the
answers it lets through: Y. Geifman and R. El-Yaniv, Selective Classification for Deep Neural
Networks (2017).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longform.decision.binomial import binomial_cdf, most_successes
from longform.types import Booleans, Floats

_STEPS = 100
"""Thresholds that are tested at most: steps of one hundredth of the documents."""


@dataclass(frozen=True, slots=True)
class Abstention:
    """When no answer is given.

    Attributes:
        threshold: Least confidence of an answer.
        max_error: Share of wrong answers, among those given, that the threshold keeps to; None
            where a share of answers was asked for.
        confidence: Probability, over the documents it was found with, that it does.
        min_coverage: Share of documents that are answered; None where an error was asked for.
    """

    threshold: float
    max_error: float | None = None
    confidence: float | None = None
    min_coverage: float | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Abstention:
        """Read what `as_json` gave."""
        asked = {name: content.get(name) for name in ("max_error", "confidence", "min_coverage")}
        return cls(float(content["threshold"]), **asked)

    def as_json(self) -> dict[str, Any]:
        """Return what a bundle keeps, without what was not asked for."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class TestedThreshold:
    """A threshold in the sequence.

    Attributes:
        threshold: Least confidence of an answer.
        answered: Documents of the testing part at or above it.
        wrong: Of these, those answered wrongly.
        p_value: How improbable so few mistakes are, were the error above the requested one.
        passed: Whether the error is certified.
    """

    threshold: float
    answered: int
    wrong: int
    p_value: float
    passed: bool


def fewest_answers(max_error: float, confidence: float) -> int:
    """Return how many answers it takes, all of them right, to certify an error: 299 for 1 %."""
    estimate = math.ceil(math.log1p(-confidence) / math.log1p(-max_error))
    candidates = range(max(estimate - 1, 1), estimate + 2)
    return next(n for n in candidates if (1.0 - max_error) ** n <= 1.0 - confidence + 1e-12)


def bound_error(
    first: tuple[Floats, Booleans],
    second: tuple[Floats, Booleans],
    max_error: float,
    confidence: float = 0.95,
) -> tuple[Abstention | None, tuple[TestedThreshold, ...]]:
    """Find the lowest threshold whose answers are wrong no more often than allowed.

    Args:
        first: Confidence float32 `[docs]` and whether the answer is right, bool `[docs]`, of the
            documents that choose where to begin.
        second: The same of the documents that test; no document is in both.
        max_error: Share of wrong answers among those given.
        confidence: Probability with which the bound is to hold.

    Returns:
        What was found, None where nothing passed; and the thresholds tested, in order.
    """
    candidates = _candidates(first[0])
    begin = _most_promising(candidates, first, len(second[0]), max_error, confidence)
    tested: list[TestedThreshold] = []
    for threshold in candidates[begin:]:
        answered = second[0] >= np.float32(threshold)
        count, wrong = int(answered.sum()), int((answered & ~second[1]).sum())
        p_value = binomial_cdf(wrong, count, max_error)
        passed = p_value <= 1.0 - confidence
        tested.append(TestedThreshold(threshold, count, wrong, p_value, passed))
        if not passed:
            break
    passing = [item for item in tested if item.passed]
    if not passing:
        return None, tuple(tested)
    return Abstention(passing[-1].threshold, max_error, confidence), tuple(tested)


def keep_share(confidences: Floats, min_coverage: float) -> Abstention:
    """Find the threshold at which a share of documents is answered.

    An order statistic as in split conformal prediction: a further document is answered with at
    least this probability.

    Args:
        confidences: float32 `[docs]`, of documents that nothing was fitted on.
        min_coverage: Between 0 and 1.
    """
    rank = math.floor((len(confidences) + 1) * (1.0 - min_coverage) + 1e-9)
    threshold = float(np.sort(confidences)[rank - 1]) if rank > 0 else 0.0
    return Abstention(threshold, min_coverage=min_coverage)


def _candidates(confidences: Floats) -> list[float]:
    """Return thresholds in falling order, which the testing part has no say in."""
    ranks = np.linspace(0, len(confidences) - 1, min(_STEPS, len(confidences)))
    ordered: NDArray[np.float32] = np.sort(confidences)[::-1]
    return [float(value) for value in dict.fromkeys(ordered[np.round(ranks).astype(int)].tolist())]


def _most_promising(
    candidates: list[float],
    first: tuple[Floats, Booleans],
    documents: int,
    max_error: float,
    confidence: float,
) -> int:
    """Return the threshold that passes most probably, as far as the first part can tell.

    Begun at the highest one, the sequence would end at once: a handful of answers certifies
    nothing, and one mistake among the most certain answers would end it.
    """
    chances = []
    for threshold in candidates:
        answered = first[0] >= np.float32(threshold)
        wrong = int((answered & ~first[1]).sum())
        expected = round(float(answered.mean()) * documents)
        # Half a mistake more than were seen: none in ten does not mean none in a thousand.
        guessed = (wrong + 0.5) / (int(answered.sum()) + 1)
        allowed = most_successes(expected, max_error, 1.0 - confidence)
        chances.append(binomial_cdf(allowed, expected, guessed) if allowed >= 0 else 0.0)
    return int(np.argmax(chances))
