"""Abstaining keeps to the error that was asked for, and to the share."""

from itertools import pairwise

import numpy as np
import pytest
from logit_samples import draw

from longform.decision.probabilities import softmax
from longform.decision.selective import (
    Abstention,
    bound_error,
    fewest_answers,
    keep_share,
)


def confidences(seed, count, spread=8.0):
    logits, labels = draw(seed, count, spread=spread)
    shares = softmax(logits)
    return shares.max(axis=1), shares.argmax(axis=1) == labels


def test_answers_needed_for_a_bound():
    assert fewest_answers(0.01, 0.95) == 299
    assert fewest_answers(0.05, 0.95) == 59


def test_the_true_error_exceeds_the_requested_one_as_seldom_as_promised():
    # The truth is known by a large sample, since the documents are drawn.
    sure, right = confidences(1, 100_000)
    order = np.argsort(-sure)
    errors = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    sorted_sure = sure[order]
    exceeded, found, answered = 0, 0, []
    for seed in range(100, 200):
        first, second = confidences(seed, 200), confidences(seed + 1_000, 500)
        abstention, _ = bound_error(first, second, 0.05, 0.9)
        if abstention is None:
            continue
        found += 1
        count = int(np.searchsorted(-sorted_sure, -abstention.threshold, side="right"))
        answered.append(count / len(sure))
        exceeded += errors[count - 1] > 0.05
    assert found >= 95
    # 10 % of 100 by right, and three standard errors of the simulation.
    assert exceeded <= 10 + 3 * np.sqrt(100 * 0.1 * 0.9)
    # Safe by never answering would be no art: at an error of 5 % 86 % could be answered.
    assert np.mean(answered) > 0.7


def test_the_sequence_ends_at_the_first_threshold_that_fails():
    abstention, tested = bound_error(confidences(2, 400), confidences(3, 800), 0.03)
    assert [item.passed for item in tested] == [True] * (len(tested) - 1) + [False]
    assert abstention.threshold == tested[-2].threshold
    assert all(one.threshold > two.threshold for one, two in pairwise(tested))


def test_too_few_documents_certify_nothing():
    abstention, tested = bound_error(confidences(4, 100), confidences(5, 100), 0.01)
    assert abstention is None
    assert not tested[-1].passed


def test_a_share_is_answered_on_average():
    shares = []
    for seed in range(300):
        sure, _ = confidences(seed, 140)
        threshold = np.float32(keep_share(sure[:40], 0.8).threshold)
        shares.append((sure[40:] >= threshold).mean())
    # At least the share, and no more than one in n + 1 above it.
    assert 0.793 <= np.mean(shares) <= 0.831


def test_an_abstention_survives_the_way_through_json():
    for kept in (Abstention(0.7, 0.01, 0.95), Abstention(0.25, min_coverage=0.9)):
        assert Abstention.from_json(kept.as_json()) == kept
    assert keep_share(np.array([0.5, 0.6], dtype=np.float32), 0.99) == Abstention(
        0.0, min_coverage=0.99
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_lower_error_answers_fewer(seed):
    first, second = confidences(seed, 500), confidences(seed + 50, 1_000)
    strict, _ = bound_error(first, second, 0.02)
    loose, _ = bound_error(first, second, 0.08)
    assert strict.threshold > loose.threshold
