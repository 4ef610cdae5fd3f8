"""A rule calibrated in parts: each part does its work, and the figures are of the rest."""

from __future__ import annotations

import json

import numpy as np
import pytest
from logit_samples import CLASSES, draw, draw_sets

from longform.decision.costs import Costs
from longform.decision.fitting import CalibrationRequest, Parts, fit_rule
from longform.decision.rule import DecisionRule
from longform.errors import GateError, InputError
from longform.evaluation.confidence import measure_confidence

NAMES = tuple("abcde")
MULTI = "multi_label_classification"


def sample(seed=0, count=2_000, temperature=2.0):
    logits, labels = draw(seed, count, temperature, spread=8.0)
    return logits, labels.astype(np.int64), np.full(count, 300)


def test_parts_are_of_all_documents_and_of_each_once():
    parts = Parts.of(997, seed=3)
    together = np.concatenate([parts.scaling, parts.bounding, parts.testing])
    assert sorted(together.tolist()) == list(range(997))
    assert len(parts.bounding) == pytest.approx(0.45 * 997, abs=1)
    assert Parts.of(997, seed=4).testing.tolist() != parts.testing.tolist()


def test_what_tests_has_no_say_in_what_is_fitted():
    logits, labels, tokens = sample()
    parts = Parts.of(len(labels))
    request = CalibrationRequest(max_error=0.05)
    rule = DecisionRule(NAMES)
    honest = fit_rule(rule, logits, labels, tokens, parts, request).rule
    spoilt = labels.copy()
    spoilt[parts.testing] = (spoilt[parts.testing] + 1) % CLASSES
    assert fit_rule(rule, logits, spoilt, tokens, parts, request).rule == honest
    spoilt[parts.bounding] = (spoilt[parts.bounding] + 1) % CLASSES
    with pytest.raises(GateError, match="5 %"):
        fit_rule(rule, logits, spoilt, tokens, parts, request)


def test_a_rule_goes_through_a_bundle_unchanged():
    logits, labels, tokens = sample()
    tokens[1_000:] = 9_000
    logits[1_000:] *= 3
    request = CalibrationRequest(
        class_conditional=True, min_coverage=0.9, costs=Costs.from_json({"reject": 0.6}, NAMES)
    )
    fitted = fit_rule(DecisionRule(NAMES), logits, labels, tokens, Parts.of(2_000), request).rule
    assert fitted.length_temperatures
    kept = json.loads(json.dumps(fitted.as_settings()))
    again = DecisionRule.from_settings(NAMES, "single_label_classification", kept)
    one, two = fitted.judge(logits, tokens), again.judge(logits, tokens)
    assert (one.probabilities == two.probabilities).all()
    assert (one.members == two.members).all()
    assert (one.abstained == two.abstained).all()
    assert one.abstained.any()
    long = again.at_length(9_000)
    assert (long.probabilities(logits[1_000:]) == one.probabilities[1_000:]).all()
    # A rule that knows no length takes the temperature of all.
    assert not np.allclose(again.probabilities(logits), one.probabilities)


def test_calibration_changes_no_label():
    logits, labels, tokens = sample()
    rule = DecisionRule(NAMES)
    fitted = fit_rule(rule, logits, labels, tokens, Parts.of(2_000), CalibrationRequest()).rule
    assert (fitted.decide(logits, tokens) == rule.decide(logits)).all()


def test_thresholds_of_several_labels_move_with_the_temperature():
    logits, targets = draw_sets(0, 3_000, 3.0)
    tokens = np.full(3_000, 300)
    rule = DecisionRule(("x", "y", "z"), MULTI, thresholds={"x": 0.3, "y": 0.9})
    parts = Parts.of(3_000)
    fitted = fit_rule(rule, logits, targets, tokens, parts, CalibrationRequest(0.9)).rule
    assert fitted.temperature == pytest.approx(3.0, rel=0.15)
    assert (fitted.decide(logits) == rule.decide(logits)).mean() > 0.999
    assert 0.3 < fitted.thresholds["x"] < 0.5 < fitted.thresholds["y"] < 0.9
    # Fitted anew, they come back: what was calibrated before is forgotten.
    twice = fit_rule(fitted, logits, targets, tokens, parts, CalibrationRequest(0.9)).rule
    assert twice.thresholds["x"] == pytest.approx(fitted.thresholds["x"])
    figures = measure_confidence(
        fitted, logits[parts.testing], targets[parts.testing], tokens[parts.testing]
    )
    assert figures.sets.coverage.rate == pytest.approx(0.9, abs=0.04)


def test_the_figures_are_those_counted_by_hand():
    logits, labels, tokens = sample(count=4_000)
    parts = Parts.of(4_000)
    request = CalibrationRequest(0.9, max_error=0.04)
    fitted = fit_rule(DecisionRule(NAMES), logits, labels, tokens, parts, request)
    rows = parts.testing
    figures = measure_confidence(fitted.rule, logits[rows], labels[rows], tokens[rows])
    shares = fitted.rule.probabilities(logits[rows])
    answered = shares.max(axis=1) >= np.float32(fitted.rule.abstention.threshold)
    wrong = shares.argmax(axis=1) != labels[rows]
    assert figures.abstention.answered.successes == answered.sum()
    assert figures.abstention.error.successes == (answered & wrong).sum()
    assert figures.abstention.error_of_all.rate == pytest.approx(wrong.mean())
    assert figures.abstention.error.rate <= 0.06 < figures.abstention.error_of_all.rate
    # Trained twice as sure as it should be: the scores promise too much, and no longer do.
    assert figures.before.lower > 0.01
    assert figures.after.debiased < 0.015 < 0.025 < figures.before.debiased
    assert sum(figures.sets.sizes.values()) == len(rows)
    json.dumps(figures.as_json(), allow_nan=False)


def test_too_few_documents_are_refused_with_their_number():
    CalibrationRequest().check(100)
    with pytest.raises(InputError, match="100 documents"):
        CalibrationRequest().check(99)
    with pytest.raises(InputError, match=r"665 documents.*299"):
        CalibrationRequest(max_error=0.01).check(664)
    with pytest.raises(InputError, match=r"2,220 documents.*999"):
        CalibrationRequest(0.999).check(2_219)


def test_what_cannot_be_certified_is_refused_with_what_can():
    logits, labels, tokens = sample(count=700)
    labels[::10] = (labels[::10] + 1) % CLASSES
    with pytest.raises(GateError, match=r"shows an error of .*--max-error 0\.\d+"):
        fit_rule(
            DecisionRule(NAMES), logits, labels, tokens, Parts.of(700),
            CalibrationRequest(max_error=0.01),
        )  # fmt: skip


def test_costs_of_several_labels_are_refused():
    logits, targets = draw_sets(0, 200)
    request = CalibrationRequest(costs=Costs.from_json({}, ("x", "y", "z")))
    rule = DecisionRule(("x", "y", "z"), MULTI)
    with pytest.raises(InputError, match="one label"):
        fit_rule(rule, logits, targets, np.full(200, 9), Parts.of(200), request)
