"""Temperatures: one for all, or by length where that is better."""

import numpy as np
import pytest
from logit_samples import draw, draw_sets

from longform.decision.calibration import (
    LARGEST_TEMPERATURE,
    Temperatures,
    fit_temperature,
    fit_temperatures,
    negative_log_likelihood,
)
from longform.decision.probabilities import softmax


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_the_temperature_of_a_known_model_is_found(temperature):
    logits, labels = draw(0, 8_000, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.06)


@pytest.mark.parametrize("temperature", [0.5, 2.5])
def test_several_labels_have_one_temperature(temperature):
    logits, targets = draw_sets(1, 6_000, temperature)
    assert fit_temperature(logits, targets) == pytest.approx(temperature, rel=0.06)


def test_no_other_temperature_is_likelier():
    logits, labels = draw(2, 400, 2.0)
    found = fit_temperature(logits, labels)
    best = negative_log_likelihood(logits, labels, found).mean()
    for other in np.geomspace(0.05, 50, 60):
        assert best <= negative_log_likelihood(logits, labels, other).mean() + 1e-9


def test_the_cost_is_that_of_the_probability_given():
    logits, labels = draw(3, 50)
    shares = softmax(logits, 1.7)[np.arange(50), labels]
    assert negative_log_likelihood(logits, labels, 1.7) == pytest.approx(-np.log(shares), rel=1e-4)


def test_without_a_mistake_no_temperature_can_be_told():
    logits = np.eye(3, dtype=np.float32)[np.arange(90) % 3]
    labels = np.arange(90) % 3
    assert fit_temperature(logits, labels) is None
    fit = fit_temperatures(logits, labels, np.full(90, 10))
    assert not fit.is_measured
    assert fit.temperatures == Temperatures()


def test_logits_that_are_worse_than_none_end_at_the_bound():
    logits = np.eye(2, dtype=np.float32)[np.arange(100) % 2]
    labels = (np.arange(100) + 1) % 2
    assert fit_temperature(logits, labels) == pytest.approx(LARGEST_TEMPERATURE, rel=1e-6)


def test_lengths_get_temperatures_of_their_own_where_they_differ():
    short, long = draw(4, 1_500, 1.0), draw(5, 1_500, 4.0)
    logits = np.concatenate([short[0], long[0]])
    labels = np.concatenate([short[1], long[1]])
    tokens = np.repeat([100, 9_000], 1_500)
    fit = fit_temperatures(logits, labels, tokens)
    found = {item.below: item.temperature for item in fit.temperatures.by_length}
    assert fit.gain_by_length > 0.01
    assert found[512] == pytest.approx(1.0, rel=0.15)
    assert found[None] == pytest.approx(4.0, rel=0.15)
    # Lengths without documents have the temperature of all.
    assert found[2_048] == found[4_096] == fit.temperatures.pooled
    lengths = np.array([0, 511, 512, 4_095, 4_096])
    expected = [found[512], found[512], found[2_048], found[4_096], found[None]]
    assert fit.temperatures.of(lengths).tolist() == expected
    assert fit.temperatures.of(None) == fit.temperatures.pooled


def test_lengths_that_do_not_differ_share_one_temperature():
    by_length = 0
    for seed in range(5):
        logits, labels = draw(seed, 800, 2.0)
        tokens = np.repeat([100, 9_000], 400)
        by_length += bool(fit_temperatures(logits, labels, tokens).temperatures.by_length)
    assert by_length <= 1
