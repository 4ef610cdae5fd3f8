"""Edits of a text, and the way back: which characters of the text as given became which.

Only the edited places are stored, never one entry per character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longform.types import Integers

Edit = tuple[int, int, str]
"""`text[start:end]` becomes the third."""


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """The places where a text and its edited form differ in length; all between them runs along.

    Row `i` of each array belongs to edit `i`: `before[starts[i]:ends[i]]` became
    `after[new_starts[i]:new_ends[i]]`.

    Attributes:
        starts: int64 `[edits]`, offsets into the text before, increasing.
        ends: int64 `[edits]`, exclusive.
        new_starts: int64 `[edits]`, offsets into the text after.
        new_ends: int64 `[edits]`, exclusive.
    """

    starts: Integers
    ends: Integers
    new_starts: Integers
    new_ends: Integers

    def cut_starts(self, offsets: Integers) -> Integers:
        """Return where, in the text before, a piece begins that begins at each of `offsets`.

        What was removed just there stays with the piece that ends there. An offset inside a
        replacement goes to the start of what was replaced.
        """
        row = np.searchsorted(self.new_ends, offsets, side="right")
        found = self._along(row, offsets)
        inside, next_row = self._inside(row, offsets)
        return np.where(inside, self.starts[next_row], found)

    def cut_ends(self, offsets: Integers) -> Integers:
        """Return where, in the text before, a piece ends that ends at each of `offsets`.

        As `cut_starts`, so that pieces that meet still do, but for an offset inside a replacement,
        which goes to the end of what was replaced.
        """
        row = np.searchsorted(self.new_ends, offsets, side="right")
        found = self._along(row, offsets)
        inside, next_row = self._inside(row, offsets)
        return np.where(inside, self.ends[next_row], found)

    def tight_ends(self, offsets: Integers) -> Integers:
        """Return where, in the text before, the last character before each of `offsets` ends."""
        row = np.searchsorted(self.new_starts, offsets, side="left")
        # An edit that begins before the offset and ends at or behind it holds that character.
        last = np.maximum(row - 1, 0)
        held = (row > 0) & (self.new_ends[last] >= offsets)
        return np.where(held, self.ends[last], self._along(row, offsets))

    def _along(self, row: Integers, offsets: Integers) -> Integers:
        """Count from the end of the edit before `row`, or from the start of the text."""
        last = np.maximum(row - 1, 0)
        shift = np.where(row > 0, self.ends[last] - self.new_ends[last], 0)
        return offsets + shift

    def _inside(self, row: Integers, offsets: Integers) -> tuple[np.ndarray, Integers]:
        next_row = np.minimum(row, len(self.starts) - 1)
        return (row < len(self.starts)) & (self.new_starts[next_row] < offsets), next_row


@dataclass(frozen=True, slots=True, eq=False)
class Edited:
    """What a cleaning step made of a text.

    Attributes:
        text: The text after the step.
        changed: Characters of the text before that were replaced or removed.
        alignment: None where every character still stands at its place.
    """

    text: str
    changed: int
    alignment: Alignment | None = None


def apply_edits(text: str, edits: Sequence[Edit], base: str | None = None) -> Edited | None:
    """Carry out edits.

    Args:
        text: The text.
        edits: In order and without overlap, each of at least one character of the text.
        base: What stands outside the edits, of the length of `text`; None: the text itself.

    Returns:
        The edited text, or None where there is nothing to do.
    """
    if not edits:
        return None
    around = text if base is None else base
    pieces = []
    position = 0
    for start, end, replacement in edits:
        pieces.append(around[position:start])
        pieces.append(replacement)
        position = end
    pieces.append(around[position:])
    starts = np.array([edit[0] for edit in edits], dtype=np.int64)
    ends = np.array([edit[1] for edit in edits], dtype=np.int64)
    lengths = np.array([len(edit[2]) for edit in edits], dtype=np.int64)
    growth = np.cumsum(lengths - (ends - starts))
    alignment = Alignment(starts, ends, ends + growth - lengths, ends + growth)
    return Edited("".join(pieces), int((ends - starts).sum()), alignment)
