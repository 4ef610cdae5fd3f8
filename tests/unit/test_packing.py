from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longform.inference.packing import (
    collate_segments,
    pack_segments,
    split_by_document,
    stack_documents,
)
from longform.shapes import Bucket, ShapePlan, plan_shapes
from longform.types import Coverage, Segment, SegmentedDocument


def segment(*ids: int) -> Segment:
    return Segment(0, len(ids), np.array(ids, dtype=np.int32))


def document(segments: int) -> SegmentedDocument:
    return SegmentedDocument(
        tuple(segment(1) for _ in range(segments)),
        np.zeros((segments, 4), dtype=np.float32),
        Coverage(segments, segments, segments, segments),
    )


@given(lengths=st.lists(st.integers(1, 600), max_size=80), budget=st.integers(1, 2_000))
def test_each_segment_is_in_one_batch_and_no_batch_is_over_the_budget(lengths, budget):
    batches = list(pack_segments(lengths, budget))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        widths = [lengths[index] for index in batch]
        assert widths == sorted(widths, reverse=True)
        assert widths[0] * len(batch) <= budget or len(batch) == 1


@given(lengths=st.lists(st.integers(1, 600), min_size=1, max_size=80))
def test_batches_are_sorted_by_length_so_that_little_is_padded(lengths):
    batches = list(pack_segments(lengths, 1_000))
    flat = [lengths[index] for batch in batches for index in batch]
    assert flat == sorted(lengths, reverse=True)
    # Each batch is as full as it gets: the longest of the next one would not fit.
    for batch in batches[:-1]:
        assert lengths[batch[0]] * (len(batch) + 1) > 1_000


@given(lengths=st.lists(st.integers(1, 128), max_size=80), budget=st.integers(128, 2_000))
def test_batches_keep_to_the_shapes_of_a_plan(lengths, budget):
    plan = plan_shapes(lengths, 128, token_budget=512)
    for batch in pack_segments(lengths, budget, plan):
        bucket = plan.bucket(lengths[batch[0]])
        assert len(batch) <= bucket.rows
        assert len(batch) * bucket.length <= budget


def test_segments_of_equal_length_keep_their_order():
    assert list(pack_segments([5, 5, 9, 5], 15)) == [[2], [0, 1, 3]]


def test_a_segment_over_the_budget_is_a_batch_of_its_own():
    assert list(pack_segments([4, 50, 60], 10)) == [[2], [1], [0]]


def test_segments_are_padded_to_the_longest_and_the_mask_tells_where():
    batch = collate_segments([segment(7, 8, 9), segment(5)], pad_id=1)
    assert batch.input_ids.tolist() == [[7, 8, 9], [5, 1, 1]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_segments_are_padded_to_their_bucket():
    plan = ShapePlan((Bucket(2, 9), Bucket(5, 9)))
    batch = collate_segments([segment(7, 8, 9), segment(5)], pad_id=1, plan=plan)
    assert batch.input_ids.tolist() == [[7, 8, 9, 1, 1], [5, 1, 1, 1, 1]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]
    assert batch.input_ids.dtype == batch.attention_mask.dtype == np.int64


@given(counts=st.lists(st.integers(1, 6), min_size=1, max_size=6), width=st.integers(1, 3))
def test_stacking_keeps_every_row_in_its_document_and_marks_the_rest(counts, width):
    # Each value tells its document and row, so that a mix-up shows.
    vectors = [
        np.full((count, width), 10 * index + 1, dtype=np.float32)
        + np.arange(count, dtype=np.float32)[:, np.newaxis]
        for index, count in enumerate(counts)
    ]
    positions = [np.repeat(vector[:, :1], 4, axis=1) for vector in vectors]
    stacked, mask, places = stack_documents(vectors, positions)
    assert stacked.shape == (len(counts), max(counts), width)
    assert stacked.dtype == mask.dtype == places.dtype == np.float32
    for row, count in enumerate(counts):
        assert np.array_equal(stacked[row, :count], vectors[row])
        assert np.array_equal(places[row, :count], positions[row])
        assert mask[row].tolist() == [1.0] * count + [0.0] * (max(counts) - count)
        assert not stacked[row, count:].any()
        assert not places[row, count:].any()


@given(counts=st.lists(st.integers(0, 5), max_size=6))
def test_splitting_undoes_joining(counts):
    rows = np.arange(2 * sum(counts), dtype=np.float32).reshape(-1, 2)
    parts = split_by_document(rows, [document(count) for count in counts])
    assert [len(part) for part in parts] == counts
    assert np.array_equal(np.concatenate([*parts, rows[:0]]), rows)


def test_documents_and_positions_must_be_as_many():
    with pytest.raises(ValueError, match="shorter"):
        stack_documents([np.ones((1, 2), np.float32)] * 2, [np.ones((1, 4), np.float32)])
