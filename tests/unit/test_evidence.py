from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from longform.decision.evidence import MAX_PARTS, leave_one_out
from longform.decision.probabilities import softmax
from longform.decision.rule import DecisionRule
from longform.types import Coverage, Floats, Segment, SegmentedDocument

LABELS = ("合同", "侵权", "其他")
RULE = DecisionRule(LABELS)


def read(segments: int) -> SegmentedDocument:
    positions = np.zeros((segments, 4), dtype=np.float32)
    positions[:, 0] = np.arange(segments)
    ids = np.array([1], dtype=np.int32)
    return SegmentedDocument(
        tuple(Segment(10 * index, 10 * index + 10, ids) for index in range(segments)),
        positions,
        Coverage(segments, segments, segments, segments),
    )


def mean_head(vectors: list[Floats], positions: list[Floats]) -> Floats:
    """Logits are the mean vector, so that the effect of each segment is known."""
    assert [len(rows) for rows in vectors] == [len(rows) for rows in positions]
    return np.array([rows.mean(axis=0) for rows in vectors], dtype=np.float32)


def test_the_score_is_the_change_of_probability_without_the_segment():
    vectors = np.array([[0, 0, 0], [6, 0, 0], [0, 3, 0], [0, 0, 1]], dtype=np.float32)
    found , _ = leave_one_out(read(4), vectors, mean_head, RULE)
    whole = softmax(vectors.mean(axis=0, keepdims=True))[0, 0]
    for index, item in enumerate(found):
        without = np.delete(vectors, index, axis=0).mean(axis=0, keepdims=True)
        assert item.score == pytest.approx(float(whole - softmax(without)[0, 0]), abs=1e-6)
        assert (item.segment, item.start, item.end) == (index, 10 * index, 10 * index + 10)
        assert item.label == "合同"
    assert max(found, key=lambda item: item.score).segment == 1
    assert found[2].score < 0


def test_segments_left_out_do_not_move_the_others():
    def head(vectors: list[Floats], positions: list[Floats]) -> Floats:
        seen.extend(rows[:, 0].tolist() for rows in positions)
        return mean_head(vectors, positions)

    seen: list[list[float]] = []
    leave_one_out(read(3), np.eye(3, dtype=np.float32), head, RULE)
    assert seen == [[0, 1, 2], [1, 2], [0, 2], [0, 1]]


def test_the_temperature_is_that_of_the_prediction():
    vectors = np.array([[4, 0, 0], [0, 1, 0]], dtype=np.float32)
    found , _ = leave_one_out(read(2), vectors, mean_head, DecisionRule(LABELS, temperature=3.0))
    both = softmax(vectors.mean(axis=0, keepdims=True), 3.0)[0, 0]
    assert found[0].score == pytest.approx(float(both - softmax(vectors[1:], 3.0)[0, 0]), abs=1e-6)


@pytest.mark.parametrize("segments", [0, 1])
def test_the_only_segment_cannot_be_left_out(segments):
    def head(vectors: list[Floats], positions: list[Floats]) -> Floats:
        pytest.fail("the head must not run")

    vectors = np.ones((segments, 3), dtype=np.float32)
    assert leave_one_out(read(segments), vectors, head, RULE) == ((), None)


@pytest.mark.parametrize("segments", [2, MAX_PARTS, MAX_PARTS + 1, 100, 1000])
def test_long_documents_are_left_out_in_parts_that_cover_them(segments):
    def head(vectors: list[Floats], positions: list[Floats]) -> Floats:
        nonlocal calls, readings
        calls, readings = calls + 1, len(vectors)
        return mean_head(vectors, positions)

    calls = readings = 0
    vectors = np.random.default_rng(0).normal(size=(segments, 3)).astype(np.float32)
    found , _ = leave_one_out(read(segments), vectors, head, RULE)
    assert calls == 1
    assert readings == len(found) + 1 == min(segments, MAX_PARTS) + 1
    assert (found[0].start, found[-1].end) == (0, 10 * segments)
    for one, other in pairwise(found):
        assert one.end == other.start
        assert one.segment < other.segment


def test_no_part_spans_text_that_a_selection_left_out():
    document = read(2 * MAX_PARTS + 5)
    tail = np.arange(len(document.segments)) >= MAX_PARTS + 1
    document.positions[tail, 0] += 100
    found , _ = leave_one_out(
        document, np.ones((len(document.segments), 3), dtype=np.float32), mean_head, RULE
    )
    gap = document.segments[MAX_PARTS].end
    assert all(item.end <= gap or item.start >= gap for item in found)
    assert len(found) <= MAX_PARTS + 1
    assert [item.start for item in found[1:]] == [item.end for item in found[:-1]]
