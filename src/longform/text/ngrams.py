"""Texts to hashed n-grams, in numpy alone: the features of linear models.

Whatever reads a text here, in training or in serving, is this one code, so that both see the same
features. After Weinberger et al., "Feature Hashing for Large Scale Multitask Learning" (2009):
an n-gram is known by a hash of its tokens, and no vocabulary is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from longform.types import Integers

Analyzer = Literal["char", "word"]

HASH_VERSION = 1
"""Raised when the same text would give other features; stored with every linear model."""

_Hashes = NDArray[np.uint64]
_Codes = NDArray[np.uint32]

# Odd constants of SplitMix64 (Steele et al., "Fast Splittable Pseudorandom Number Generators",
# 2014) and of FNV; any odd 64-bit number would do.
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_WORD = np.uint64(0x100000001B3)

_SPACE, _WORD_CHARACTER, _SINGLE, _MARK = range(4)
_TABLE_SIZE = 0x10000
_IDEOGRAPHS = ((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3040, 0x30FF), (0x3400, 0x9FFF))
"""Code points that are tokens by themselves: Han characters and kana."""


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """A text as tokens.

    Attributes:
        hashes: uint64 `[tokens]`, the same for the same token everywhere.
        starts: int64 `[tokens]`, character offset of each.
        ends: int64 `[tokens]`, exclusive.
    """

    hashes: _Hashes
    starts: Integers
    ends: Integers

    def __len__(self) -> int:
        return len(self.hashes)


def tokenize(text: str, analyzer: Analyzer) -> Tokens:
    """Cut a text into tokens, letter case aside.

    Args:
        text: Any text; white space only separates.
        analyzer: `char` takes every character for a token. `word` takes runs of letters and
            digits, and Han characters and kana one by one; punctuation is left out.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
    kinds, lower = _tables()
    # Beyond the basic plane there is nothing but Han characters and signs to be told apart.
    in_table = np.minimum(codes, _TABLE_SIZE - 1)
    kind = kinds.take(in_table)
    codes = np.where(codes < _TABLE_SIZE, lower.take(in_table), codes)
    if analyzer == "char":
        places = np.flatnonzero(kind)
        return Tokens(_mix(codes.take(places).astype(np.uint64)), places, places + 1)
    return _words(codes, kind)


def _words(codes: _Codes, kind: NDArray[np.uint8]) -> Tokens:
    readable = (kind == _WORD_CHARACTER) | (kind == _SINGLE)
    follows = np.zeros(len(codes), dtype=np.bool_)
    # A letter or digit right after another one continues its word.
    follows[1:] = (kind[1:] == _WORD_CHARACTER) & (kind[:-1] == _WORD_CHARACTER)
    starts = np.flatnonzero(readable & ~follows)
    if not len(starts):
        return Tokens(np.zeros(0, np.uint64), starts, starts)
    kept = np.flatnonzero(readable)
    first_kept = np.flatnonzero(~follows[kept])
    lengths = np.diff(first_kept, append=len(kept))
    # The polynomial hash of a word, all words at once: powers restart at each word.
    powers = _powers(int(lengths.max()))
    within = np.arange(len(kept)) - np.repeat(first_kept, lengths)
    with np.errstate(over="ignore"):
        terms = (codes[kept].astype(np.uint64) + np.uint64(1)) * powers[within]
        hashes = np.add.reduceat(terms, first_kept)
    return Tokens(_mix(hashes), starts, starts + lengths)


def hash_grams(hashes: _Hashes, longest: int, bits: int, salt: int = 0) -> NDArray[np.int32]:
    """Return the bucket of every n-gram of up to `longest` tokens, the shortest first.

    Args:
        hashes: uint64 `[tokens]`.
        longest: Most tokens of an n-gram.
        bits: There are `2 ** bits` buckets.
        salt: Texts of another role get other buckets for the same n-grams.

    Returns:
        int32 `[grams]`: the tokens, then the pairs, and so on, each in reading order.
    """
    shift = np.uint64(64 - bits)
    pieces = []
    with np.errstate(over="ignore"):
        gram = hashes + np.uint64(salt) * _STEP
        pieces.append((_mix(gram) >> shift).astype(np.int32))
        for length in range(2, min(longest, len(hashes)) + 1):
            gram = gram[:-1] * _STEP + hashes[length - 1 :]
            pieces.append((_mix(gram) >> shift).astype(np.int32))
    return np.concatenate(pieces)


def gram_places(tokens: int, longest: int) -> tuple[Integers, Integers]:
    """Return the first token and the length, int64 `[grams]` each, in `hash_grams`'s order."""
    lengths = range(1, min(longest, tokens) + 1)
    first = [np.arange(tokens - length + 1, dtype=np.int64) for length in lengths]
    counts = [np.full(tokens - length + 1, length, dtype=np.int64) for length in lengths]
    return np.concatenate(first), np.concatenate(counts)


def ideograph_share(text: str) -> float:
    """Return the share of Han characters and kana among the letters and digits of a text."""
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
    kind = _tables()[0][np.minimum(codes, _TABLE_SIZE - 1)]
    single = int((kind == _SINGLE).sum())
    return single / max(single + int((kind == _WORD_CHARACTER).sum()), 1)


def _mix(values: _Hashes) -> _Hashes:
    with np.errstate(over="ignore"):
        mixed = values * _MIX
        mixed ^= mixed >> np.uint64(31)
        mixed *= _STEP
    return mixed


@cache
def _powers(count: int) -> _Hashes:
    powers = np.full(max(count, 1), _WORD, dtype=np.uint64)
    powers[0] = 1
    with np.errstate(over="ignore"):
        result: _Hashes = np.multiply.accumulate(powers)
    return result


@cache
def _tables() -> tuple[NDArray[np.uint8], _Codes]:
    """Return the kind and the lower-case form of each code point of the basic plane.

    What lies beyond it, rare Han characters most of all, takes the kind of the last entry.
    """
    kinds = np.full(_TABLE_SIZE, _MARK, dtype=np.uint8)
    lower = np.arange(_TABLE_SIZE, dtype=np.uint32)
    for code in range(_TABLE_SIZE):
        character = chr(code)
        if character.isspace():
            kinds[code] = _SPACE
        elif character.isalnum() or character == "_":
            kinds[code] = _WORD_CHARACTER
            small = character.lower()
            if len(small) == 1 and ord(small) < _TABLE_SIZE:
                lower[code] = ord(small)
    for first, last in _IDEOGRAPHS:
        kinds[first : last + 1] = _SINGLE
    kinds[-1] = _SINGLE
    return kinds, lower
