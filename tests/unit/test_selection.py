from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longform.config import SegmentSettings
from longform.text.selection import salience, select_segments

SEVEN = [10, 10, 10, 10, 10, 10, 4]


@pytest.mark.parametrize(
    ("knobs", "chosen", "reason"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6], None),
        ({"selection": "head", "head_tokens": 25}, [0, 1], "selection"),
        ({"selection": "head", "head_tokens": 30}, [0, 1, 2], "selection"),
        ({"selection": "head", "head_tokens": 64}, [0, 1, 2, 3, 4, 5, 6], None),
        ({"selection": "head", "head_tokens": 1}, [0], "selection"),
        ({"selection": "tail", "tail_tokens": 14}, [5, 6], "selection"),
        ({"selection": "tail", "tail_tokens": 1}, [6], "selection"),
        (
            {"selection": "head_tail", "head_tokens": 20, "tail_tokens": 4},
            [0, 1, 6],
            "selection",
        ),
        (
            {"selection": "head_tail", "head_tokens": 40, "tail_tokens": 40},
            [0, 1, 2, 3, 4, 5, 6],
            None,
        ),
        ({"max_segments": 3}, [0, 1, 2], "max_segments"),
        ({"max_segments": 7}, [0, 1, 2, 3, 4, 5, 6], None),
        (
            {"selection": "head_tail", "head_tokens": 20, "tail_tokens": 4, "max_segments": 2},
            [0, 1],
            "max_segments",
        ),
        (
            {"selection": "tail", "tail_tokens": 14, "max_segments": 2},
            [5, 6],
            "selection",
        ),
    ],
)
def test_whole_segments_are_taken_while_they_fit_the_budget(knobs, chosen, reason):
    assert select_segments(SEVEN, SegmentSettings(**knobs)) == (chosen, reason)


@pytest.mark.parametrize("selection", ["all", "head", "tail", "head_tail"])
def test_nothing_is_chosen_of_nothing(selection):
    assert select_segments([], SegmentSettings(selection=selection)) == ([], None)


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=40),
    selection=st.sampled_from(["head", "tail", "head_tail"]),
    head=st.integers(1, 1000),
    tail=st.integers(1, 1000),
)
def test_budgets_hold_and_one_more_segment_would_break_them(lengths, selection, head, tail):
    settings = SegmentSettings(selection=selection, head_tokens=head, tail_tokens=tail)
    chosen, reason = select_segments(lengths, settings)
    assert chosen == sorted(set(chosen))
    assert (reason is None) == (len(chosen) == len(lengths))
    if selection == "head_tail" or not reason:
        return
    budget = head if selection == "head" else tail
    taken = sum(lengths[index] for index in chosen)
    following = lengths[chosen[-1] + 1] if selection == "head" else lengths[chosen[0] - 1]
    assert taken <= budget or len(chosen) == 1
    assert taken + following > budget


def token_ids(*segments: str) -> list[np.ndarray]:
    return [np.array([ord(letter) for letter in text], dtype=np.int32) for text in segments]


def test_salient_segments_hold_what_is_frequent_here_and_rare_elsewhere():
    contents = token_ids("abab", "abcd", "xyxy", "abba", "xabx")
    scores = salience(contents)
    # `x` and `y` come often and in few segments; `a` and `b` are nearly everywhere.
    assert scores.argmax() == 2
    assert scores[4] > scores[1] > scores[0]
    settings = SegmentSettings(selection="salient", selected_tokens=8)
    assert select_segments([4] * 5, settings, contents) == ([2, 4], "selection")


def test_tokens_that_all_segments_share_weigh_nothing():
    assert salience(token_ids("ab", "ba", "abab")).tolist() == [0, 0, 0]
    assert salience([]).tolist() == []


def test_random_segments_depend_on_the_content_alone_and_differ_between_documents():
    settings = SegmentSettings(selection="random", selected_tokens=9)
    documents = [token_ids(*(f"{number}{place}x" for place in range(8))) for number in range(8)]
    drawn = [select_segments([3] * 8, settings, item)[0] for item in documents]
    again = [select_segments([3] * 8, settings, item)[0] for item in documents]
    assert drawn == again
    assert all(len(chosen) == 3 and chosen == sorted(chosen) for chosen in drawn)
    assert len({tuple(chosen) for chosen in drawn}) > 4


@pytest.mark.parametrize("selection", ["salient", "random"])
def test_a_ranked_selection_within_the_budget_reads_all(selection):
    settings = SegmentSettings(selection=selection, selected_tokens=100)
    assert select_segments([4, 4], settings, token_ids("abab", "cdcd")) == ([0, 1], None)
    # Who only counts gets the right number.
    small = SegmentSettings(selection=selection, selected_tokens=8)
    assert select_segments([4, 4, 4], small) == ([0, 1], "selection")
