from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longform.errors import BundleError
from longform.shapes import Bucket, ShapePlan, plan_shapes, read_plan

LENGTHS = st.lists(st.integers(1, 128), min_size=1, max_size=60)


def padded(lengths: list[int], ends: list[int], attention_length: float = 2_304.0) -> float:
    held = [min(end for end in ends if end >= length) for length in lengths]
    return sum(end * (1 + end / attention_length) for end in held)


def test_segments_of_two_lengths_get_a_bucket_each():
    plan = plan_shapes([120] * 90 + [20] * 90, 128, token_budget=1_024)
    lengths = [bucket.length for bucket in plan.buckets]
    assert lengths == [16, 24, 32, 64, 120, 128]
    assert [bucket.rows for bucket in plan.buckets] == [64, 42, 32, 16, 8, 8]
    assert plan.padded_share == pytest.approx(1 - 1 / 1.028, abs=0.01)


def test_without_documents_lengths_are_halved():
    plan = plan_shapes([], 512, token_budget=4_096)
    assert [bucket.length for bucket in plan.buckets] == [16, 32, 64, 128, 256, 512]
    assert plan.buckets[-1].rows == 8
    assert plan.padded_share is None


@given(LENGTHS)
def test_no_segment_is_padded_to_more_than_twice_its_length(lengths):
    plan = plan_shapes(lengths, 128)
    assert all(plan.bucket(length).length <= 2 * length + 8 for length in range(8, 129))


def test_a_segment_longer_than_the_budget_is_a_batch_of_its_own():
    assert plan_shapes([8_000], 8_192, token_budget=4_096).buckets[-1].rows == 1


def test_a_bucket_that_saves_nothing_is_left_out():
    plan = plan_shapes([128] * 1_000, 128)
    assert [bucket.length for bucket in plan.buckets] == [16, 32, 64, 128]


@given(LENGTHS)
def test_every_segment_fits_its_bucket_and_the_budget(lengths):
    plan = plan_shapes(lengths, 128, token_budget=512)
    assert plan.longest == 128
    for length in lengths:
        bucket = plan.bucket(length)
        assert bucket.length >= length
        assert bucket.rows * bucket.length <= 512


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_no_other_buckets_of_that_number_waste_less(lengths):
    chosen = [bucket.length for bucket in plan_shapes(lengths, 40, most_buckets=3).buckets]
    possible = range(8, 40, 8)
    others = [[*ends, 40] for count in range(3) for ends in combinations(possible, count)]
    # Half a percent is not worth a bucket, and buckets that fill gaps only help.
    assert padded(lengths, chosen) <= 1.012 * min(padded(lengths, ends) for ends in others)


@given(LENGTHS)
def test_a_plan_is_read_as_it_was_written(lengths):
    plan = plan_shapes(lengths, 128)
    assert read_plan(plan.as_json()) == plan


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "{}",
        '{"buckets": []}',
        '{"buckets": [{"length": 64, "rows": 4}, {"length": 32, "rows": 4}]}',
        '{"buckets": [{"length": 64, "rows": 0}]}',
    ],
)
def test_a_plan_that_is_none_is_refused(text):
    with pytest.raises(BundleError, match="ascending lengths"):
        read_plan(text)


def test_a_segment_that_no_bucket_holds_is_an_error():
    with pytest.raises(ValueError, match="longer than any"):
        ShapePlan((Bucket(8, 1),)).bucket(9)
    with pytest.raises(ValueError, match="1 to 8 tokens"):
        plan_shapes([9], 8)
