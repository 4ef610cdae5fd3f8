"""Certified thresholds: the statistics, by exact values and by simulation with a known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longform.decision.binomial import binomial_cdf
from longform.decision.certificate import certify, fewest_documents
from longform.decision.exits import (
    NEVER,
    first_exits,
    joint_path,
    margins,
    threshold_path,
)
from longform.decision.rule import DecisionRule
from longform.errors import InputError


def test_the_fewest_documents_are_those_of_the_exact_test():
    assert fewest_documents(0.01, 0.05) == 299
    assert fewest_documents(0.005, 0.05) == 598
    assert fewest_documents(0.05, 0.05) == 59
    # A quotient of logarithms that is a whole number.
    assert fewest_documents(0.5, 0.25) == 2
    with pytest.raises(InputError, match="between 0 and 1"):
        fewest_documents(0.0, 0.05)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.001, 0.3), st.floats(0.001, 0.3))
def test_one_document_fewer_would_not_do(risk, delta):
    fewest = fewest_documents(risk, delta)
    assert binomial_cdf(0, fewest, risk) <= delta * (1 + 1e-9)
    assert fewest == 1 or binomial_cdf(0, fewest - 1, risk) > delta * (1 - 1e-9)


@pytest.mark.parametrize(("losses", "fewest"), [(0, 299), (1, 473), (2, 628), (5, 1049)])
def test_losses_are_paid_for_by_documents(losses, fewest):
    def is_certified(documents: int) -> bool:
        confidence = np.ones((1, documents))
        lost = np.zeros((1, documents), dtype=np.bool_)
        lost[0, :losses] = True
        return certify(confidence, lost, np.array([[1.0]]), 0.01, 0.05).accepted is not None

    assert is_certified(fewest)
    assert not is_certified(fewest - 1)


def test_too_few_documents_certify_nothing_and_say_how_many_would_do():
    confidence = np.full((1, 200), 5.0)
    lost = np.zeros((1, 200), dtype=np.bool_)
    result = certify(confidence, lost, threshold_path(), 0.01, 0.05)
    assert result.accepted is None
    assert len(result.points) == 1
    assert result.documents_needed == 299


def test_the_sequence_ends_at_the_first_point_that_is_not_certified():
    # Dense losses at margins of 3, none below: later points have a lower rate, but come too late.
    confidence = np.concatenate([np.full(500, 4.0), np.full(40, 3.0), np.full(460, 2.0)])[None]
    lost = (confidence == 3.0) & (np.arange(1000) % 2 == 0)
    path = np.array([[4.0], [3.0], [2.0]])
    result = certify(confidence, lost, path, 0.01, 0.05)
    assert [point.accepted for point in result.points] == [True, False]
    assert result.accepted is not None
    assert result.accepted.thresholds == (4.0,)
    assert result.accepted.exited == 0.5
    assert result.points[1].losses == 20
    assert result.points[1].p_value == pytest.approx(binomial_cdf(20, 1000, 0.01))


def test_documents_stop_at_the_first_step_that_is_sure_ties_included():
    confidence = np.array([[2.0, 1.0, 0.5, 0.5], [9.0, 2.0, 3.0, 1.0]])
    assert first_exits(confidence, np.array([2.0, 2.0])).tolist() == [0, 1, 1, 2]
    assert first_exits(confidence, np.array([NEVER, NEVER])).tolist() == [2, 2, 2, 2]


def test_margins_are_log_odds_of_the_best_label_against_the_second():
    rule = DecisionRule(("a", "b", "c"), temperature=2.0)
    logits = np.array([[1.0, 5.0, 3.0], [0.0, 0.0, -9.0]], dtype=np.float32)
    assert margins(logits, rule).tolist() == [1.0, 0.0]
    probabilities = rule.probabilities(logits)
    assert math.log(probabilities[0, 1] / probabilities[0, 2]) == pytest.approx(1.0, abs=1e-5)


def test_margins_of_several_labels_are_those_of_the_least_certain_one():
    rule = DecisionRule(("a", "b"), "multi_label_classification", thresholds={"a": 0.5, "b": 0.9})
    logits = np.array([[4.0, math.log(9.0) - 0.25]], dtype=np.float32)
    assert margins(logits, rule)[0] == pytest.approx(0.25, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_a_path_goes_from_safe_to_aggressive(seed):
    rng = np.random.default_rng(seed)
    margin = rng.exponential(3.0, (2, 150))
    agrees = rng.random((2, 150)) < 1 / (1 + np.exp(-margin))
    for path in (threshold_path(2), joint_path(margin, agrees)):
        assert (path >= 0).all()
        finite = path[:, np.isfinite(path[0])]
        assert (np.diff(finite, axis=0) <= 0).all()


def test_a_step_whose_confidence_tells_nothing_never_stops_a_document():
    rng = np.random.default_rng(0)
    informative = rng.exponential(3.0, 400)
    agrees = np.stack(
        [rng.random(400) < 1 / (1 + np.exp(-informative)), informative < np.median(informative)]
    )
    path = joint_path(np.stack([informative, informative]), agrees)
    assert np.isfinite(path[:, 0]).all()
    assert (path[:, 1] == NEVER).all()


def test_perfect_agreement_is_no_reason_to_stop_everything_at_once():
    path = joint_path(np.linspace(0, 5, 100)[None], np.ones((1, 100), dtype=np.bool_))
    assert path[0, 0] > 0.0 or path[0, 0] == NEVER


def _draw(rng: np.random.Generator, documents: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw margins and disagreements of two steps; the chance of each is known."""
    ease = rng.normal(2.0, 2.0, documents)
    margin = np.abs(np.stack([ease, ease + rng.normal(0.5, 1.0, documents)]))
    wrong = 0.4 / (1 + np.exp(np.stack([1.2 * ease, 2.0 * ease])))
    return margin, rng.random((2, documents)) < wrong


def test_the_bound_is_exceeded_no_more_often_than_stated_and_much_stops_early():
    rng = np.random.default_rng(7)
    design = _draw(rng, 400)
    path = joint_path(design[0], ~design[1])[::2]
    truth_margin, truth_wrong = _draw(rng, 60_000)
    padded = np.vstack([truth_wrong, np.zeros((1, truth_wrong.shape[1]), dtype=np.bool_)])
    columns = np.arange(truth_wrong.shape[1])
    draws, risk, delta = 300, 0.02, 0.1
    true_risk: dict[tuple[float, ...], float] = {}
    exceeded, exited = 0, []
    for _ in range(draws):
        margin, wrong = _draw(rng, 800)
        accepted = certify(margin, wrong, path, risk, delta).accepted
        assert accepted is not None
        if accepted.thresholds not in true_risk:
            stops = first_exits(truth_margin, np.array(accepted.thresholds))
            true_risk[accepted.thresholds] = float(padded[stops, columns].mean())
        exceeded += true_risk[accepted.thresholds] > risk
        exited.append(accepted.exited)
    # Three standard errors of the simulation.
    assert exceeded / draws <= delta + 3 * math.sqrt(delta * (1 - delta) / draws)
    # And it is no empty promise: far from every point is refused.
    assert np.mean(exited) > 0.4
    assert exceeded > 0
