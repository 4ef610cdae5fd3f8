"""All that can be calibrated of a decision rule, each on documents that nothing before it saw."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from longform.decision.binomial import upper_bound
from longform.decision.calibration import TemperatureFit, fit_temperatures
from longform.decision.conformal import fewest_scores, fit_label_sets
from longform.decision.costs import Costs
from longform.decision.rule import DecisionRule
from longform.decision.selective import (
    Abstention,
    TestedThreshold,
    bound_error,
    fewest_answers,
    keep_share,
)
from longform.errors import GateError, InputError
from longform.types import Booleans, Floats, Integers, Targets

FEWEST_DOCUMENTS = 100
"""With fewer, a temperature is that of a handful of mistakes."""
_SCALING, _BOUNDING = 0.25, 0.45
"""Shares of the documents that fit the temperature, and quantile and threshold; the rest test."""


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """What is to be fitted beside the temperature.

    Attributes:
        coverage: Of the label sets; None makes none.
        class_conditional: Promise it within each class.
        max_error: Share of wrong answers among those given; None does not bound it.
        min_coverage: Share of documents to answer; None does not ask for it.
        confidence: Probability with which the bound on the error is to hold.
        costs: Of mistakes; None where all cost the same.
        seed: Of the division into parts.
    """

    coverage: float | None = 0.95
    class_conditional: bool = False
    max_error: float | None = None
    min_coverage: float | None = None
    confidence: float = 0.95
    costs: Costs | None = None
    seed: int = 0

    def check(self, documents: int) -> None:
        """Refuse, before any work, what so few documents cannot give.

        Raises:
            InputError: More documents are needed; the message says how many.
        """
        bounding = max(
            1,
            fewest_scores(self.coverage) if self.coverage is not None else 1,
            fewest_answers(self.max_error, self.confidence) if self.max_error is not None else 1,
        )
        needed = max(FEWEST_DOCUMENTS, math.ceil(bounding / _BOUNDING))
        if documents < needed:
            raise InputError(
                f"This calibration takes {needed:,} documents that the model was not trained on: "
                f"{bounding:,} in the part that finds the bounds, and others to scale and to test.",
                found=f"{documents:,}",
                fix="Give more documents, or ask for a lower coverage or a greater error.",
            )


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Rows of the documents that do each work, int64 each; no row is in two of them."""

    scaling: Integers
    bounding: Integers
    testing: Integers

    @classmethod
    def of(cls, documents: int, seed: int = 0) -> Parts:
        """Divide documents at random."""
        order: Integers = np.random.default_rng(seed).permutation(documents).astype(np.int64)
        ends = round(_SCALING * documents), round((_SCALING + _BOUNDING) * documents)
        return cls(order[: ends[0]], order[ends[0] : ends[1]], order[ends[1] :])


@dataclass(frozen=True, slots=True, eq=False)
class FittedRule:
    """A calibrated rule, and how it came about.

    Attributes:
        rule: Decides as it will be served.
        fit: The temperature.
        sharing: Classes that share a quantile, since they have too few documents.
        tested: The thresholds that were tested for the requested error.
    """

    rule: DecisionRule
    fit: TemperatureFit
    sharing: tuple[str, ...] = ()
    tested: tuple[TestedThreshold, ...] = ()


def fit_rule(
    rule: DecisionRule,
    logits: Floats,
    targets: Targets,
    tokens: Integers,
    parts: Parts,
    request: CalibrationRequest,
) -> FittedRule:
    """Calibrate a rule. Rows of the testing part are not looked at.

    Args:
        rule: As the bundle has it; what it was calibrated to before is forgotten.
        logits: float32 `[docs, classes]`.
        targets: int64 `[docs]`, or bool `[docs, classes]`.
        tokens: int64 `[docs]`, lengths of the whole documents.
        parts: Which rows do what.
        request: What is wanted.

    Raises:
        GateError: The requested error cannot be certified.
        InputError: Costs are given for several labels a document.
    """
    if request.costs is not None and rule.is_multi_label:
        raise InputError(
            "Costs of mistakes are for models of one label a document.",
            found="a model of several labels",
            fix="Leave --costs out: each label has a threshold of its own, in longform.json.",
        )
    scaling, bounding = parts.scaling, parts.bounding
    fit = fit_temperatures(logits[scaling], targets[scaling], tokens[scaling])
    scaled = _scale(rule, fit, request.costs)
    probabilities = scaled.probabilities(logits[bounding], tokens[bounding])
    sharing: tuple[str, ...] = ()
    if request.coverage is not None:
        sets, sharing = fit_label_sets(
            probabilities,
            targets[bounding],
            rule.labels,
            request.coverage,
            class_conditional=request.class_conditional,
        )
        scaled = replace(scaled, label_sets=sets)
    abstention, tested = _abstain(scaled, logits, targets, tokens, parts, request)
    return FittedRule(replace(scaled, abstention=abstention), fit, sharing, tested)


def is_right(given: Targets, targets: Targets) -> Booleans:
    """Return where answers are right, bool `[docs]`; of several labels, where all are."""
    equal: Booleans = np.asarray(given == targets, dtype=np.bool_)
    return equal if equal.ndim == 1 else np.asarray(equal.all(axis=1))


def _scale(rule: DecisionRule, fit: TemperatureFit, costs: Costs | None) -> DecisionRule:
    """Return the rule with a new temperature, and thresholds that give the same labels at it."""
    temperature = fit.temperatures.pooled
    moved = {}
    for name, least in rule.thresholds.items():
        # A threshold is a place among the logits, which the temperature does not move.
        logit = (
            math.log(least) - math.log1p(-least)
            if 0 < least < 1
            else math.copysign(math.inf, least - 0.5)
        )
        moved[name] = 1.0 / (1.0 + math.exp(-logit * rule.temperature / temperature))
    return DecisionRule(
        rule.labels,
        rule.problem_type,
        temperature,
        moved if rule.is_multi_label else {},
        fit.temperatures.by_length,
        calibrated=True,
        costs=costs,
    )


def _abstain(
    rule: DecisionRule,
    logits: Floats,
    targets: Targets,
    tokens: Integers,
    parts: Parts,
    request: CalibrationRequest,
) -> tuple[Abstention | None, tuple[TestedThreshold, ...]]:
    def judged(rows: Integers) -> tuple[Floats, Booleans]:
        decision = rule.judge(logits[rows], tokens[rows])
        sure = rule.confidence(decision.probabilities, decision.labels)
        return sure, is_right(decision.labels, targets[rows])

    bounding = judged(parts.bounding)
    if request.min_coverage is not None:
        return keep_share(bounding[0], request.min_coverage), ()
    if request.max_error is None:
        return None, ()
    found, tested = bound_error(
        judged(parts.scaling), bounding, request.max_error, request.confidence
    )
    if found is None:
        raise _not_certified(tested[-1], request.max_error, request.confidence)
    return found, tested


def _not_certified(last: TestedThreshold, max_error: float, confidence: float) -> GateError:
    possible = upper_bound(last.wrong, last.answered, confidence)
    return GateError(
        f"A threshold must keep the error to {100 * max_error:g} % with {100 * confidence:g} % "
        "confidence on documents that were not used to choose it.",
        found=f"at the most promising threshold {last.wrong:,} of {last.answered:,} answers are "
        f"wrong, which shows an error of {100 * possible:.2f} % at most",
        fix=f"Give more documents, or --max-error {math.ceil(1000 * possible) / 1000:g}. The "
        "bundle was left as it was.",
    )
