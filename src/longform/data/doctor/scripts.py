"""Which writing a text is in, and which of its characters no writer typed: one table look-up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from longform.types import Integers

KINDS = (
    "other",
    "Latin",
    "Han",
    "Han simplified",
    "Han traditional",
    "Kana",
    "Hangul",
    "Cyrillic",
    "Greek",
    "Arabic",
    "Hebrew",
    "Devanagari",
    "Thai",
    "other letters",
    "replacement character",
    "control",
    "invisible",
    "private use",
)
"""Kinds of character; `other` are blanks, digits and signs. `Han` alone is used in both forms."""

_KIND = {name: number for number, name in enumerate(KINDS)}
_BLOCKS = (
    ("Latin", ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF), (0xFF21, 0xFF5A))),
    ("Greek", ((0x370, 0x3FF), (0x1F00, 0x1FFF))),
    ("Cyrillic", ((0x400, 0x52F),)),
    ("Hebrew", ((0x590, 0x5FF),)),
    ("Arabic", ((0x600, 0x6FF), (0x750, 0x77F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC))),
    ("Devanagari", ((0x900, 0x97F),)),
    ("Thai", ((0xE00, 0xE7F),)),
    ("Kana", ((0x3041, 0x3096), (0x30A1, 0x30FA), (0x31F0, 0x31FF), (0xFF66, 0xFF9D))),
    ("Hangul", ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7A3))),
    ("Han", ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))),
    ("control", ((0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x9F))),
    ("invisible", ((0x200B, 0x200B), (0x200E, 0x200F), (0x202A, 0x202E), (0x2060, 0x2069))),
    ("invisible", ((0xAD, 0xAD), (0x180E, 0x180E), (0xFEFF, 0xFEFF))),
    ("private use", ((0xE000, 0xF8FF), (0xF0000, 0x10FFFF))),
    ("replacement character", ((0xFFFD, 0xFFFD),)),
)
_SCRIPTS = KINDS[1:14]
_MIXED_SHARE = 0.2
"""Share of the letters in a second script from which a document counts as mixed."""
_JAPANESE_SHARE = 0.05
"""Share of kana beside Chinese characters that no Chinese text has."""


@dataclass(frozen=True, slots=True)
class Writing:
    """The scripts of a set of documents.

    Attributes:
        characters: Kind of character -> how many, over all documents.
        documents: Main writing of a document -> number of documents, the commonest first.
        mixed: Indices of documents with a second script of at least a fifth of the letters.
        main: The main writing of each document.
    """

    characters: dict[str, int]
    documents: dict[str, int]
    mixed: tuple[int, ...]
    main: tuple[str, ...]


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the code points, uint32 `[characters]`."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def count_kinds(text: str) -> Integers:
    """Return how many characters there are of each of `KINDS`, int64 `[kinds]`."""
    return np.bincount(kind_table()[code_points(text)], minlength=len(KINDS))


def describe_writing(counts: Integers) -> Writing:
    """Tell the writing of documents from their characters.

    Simplified and traditional Chinese share most characters; the few that only one of them has
    decide, whichever are more.

    Args:
        counts: int64 `[documents, kinds]`, of `count_kinds`.
    """
    letters = counts[:, 1:14].astype(np.int64)
    han = letters[:, _SCRIPTS.index("Han")].copy()
    simplified = letters[:, _SCRIPTS.index("Han simplified")]
    traditional = letters[:, _SCRIPTS.index("Han traditional")]
    kana = letters[:, _SCRIPTS.index("Kana")]
    han += simplified + traditional
    families = letters.copy()
    # One family for the ranking: kana beside ideographs is one writing, not two.
    families[:, _SCRIPTS.index("Han")] = han + kana
    for name in ("Han simplified", "Han traditional", "Kana"):
        families[:, _SCRIPTS.index(name)] = 0
    total = families.sum(axis=1)
    ordered = np.sort(families, axis=1)
    mixed = np.flatnonzero((ordered[:, -2] >= _MIXED_SHARE * total) & (total > 0))
    main = []
    for row, best in enumerate(families.argmax(axis=1)):
        name = _SCRIPTS[best]
        if total[row] == 0:
            name = "no letters"
        elif name == "Han":
            if kana[row] > _JAPANESE_SHARE * (han[row] + kana[row]):
                name = "Japanese"
            elif traditional[row] > simplified[row]:
                name = "Chinese, traditional"
            else:
                name = "Chinese, simplified" if simplified[row] else "Chinese"
        main.append(name)
    names, sizes = np.unique(np.array(main, dtype=object), return_counts=True)
    ranking = sorted(zip(names, sizes.tolist(), strict=True), key=lambda item: (-item[1], item[0]))
    sums = counts.sum(axis=0)
    return Writing(
        characters={kind: int(sums[number]) for number, kind in enumerate(KINDS) if sums[number]},
        documents=dict(ranking),
        mixed=tuple(mixed.tolist()),
        main=tuple(main),
    )


@cache
def kind_table() -> NDArray[np.uint8]:
    """Return the kind of every code point, uint8 `[1114112]`: an index into `KINDS`."""
    table = np.zeros(0x110000, dtype=np.uint8)
    for point in range(0xA0, 0x10000):
        if chr(point).isalpha():
            table[point] = _KIND["other letters"]
    for name, ranges in _BLOCKS:
        for first, last in ranges:
            table[first : last + 1] = _KIND[name]
    table[[0xD7, 0xF7]] = _KIND["other"]
    table[0xFF3B:0xFF41] = _KIND["other"]
    for point in range(0x4E00, 0xA000):
        in_simplified, in_traditional = _is_in(point, "gb2312"), _is_in(point, "big5")
        if in_simplified != in_traditional:
            table[point] = _KIND["Han simplified" if in_simplified else "Han traditional"]
    return table


def _is_in(point: int, charset: str) -> bool:
    return bool(chr(point).encode(charset, "ignore"))
