"""Exact binomial tails and the bounds that follow from them."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longform.decision.binomial import (
    binomial_cdf,
    binomial_sf,
    lower_bound,
    most_successes,
    rate_interval,
    upper_bound,
)
from longform.errors import LongformError


def exact(successes: int, trials: int, probability: Fraction) -> Fraction:
    return sum(
        (
            math.comb(trials, count) * probability**count * (1 - probability) ** (trials - count)
            for count in range(successes + 1)
        ),
        Fraction(0),
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_tail_is_that_of_exact_arithmetic(data):
    trials = data.draw(st.integers(1, 200))
    successes = data.draw(st.integers(0, trials))
    probability = Fraction(data.draw(st.integers(1, 999)), 1000)

    found = binomial_cdf(successes, trials, float(probability))

    assert found == pytest.approx(float(exact(successes, trials, probability)), rel=1e-9)


def test_known_figures():
    # With no harm in n documents, a risk of 1 % is certified at 5 % from 299 documents on, one of
    # 0.5 % from 598 on.
    assert binomial_cdf(0, 299, 0.01) <= 0.05 < binomial_cdf(0, 298, 0.01)
    assert binomial_cdf(0, 598, 0.005) <= 0.05 < binomial_cdf(0, 597, 0.005)
    # The published Clopper-Pearson interval of 5 in 50.
    interval = rate_interval(5, 50)
    assert (interval.lower, interval.upper) == pytest.approx((0.03327509, 0.21813537), abs=1e-7)


def test_tails_far_below_the_smallest_float_are_zero_and_no_error():
    assert binomial_cdf(10, 1_000_000, 0.5) == 0.0
    assert binomial_cdf(0, 100_000, 1e-12) == pytest.approx(1.0, abs=1e-6)
    assert binomial_cdf(50_000, 100_000, 0.5) == pytest.approx(0.5, abs=0.002)


@pytest.mark.parametrize(
    ("successes", "expected"),
    [(-1, 0.0), (7, 1.0), (9, 1.0)],
)
def test_counts_at_and_beyond_the_ends(successes, expected):
    assert binomial_cdf(successes, 7, 0.3) == expected


def test_certain_and_impossible_events():
    assert binomial_cdf(3, 7, 0.0) == 1.0
    assert binomial_cdf(3, 7, 1.0) == 0.0
    assert binomial_sf(0, 7, 0.4) == 1.0
    assert binomial_sf(7, 7, 0.4) == pytest.approx(0.4**7)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_both_tails_make_one_beside_the_count_they_share(data):
    trials = data.draw(st.integers(1, 300))
    successes = data.draw(st.integers(0, trials))
    probability = data.draw(st.floats(0.001, 0.999))

    together = binomial_cdf(successes - 1, trials, probability) + binomial_sf(
        successes, trials, probability
    )

    assert together == pytest.approx(1.0, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_bound_is_where_the_tail_meets_the_level(data):
    trials = data.draw(st.integers(1, 500))
    successes = data.draw(st.integers(0, trials - 1))
    confidence = data.draw(st.floats(0.5, 0.999))

    bound = upper_bound(successes, trials, confidence)

    assert successes / trials <= bound <= 1.0
    assert binomial_cdf(successes, trials, bound) == pytest.approx(1 - confidence, abs=1e-6)
    assert lower_bound(trials - successes, trials, confidence) == pytest.approx(1 - bound)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.floats(0.001, 0.9), st.floats(0.001, 0.5))
def test_the_most_successes_are_the_last_that_the_level_allows(trials, probability, level):
    most = most_successes(trials, probability, level)

    assert binomial_cdf(most, trials, probability) <= level * (1 + 1e-9)
    assert binomial_cdf(most + 1, trials, probability) > level * (1 - 1e-9)


def test_nothing_observed_says_nothing():
    interval = rate_interval(0, 0)

    assert (interval.lower, interval.upper, interval.rate) == (0.0, 1.0, 0.0)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    # Exactly, over every outcome: the chance that the interval of the outcome misses the rate.
    trials, rate = 60, 0.07
    missed = sum(
        math.comb(trials, count) * rate**count * (1 - rate) ** (trials - count)
        for count in range(trials + 1)
        if not (
            rate_interval(count, trials, 0.9).lower
            <= rate
            <= rate_interval(count, trials, 0.9).upper
        )
    )

    assert 0.0 < missed <= 0.1


@pytest.mark.parametrize(
    "call",
    [
        lambda: binomial_cdf(1, -1, 0.5),
        lambda: binomial_cdf(1, 2, 1.5),
        lambda: upper_bound(3, 2, 0.95),
        lambda: upper_bound(1, 2, 95),
    ],
)
def test_impossible_counts_and_shares_are_refused(call):
    with pytest.raises(LongformError, match="got"):
        call()
