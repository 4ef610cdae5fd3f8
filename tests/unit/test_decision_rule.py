from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from longform.decision.rule import DecisionRule
from longform.decision.thresholds import ENOUGH_POSITIVES, tune_thresholds
from longform.errors import LongformError
from longform.evaluation.metrics import macro_f1

MULTI = "multi_label_classification"
NAMES = ("合同", "侵权", "其他")


def test_one_label_is_the_largest_logit_and_its_scores_sum_to_one():
    rule = DecisionRule(NAMES)
    logits = np.array([[1, 3, 2], [9, 0, 0]], dtype=np.float32)
    assert rule.decide(logits).tolist() == [1, 0]
    assert rule.probabilities(logits).sum(axis=1) == pytest.approx([1, 1])


def test_r87_several_labels_are_judged_each_by_itself():
    rule = DecisionRule(NAMES, MULTI, thresholds={"侵权": 0.9})
    logits = np.array([[2, 2, -1], [-5, -5, -5]], dtype=np.float32)
    assert rule.probabilities(logits)[0].sum() > 1
    assert rule.decide(logits).tolist() == [[True, False, False], [False, False, False]]


@given(arrays(np.float32, (3, 4), elements=st.floats(-1e4, 1e4, width=32)))
def test_r86_sigmoid_is_right_for_logits_of_any_size(logits):
    names = tuple("abcd")
    with np.errstate(over="raise", invalid="raise"):
        found = DecisionRule(names, MULTI).probabilities(logits)
    assert np.isfinite(found).all()
    expected = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -700, 700)))
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_logit_that_is_no_number_is_refused():
    with pytest.raises(LongformError, match="finite"):
        DecisionRule(NAMES, MULTI).probabilities(np.array([[np.nan, 0, 0]], dtype=np.float32))


def test_settings_of_a_bundle_give_the_rule():
    rule = DecisionRule.from_settings(
        list(NAMES), MULTI, {"temperature": 2, "thresholds": {"合同": 0.3}}
    )
    assert rule.temperature == 2.0
    chosen = rule.chosen(np.array([[0.31, 0.31, 0.51]], dtype=np.float32))
    assert chosen.tolist() == [[True, False, True]]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**31),
    st.integers(20, 60),
)
def test_tuned_thresholds_are_the_best_of_all(seed, count):
    generator = np.random.default_rng(seed)
    truth = generator.random((count, 2)) < 0.4
    truth[:ENOUGH_POSITIVES] = True
    truth[-ENOUGH_POSITIVES:] = False
    scores = np.round(generator.random((count, 2)) * 0.7 + truth * 0.3, 2).astype(np.float32)
    tuned = macro_f1(truth, scores >= tune_thresholds(scores, truth), 2)
    for least in np.linspace(0, 1, 41):
        for other in (0.2, 0.5, 0.8):
            assert tuned >= macro_f1(truth, scores >= np.array([least, other]), 2) - 1e-9


def test_a_label_of_few_documents_gets_the_common_threshold():
    truth = np.zeros((40, 2), dtype=bool)
    truth[:20, 0] = True
    truth[0, 1] = True
    scores = np.full((40, 2), 0.1, dtype=np.float32)
    scores[:20, 0] = 0.3
    scores[0, 1] = 0.9
    thresholds = tune_thresholds(scores, truth)
    assert thresholds == pytest.approx([0.2, 0.2])


def test_labels_that_nobody_or_everybody_has_get_one_half():
    scores = np.full((10, 1), 0.7, dtype=np.float32)
    assert tune_thresholds(scores, np.zeros((10, 1), dtype=bool)) == pytest.approx([0.5])
    assert tune_thresholds(scores, np.ones((10, 1), dtype=bool)) == pytest.approx([0.5])
