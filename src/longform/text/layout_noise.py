"""Cleaning steps for what layout and haste leave behind: grouped digits, runs of marks, headers."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

from longform.text.alignment import Edited, apply_edits

_GROUPED_NUMBER = re.compile(
    # Not the tail of a longer number or list (`0.1,000`, `5,1,000`), nor the head of one.
    r"[1-9](?<![0-9].)(?<![0-9][.,].)[0-9]{0,2}+(?:,[0-9]{3})++(?!,?[0-9])"
)

_KEPT_OF_RUN = {".": 3, "…": 2, "—": 2}
"""The Western and the Chinese ellipsis and the Chinese dash are written with several marks."""

_REPEATS = 3
"""A line that stands so often in a document is its layout, not its text."""
_LEAST_LINE = 4
"""Characters of a line, without white space, below which it may well repeat: `答：`, `无`, `}`."""
_PAGE_NUMBER = re.compile(
    r"[ \t\u3000]*+(?:"
    r"[\-–—][ \t]?[0-9]{1,5}[ \t]?[\-–—]"
    r"|第[ \t]?[0-9]{1,5}[ \t]?页(?:[ \t,，/]{0,3}共[ \t]?[0-9]{1,5}[ \t]?页)?"
    r"|[Pp](?:age|AGE)[ \t][0-9]{1,5}(?:[ \t]?(?:of|OF|/)[ \t]?[0-9]{1,5})?"
    r")[ \t\u3000\r]*+"
)


def join_numbers(text: str) -> Edited | None:
    """Take the commas out of numbers such as 1,000 and 12,345,678.90.

    All groups must have three digits, the first one to three with no leading zero: `1,2,3`,
    `1,00`, `0,123` and telephone numbers stay, and so does the full-width comma, which separates
    clauses. A list of numbers of three digits without blanks cannot be told from one number.
    """
    if "," not in text:
        return None
    commas = (
        match.start() + offset
        for match in _GROUPED_NUMBER.finditer(text)
        for offset, character in enumerate(match[0])
        if character == ","
    )
    return apply_edits(text, [(comma, comma + 1, "") for comma in commas])


def shorten_runs(text: str) -> Edited | None:
    """Leave one of three or more equal punctuation marks in a row.

    `...`, `……` and `——` keep their usual length. Symbols count where they draw lines: `===`,
    `~~~`, `───`; others do not, so that ★★★★, `$$$` and emoji stay.
    """
    edits = []
    for match in _run_pattern().finditer(text):
        start, end = match.span()
        kept = _KEPT_OF_RUN.get(match[1], 1)
        if end - start > kept:
            # What goes is the tail, so that the marks that stay are where they were.
            edits.append((start + kept, end, ""))
    return apply_edits(text, edits)


@lru_cache(maxsize=1)
def _run_pattern() -> re.Pattern[str]:
    """Return a pattern of runs of punctuation, mathematical and modifier symbols, or box lines.

    Those below U+10000, on which `re` is fast; above are the marks of ancient scripts.
    """
    marks = "".join(
        character
        for character in map(chr, range(0x10000))
        if unicodedata.category(character)[0] == "P"
        or unicodedata.category(character) in {"Sm", "Sk"}
        or "\u2500" <= character <= "\u257f"
    )
    return re.compile(rf"([{re.escape(marks)}])\1\1++")


def remove_boilerplate(text: str) -> Edited | None:
    """Remove page-number lines, and all but the first of lines that stand three times or more.

    Lines are compared without white space at their ends; those below four characters are left
    alone. Page numbers are `- 3 -`, `第3页`, `第 3 页 共 10 页`, `Page 3 of 10`; a number alone may
    be the cell of a table and stays.
    """
    lines = text.split("\n")
    stripped = [line.strip() for line in lines]
    counts = Counter(stripped)
    seen: set[str] = set()
    edits = []
    start = 0
    for line, content in zip(lines, stripped, strict=True):
        end = min(start + len(line) + 1, len(text))
        repeated = counts[content] >= _REPEATS and _is_long_enough(content)
        if (repeated and content in seen) or (content and _PAGE_NUMBER.fullmatch(line)):
            edits.append((start, end, ""))
        if repeated:
            seen.add(content)
        start = end
    return apply_edits(text, edits)


def _is_long_enough(line: str) -> bool:
    return len(line) >= _LEAST_LINE and len("".join(line.split())) >= _LEAST_LINE
