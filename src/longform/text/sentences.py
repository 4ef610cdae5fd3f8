"""Where sentences end. Linear in the length of the text, whatever the text is."""

from __future__ import annotations

import re
from operator import sub

MAX_SENTENCE_CHARACTERS = 1_000
"""A longer sentence is cut: some tokenizers are super-linear in the length of one input."""

_CLOSERS = r"[\"'”’」』》）)\]】〉»]*+"
# One class of characters comes first, which `re` looks for fastest; then it is decided what the
# character found is. Each alternative takes a whole run of ends possessively, and a run that ends
# nothing is not looked at again from its middle, so that the work is linear.
_SENTENCE_END = re.compile(
    r"[。！？；….!?\n](?:"
    rf"(?<=[。！？；…])[。！？；…]*+{_CLOSERS}"
    rf"|(?<=[.!?])(?<![.!?].)[.!?]*+{_CLOSERS}(?![0-9A-Za-z&=/_#%-])"
    r"|(?<=\n)"
    r")\s*+"
)
# Better places for a hard cut than the middle of a word, best first.
_CLAUSE_END = re.compile(r".*[，、,:：;]", re.DOTALL)
_WHITE_SPACE = re.compile(r".*\s", re.DOTALL)


def sentence_boundaries(text: str) -> list[int]:
    """Cut a text into sentences.

    A sentence ends after Chinese or Western end marks with the quotes and brackets that close
    them, or at a line end; white space that follows belongs to it. A point inside a number, a
    name or an address (`3.14`, `a.b`, `?x=1`) ends nothing.

    Args:
        text: Any text.

    Returns:
        Strictly increasing character offsets from 0 to `len(text)`: sentence `i` is
        `text[boundaries[i]:boundaries[i + 1]]`. No sentence is longer than
        `MAX_SENTENCE_CHARACTERS`. `[0]` for an empty text.
    """
    boundaries = [0, *(match.end() for match in _SENTENCE_END.finditer(text))]
    if boundaries[-1] < len(text):
        boundaries.append(len(text))
    if max(map(sub, boundaries[1:], boundaries), default=0) <= MAX_SENTENCE_CHARACTERS:
        return boundaries
    capped = [0]
    for end in boundaries[1:]:
        _append_capped(text, capped, end)
    return capped


def _append_capped(text: str, boundaries: list[int], end: int) -> None:
    """Append `end`, and before it the cuts that keep each sentence within the limit."""
    start = boundaries[-1]
    while end - start > MAX_SENTENCE_CHARACTERS:
        start = _hard_cut(text, start)
        boundaries.append(start)
    boundaries.append(end)


def _hard_cut(text: str, start: int) -> int:
    """Return where to cut a sentence that starts at `start` and is too long."""
    limit = start + MAX_SENTENCE_CHARACTERS
    # Only the second half is searched: a cut near the start would make tiny pieces.
    for pattern in (_CLAUSE_END, _WHITE_SPACE):
        match = pattern.match(text, start + MAX_SENTENCE_CHARACTERS // 2, limit)
        if match is not None:
            return match.end()
    return limit
