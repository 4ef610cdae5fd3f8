"""The calibration error that is left when chance is taken off."""

import numpy as np
import pytest

from longform.evaluation.reliability import calibration_error


def answers(seed, count, gap=0.0):
    generator = np.random.default_rng(seed)
    scores = generator.beta(6, 0.8, count).clip(0.2, 0.999)
    right = generator.random(count) < scores - gap
    return scores.astype(np.float32), right


def test_chance_alone_is_no_fault():
    found = [calibration_error(*answers(seed, 500)) for seed in range(12)]
    plain = np.mean([item.plain for item in found])
    debiased = np.mean([item.debiased for item in found])
    assert plain > 0.02
    assert debiased < 0.7 * plain
    assert sum(item.lower == 0.0 for item in found) >= 10


def test_a_real_gap_stays_and_lies_within_the_interval():
    found = [calibration_error(*answers(seed, 800, gap=0.1)) for seed in range(12)]
    assert np.mean([item.debiased for item in found]) == pytest.approx(0.1, abs=0.01)
    assert sum(item.lower <= 0.1 <= item.upper for item in found) >= 10
    assert all(item.lower > 0.03 for item in found)


def test_known_bins():
    # Two bins of ten, of scores 0.6 and 0.9, and 4 and 10 right.
    scores = np.repeat([0.6, 0.9], 10).astype(np.float32)
    right = np.array([True] * 4 + [False] * 6 + [True] * 10)
    found = calibration_error(scores, right, bins=2)
    assert found.plain == pytest.approx((0.2 + 0.1) / 2)
    assert found.debiased < found.plain
    assert found.answers == 20


def test_nothing_says_nothing():
    found = calibration_error(np.zeros(0, np.float32), np.zeros(0, bool))
    assert (found.debiased, found.lower, found.upper) == (0.0, 0.0, 1.0)
    assert calibration_error(np.full(3, 0.5, np.float32), np.ones(3, bool)).plain == 0.5
