"""Where sentences end. Linear in the length of the text, whatever the text is."""

from __future__ import annotations

import re

MAX_SENTENCE_CHARACTERS = 1_000
"""A longer sentence is cut: some tokenizers are super-linear in the length of one input."""

_CLOSERS = r"[\"'”’」』》）)\]】〉»]*"
# Each alternative begins where a run of ends begins and takes the whole run possessively, so that
# no character is looked at more than a constant number of times.
_SENTENCE_END = re.compile(
    rf"(?:(?<![。！？；…])[。！？；…]++{_CLOSERS}+"
    rf"|(?<![.!?])[.!?]++{_CLOSERS}+(?![0-9A-Za-z&=/_#%-])"
    r"|(?=\n))\s*+"
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
    boundaries = [0]
    for match in _SENTENCE_END.finditer(text):
        if match.end() > boundaries[-1]:
            _append_capped(text, boundaries, match.end())
    if len(text) > boundaries[-1]:
        _append_capped(text, boundaries, len(text))
    return boundaries


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
