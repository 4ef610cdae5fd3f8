"""When a model may answer for a larger one: how sure it is, and how sure it must be.

A cascade is a line of steps, cheap ones first; the last step is the model whose answers count. A
document stops at the first step whose confidence reaches that step's threshold.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from longform.decision.rule import DecisionRule
from longform.types import Booleans, Floats, Integers

Doubles = NDArray[np.float64]

NEVER = math.inf
"""The threshold of a step at which no document stops."""

_LARGEST_MARGIN = 50.0
_MARGIN_RATIO = 0.97
_MARGIN_STEPS = 400
"""Thresholds of one step fall by 3 % each, so that the scale of a model's logits does not matter:
from odds that no model gives, to a margin of 0.0003, at which everything stops."""

_CHANCE_STEPS = np.arange(16.0, -4.0, -0.05)
"""Log-odds of agreeing with the last step, from one in nine million against it to 2 %."""

_FIT_ROUNDS = 50
_PRIOR_WEIGHT = 1e-3
"""Ridge of the logistic fit: keeps it finite where confidence tells the two kinds wholly apart."""


def margins(logits: Floats, rule: DecisionRule) -> Doubles:
    """Return how sure each answer is, in log-odds of the decision against the nearest other one.

    Of one label: the lead of the best label over the second, which told wrong exits from right
    ones better than the best label's probability did (docs/cascade.md). Of several labels: how
    far the label nearest to its threshold is from it.

    Args:
        logits: float32 `[docs, classes]`.
        rule: Whose temperature and thresholds count.

    Returns:
        float64 `[docs]`, at least 0.
    """
    scaled = np.asarray(logits, dtype=np.float64) / rule.temperature
    if rule.is_multi_label:
        least = np.array([rule.threshold(label) for label in rule.labels], dtype=np.float64)
        least = np.clip(least, 1e-12, 1 - 1e-12)
        distances: Doubles = np.abs(scaled - np.log(least / (1 - least))).min(axis=1)
        return distances
    if scaled.shape[1] < 2:
        return np.full(len(scaled), _LARGEST_MARGIN)
    best = np.partition(scaled, -2, axis=1)[:, -2:]
    lead: Doubles = best[:, 1] - best[:, 0]
    return lead


def first_exits(confidence: Doubles, thresholds: Doubles) -> Integers:
    """Return where each document stops.

    Args:
        confidence: float64 `[steps, docs]`, of all steps but the last.
        thresholds: float64 `[steps]`; a document stops where its confidence is at least so much.

    Returns:
        int64 `[docs]`, the step; the number of steps for documents that go on to the last one.
    """
    reached = confidence >= thresholds[:, np.newaxis]
    stops: Integers = np.where(reached.any(axis=0), reached.argmax(axis=0), len(thresholds))
    return stops


def threshold_path(steps: int = 1) -> Doubles:
    """Return thresholds from safe to aggressive, chosen without looking at any document.

    Args:
        steps: All of them get the same threshold.

    Returns:
        float64 `[points, steps]`, falling; the last point lets every document stop.
    """
    falling = _LARGEST_MARGIN * _MARGIN_RATIO ** np.arange(_MARGIN_STEPS)
    path: Doubles = np.repeat(np.append(falling, 0.0)[:, np.newaxis], steps, axis=1)
    return path


def joint_path(confidence: Doubles, agrees: Booleans) -> Doubles:
    """Return thresholds of several steps from safe to aggressive, along one parameter.

    At every point of the path each step stops documents whose chance of being answered as by the
    last step is the same; how that chance follows from the confidence is fitted step by step
    (a logistic curve). The documents must be others than those that the path is then tested on.

    Args:
        confidence: float64 `[steps, docs]`.
        agrees: bool `[steps, docs]`, whether the step answers as the last one does.

    Returns:
        float64 `[points, steps]`; infinite for a step whose confidence tells nothing.
    """
    columns = []
    for margin, agreed in zip(confidence, agrees, strict=True):
        intercept, slope = _fit_chance(margin, agreed)
        if slope <= 0:
            columns.append(np.full(len(_CHANCE_STEPS), NEVER))
        else:
            columns.append(np.maximum((_CHANCE_STEPS - intercept) / slope, 0.0))
    path: Doubles = np.stack(columns, axis=1)
    return path


def _fit_chance(margin: Doubles, agreed: Booleans) -> tuple[float, float]:
    """Fit log-odds of agreeing as a line in the margin, by Newton's method.

    Platt's targets instead of 0 and 1 (J. Platt, Probabilistic Outputs for Support Vector
    Machines, 1999) keep the curve from claiming more than the number of documents can show.
    """
    yes, no = int(agreed.sum()), int((~agreed).sum())
    target = np.where(agreed, (yes + 1) / (yes + 2), 1 / (no + 2))
    rows = np.stack([np.ones_like(margin), margin], axis=1)
    weights = np.zeros(2)
    ridge = np.diag([0.0, _PRIOR_WEIGHT])
    for _ in range(_FIT_ROUNDS):
        chance = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        gradient = rows.T @ (chance - target) + ridge @ weights
        curvature = (rows * (chance * (1 - chance))[:, np.newaxis]).T @ rows + ridge
        move = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
        # A full step may overshoot where the curve is nearly flat.
        weights -= move * min(1.0, 5.0 / max(float(np.abs(move).max()), 1e-12))
        if float(np.abs(move).max()) < 1e-8:
            break
    return float(weights[0]), float(weights[1])
