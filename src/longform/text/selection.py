"""Which of a document's segments are read."""

from __future__ import annotations

from collections.abc import Sequence

from longform.config import SegmentSettings


def select_segments(
    lengths: Sequence[int], settings: SegmentSettings
) -> tuple[list[int], str | None]:
    """Choose segments by the settings' `selection` and `max_segments`.

    `head` and `tail` take whole segments from either end while their lengths fit the token
    budget, and at least one.

    Args:
        lengths: Tokens of each segment in reading order, special tokens included.
        settings: Where the selection and its budgets are.

    Returns:
        The chosen indices in reading order, and what left segments out: `selection`,
        `max_segments` or None.
    """
    count = len(lengths)
    chosen = set(range(count))
    if settings.selection in {"head", "head_tail"}:
        chosen = set(range(_fitting(lengths, settings.head_tokens)))
    if settings.selection in {"tail", "head_tail"}:
        taken = _fitting(lengths[::-1], settings.tail_tokens)
        tail = set(range(count - taken, count))
        chosen = tail if settings.selection == "tail" else chosen | tail
    reason = "selection" if len(chosen) < count else None
    ordered = sorted(chosen)
    if settings.max_segments is not None and len(ordered) > settings.max_segments:
        return ordered[: settings.max_segments], "max_segments"
    return ordered, reason


def _fitting(lengths: Sequence[int], budget: int) -> int:
    """Return how many leading segments fit the budget, at least one where there is one."""
    total = 0
    for index, length in enumerate(lengths):
        total += length
        if total > budget:
            return max(index, 1)
    return len(lengths)
