from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longform.config import SegmentSettings
from longform.text.selection import select_segments

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
