from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from longform.decision.evidence import (
    MAX_PARTS,
    REFINING_READINGS,
    EvidenceOptions,
    leave_one_out,
)
from longform.decision.probabilities import softmax
from longform.decision.rule import DecisionRule
from longform.errors import InputError
from longform.types import (
    Coverage,
    Explanation,
    Floats,
    LogitSplit,
    Segment,
    SegmentedDocument,
)

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
    found, _ = leave_one_out(read(4), vectors, mean_head, RULE)
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
    found, _ = leave_one_out(read(2), vectors, mean_head, DecisionRule(LABELS, temperature=3.0))
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
    found, _ = leave_one_out(read(segments), vectors, head, RULE)
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
    found, _ = leave_one_out(
        document, np.ones((len(document.segments), 3), dtype=np.float32), mean_head, RULE
    )
    gap = document.segments[MAX_PARTS].end
    assert all(item.end <= gap or item.start >= gap for item in found)
    assert len(found) <= MAX_PARTS + 1
    assert [item.start for item in found[1:]] == [item.end for item in found[:-1]]


PLANTED = 617


def one_decides(vectors: list[Floats], positions: list[Floats]) -> Floats:
    """The first logit rests on the vectors that point up, wherever they stand."""
    return np.array([[rows[:, 0].sum(), 0.0, 0.0] for rows in vectors], dtype=np.float32)


@pytest.mark.parametrize("segments", [40, 700, 1_000, 5_000])
def test_refining_finds_the_one_segment_that_decides(segments):
    def head(vectors: list[Floats], positions: list[Floats]) -> Floats:
        nonlocal readings
        readings += len(vectors)
        return one_decides(vectors, positions)

    readings = 0
    planted = PLANTED % segments
    vectors = np.zeros((segments, 3), dtype=np.float32)
    vectors[planted] = 4.0
    document = read(segments)
    found, _ = leave_one_out(document, vectors, head, RULE, EvidenceOptions(refine=True))
    best = max(found, key=lambda item: item.log_odds)
    assert (best.start, best.end) == (10 * planted, 10 * planted + 10)
    assert readings <= 1 + MAX_PARTS + REFINING_READINGS
    # However they are split, the parts cover the document once, in order.
    assert (found[0].start, found[-1].end) == (0, 10 * segments)
    assert [item.start for item in found[1:]] == [item.end for item in found[:-1]]


def test_short_documents_need_no_refining():
    vectors = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    plain, _ = leave_one_out(read(4), vectors, mean_head, RULE)
    refined, _ = leave_one_out(read(4), vectors, mean_head, RULE, EvidenceOptions(refine=True))
    assert plain == refined


def test_log_odds_tell_parts_apart_where_probabilities_cannot():
    vectors = np.array([[300, 0, 0], [200, 0, 0], [0, 100, 0]], dtype=np.float32)
    found, _ = leave_one_out(read(3), vectors, mean_head, RULE)
    assert [item.score for item in found] == [0.0, 0.0, 0.0]
    assert found[0].log_odds > found[1].log_odds > 0 > found[2].log_odds


def test_log_odds_are_those_of_the_probability():
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    for problem_type in ("single_label_classification", "multi_label_classification"):
        rule = DecisionRule(("a", "b", "c", "d"), problem_type, temperature=1.7)
        likely = rule.probabilities(logits).astype(np.float64)
        assert np.allclose(rule.log_odds(logits), np.log(likely / (1 - likely)), atol=1e-4)
    assert DecisionRule(("a",)).log_odds(np.ones((2, 1), np.float32)).tolist() == [[1.0], [1.0]]


def test_another_label_can_be_explained():
    vectors = np.array([[6, 0, 0], [0, 3, 0]], dtype=np.float32)
    found, explanation = leave_one_out(
        read(2), vectors, mean_head, RULE, EvidenceOptions(label="侵权")
    )
    assert {item.label for item in found} == {"侵权"} == {explanation.label}
    assert found[1].log_odds > 0 > found[0].log_odds
    with pytest.raises(InputError, match="刑事"):
        leave_one_out(read(2), vectors, mean_head, RULE, EvidenceOptions(label="刑事"))


def test_of_several_labels_the_likeliest_is_explained_by_its_own_logit():
    rule = DecisionRule(LABELS, "multi_label_classification")
    vectors = np.array([[4, 8, 0], [0, 4, 0]], dtype=np.float32)
    found, explanation = leave_one_out(read(2), vectors, mean_head, rule)
    assert explanation == Explanation("leave_one_out", "侵权", 6.0)
    # Without a segment the mean is the other's vector.
    assert [item.log_odds for item in found] == pytest.approx([2.0, -2.0])
    assert [item.contribution for item in found] == pytest.approx([2.0, -2.0])


def test_a_split_is_told_of_only_if_it_adds_up():
    vectors = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    right = LogitSplit(vectors / 40, np.zeros(3, dtype=np.float32))
    found, explanation = leave_one_out(read(40), vectors, mean_head, RULE, split=right)
    assert explanation.method == "exact"
    assert sum(item.contribution for item in found) + explanation.base == pytest.approx(
        explanation.logit, abs=1e-5
    )
    wrong = LogitSplit(vectors / 40, np.ones(3, dtype=np.float32))
    _, explanation = leave_one_out(read(40), vectors, mean_head, RULE, split=wrong)
    assert (explanation.method, explanation.base) == ("leave_one_out", None)
