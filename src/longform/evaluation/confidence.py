"""What calibration was worth, on documents that it was not fitted on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from longform.decision.binomial import RateInterval, rate_interval
from longform.decision.rule import Decision, DecisionRule
from longform.evaluation.metrics import right_answers
from longform.evaluation.reliability import CalibrationError, calibration_error
from longform.types import Booleans, Floats, Integers, Targets


@dataclass(frozen=True, slots=True)
class SetFigures:
    """How label sets did.

    Attributes:
        coverage: Share of the documents whose true label, or all of whose true labels, are in the
            set, with its 95 % interval.
        requested: What the sets promise.
        mean_size: Labels in a set.
        sizes: Size to documents.
        by_class: Label name to the coverage of the documents that have it.
    """

    coverage: RateInterval
    requested: float
    mean_size: float
    sizes: dict[int, int]
    by_class: dict[str, RateInterval]


@dataclass(frozen=True, slots=True)
class AbstentionFigures:
    """How not answering did.

    Attributes:
        answered: Share of the documents that were answered, with its 95 % interval.
        error: Share of wrong answers among them.
        error_of_all: Share of wrong answers, were every document answered.
    """

    answered: RateInterval
    error: RateInterval
    error_of_all: RateInterval


@dataclass(frozen=True, slots=True)
class CostFigures:
    """Mean cost of a document.

    Attributes:
        likeliest: Were the likeliest label always the answer.
        cheapest: As the rule decides, rejecting included.
    """

    likeliest: float
    cheapest: float


@dataclass(frozen=True, slots=True)
class ConfidenceFigures:
    """What a calibrated rule made of labelled documents.

    Attributes:
        documents: How many.
        before: Calibration error of the model's own scores.
        after: Calibration error of the calibrated scores.
        sets: Of the label sets; None where there are none.
        abstention: Of not answering; None where every document is answered.
        costs: None where mistakes cost the same.
    """

    documents: int
    before: CalibrationError
    after: CalibrationError
    sets: SetFigures | None = None
    abstention: AbstentionFigures | None = None
    costs: CostFigures | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what a bundle and `--json` have, without what was not measured."""
        content = asdict(self)
        if self.sets is not None:
            # JSON has names only.
            content["sets"]["sizes"] = {str(size): n for size, n in self.sets.sizes.items()}
        return {name: value for name, value in content.items() if value is not None}


def measure_confidence(
    rule: DecisionRule, logits: Floats, targets: Targets, tokens: Integers
) -> ConfidenceFigures:
    """Hold a calibrated rule against labelled documents.

    Args:
        rule: Of the bundle.
        logits: float32 `[docs, classes]`.
        targets: int64 `[docs]`, or bool `[docs, classes]`.
        tokens: int64 `[docs]`, lengths of the whole documents.
    """
    decision = rule.judge(logits, tokens)
    right = right_answers(targets, decision.labels)
    plain = uncalibrated(rule, logits)
    return ConfidenceFigures(
        documents=len(targets),
        before=calibration_error(*sureness(plain, decision.labels, targets)),
        after=calibration_error(*sureness(decision.probabilities, decision.labels, targets)),
        sets=_judge_sets(rule, decision, targets),
        abstention=_judge_abstention(decision, right) if rule.may_abstain else None,
        costs=_judge_costs(rule, decision, targets),
    )


def uncalibrated(rule: DecisionRule, logits: Floats) -> Floats:
    """Return the probabilities as they are without a temperature, float32 `[docs, classes]`."""
    return DecisionRule(rule.labels, rule.problem_type).probabilities(logits)


def sureness(probabilities: Floats, given: Targets, targets: Targets) -> tuple[Floats, Booleans]:
    """Return the probability of each decision, and whether it was right, flat.

    With one label a document, its label is the decision; with several, each class is one, to give
    it or not.

    Args:
        probabilities: float32 `[docs, classes]`.
        given: int64 `[docs]`, or bool `[docs, classes]`.
        targets: The same of the truth.
    """
    right: Booleans = given == targets
    if given.ndim == 1:
        return probabilities[np.arange(len(given)), given], right
    sure = np.where(given, probabilities, 1.0 - probabilities)
    return sure.ravel().astype(np.float32), right.ravel()


def _judge_sets(rule: DecisionRule, decision: Decision, targets: Targets) -> SetFigures | None:
    members, sets = decision.members, rule.label_sets
    if members is None or sets is None:
        return None
    has = targets if targets.ndim == 2 else targets[:, np.newaxis] == np.arange(len(rule.labels))
    missed = has & ~members
    sizes, counts = np.unique(members.sum(axis=1), return_counts=True)
    by_class = {
        name: rate_interval(int((has & members)[:, row].sum()), int(has[:, row].sum()))
        for row, name in enumerate(rule.labels)
        if has[:, row].any()
    }
    return SetFigures(
        rate_interval(int((~missed.any(axis=1)).sum()), len(targets)),
        sets.coverage,
        float(members.sum(axis=1).mean()),
        {int(size): int(count) for size, count in zip(sizes, counts, strict=True)},
        by_class,
    )


def _judge_abstention(decision: Decision, right: Booleans) -> AbstentionFigures:
    answered = ~decision.abstained
    total = len(right)
    return AbstentionFigures(
        rate_interval(int(answered.sum()), total),
        rate_interval(int((answered & ~right).sum()), int(answered.sum())),
        rate_interval(int((~right).sum()), total),
    )


def _judge_costs(rule: DecisionRule, decision: Decision, targets: Targets) -> CostFigures | None:
    if rule.costs is None:
        return None
    likeliest: Integers = decision.probabilities.argmax(axis=1)
    never = np.zeros(len(targets), dtype=np.bool_)
    classes = targets.astype(np.int64)
    return CostFigures(
        float(rule.costs.paid(classes, likeliest, never).mean()),
        float(rule.costs.paid(classes, decision.best, decision.abstained).mean()),
    )
