"""Label sets hold the true label as often as they promise."""

import numpy as np
import pytest
from logit_samples import draw, draw_sets

from longform.decision.conformal import (
    LabelSets,
    conformal_quantile,
    fewest_scores,
    fit_label_sets,
)
from longform.decision.probabilities import sigmoid, softmax

NAMES = tuple("abcde")


def test_the_quantile_is_the_order_statistic_for_one_more_document():
    scores = np.arange(1, 100) / 100
    # ceil(100 * 0.95) = 95th of 99.
    assert conformal_quantile(scores, 0.95) == 0.95
    assert conformal_quantile(scores[:19], 0.95) == 0.19
    assert conformal_quantile(scores[:18], 0.95) == 1.0
    assert (fewest_scores(0.95), fewest_scores(0.9), fewest_scores(0.99)) == (19, 9, 99)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_cover_as_promised_over_many_draws(coverage):
    # Miscalibrated on purpose: the promise needs no calibration.
    held, sizes = [], []
    for seed in range(200):
        logits, labels = draw(seed, 300, 2.5, spread=1.5)
        shares = softmax(logits)
        sets, _ = fit_label_sets(shares[:100], labels[:100], NAMES, coverage)
        members = sets.members(shares[100:], NAMES)
        held.append(members[np.arange(200), labels[100:]].mean())
        sizes.append(members.sum(axis=1).min())
    # Exactly between coverage and coverage + 1 / 101 in expectation.
    assert coverage - 0.006 <= np.mean(held) <= coverage + 0.016
    assert min(sizes) >= 1


def test_sets_of_several_labels_hold_all_true_ones():
    held = []
    for seed in range(150):
        logits, targets = draw_sets(seed, 300, 2.0)
        shares = sigmoid(logits)
        sets, _ = fit_label_sets(shares[:100], targets[:100], NAMES[:3], 0.9)
        members = sets.members(shares[100:], NAMES[:3], several=True)
        held.append((~(targets[100:] & ~members).any(axis=1)).mean())
    assert 0.894 <= np.mean(held) <= 0.916


def unequal(seed, count):
    """Class `a` is hard: its documents are often taken for `b`; the others are easy."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(5, count, p=[0.15, 0.4, 0.4, 0.04, 0.01])
    logits = generator.normal(size=(count, 5))
    logits[np.arange(count), labels] += np.where(labels == 0, 0.5, 5.0)
    return softmax(logits.astype(np.float32)), labels


def test_class_conditional_sets_cover_the_hard_class_too():
    pooled_held, own_held = [], []
    for seed in range(60):
        shares, labels = unequal(seed, 1_200)
        fitting, testing = slice(0, 400), slice(400, None)
        hard = labels[testing] == 0
        for held, conditional in ((pooled_held, False), (own_held, True)):
            sets, _ = fit_label_sets(
                shares[fitting], labels[fitting], NAMES, 0.9, class_conditional=conditional
            )
            held.append(sets.members(shares[testing], NAMES)[hard, 0].mean())
    assert np.mean(pooled_held) < 0.8
    assert 0.89 <= np.mean(own_held) <= 0.93


def test_classes_of_few_documents_share_a_quantile_and_are_named():
    shares, labels = unequal(0, 400)
    sets, sharing = fit_label_sets(shares, labels, NAMES, 0.95, class_conditional=True)
    few = {name for row, name in enumerate(NAMES) if (labels == row).sum() < 19}
    assert set(sharing) == few
    assert few
    assert set(sets.class_quantiles) == set(NAMES) - few
    pooled, _ = fit_label_sets(shares, labels, NAMES, 0.95)
    assert sets.quantile >= pooled.quantile


def test_sets_survive_the_way_through_json():
    sets = LabelSets(0.95, 0.1234567890123456, {"a": 0.5})
    assert LabelSets.from_json(sets.as_json()) == sets
