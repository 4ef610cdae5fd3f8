"""What near-copies of a document have in common: its shingles, and a small sketch of them.

A shingle is a run of 12 characters, white space left out. Knows nothing of pairs of documents.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from longform.extras import require
from longform.types import Document

Points = NDArray[np.uint32]
Hashes = NDArray[np.uint64]
Signatures = NDArray[np.uint32]

SHINGLE_LENGTH = 12
"""Characters. Long enough that two texts of one subject share few (at most 46 % of the shorter
one's in the de-duplicated Fudan corpus), short enough that a copy with 5 % of its characters edited
keeps 0.95 ** 12 = 54 % of them."""
SKETCH_SIZE = 512
"""Shingles of a text that its signature is made of: those with the smallest hashes, so that two
texts keep the same ones. Twice as many find no more copies; all of them take 15 times as long."""
PERMUTATIONS = 128
"""Values of a signature."""

_WHITE_SPACE = np.uint32(0xFFFFFFFF)
_BETWEEN_TEXTS = np.array([0x110000], dtype=np.uint32)
"""Beyond Unicode: no text contains it."""
_BASE = 0x9E3779B97F4A7C15
_FOLDED_PLANES = 0x30000
"""Code points below which characters have compatibility forms or two cases; beyond are rare
ideographs, private use and tags."""


def fold(document: Document) -> Points:
    """Return the characters of a document by which copies are recognised.

    White space is left out; each character is replaced by its compatibility form (full width ->
    half width) and its small letter where these are one character.

    Returns:
        uint32 `[characters]`, code points; a second text stands behind a value that no text has.
    """
    points = _fold_text(document.text)
    if document.text_pair is None:
        return points
    return np.concatenate((points, _BETWEEN_TEXTS, _fold_text(document.text_pair)))


def digest(points: Points) -> bytes:
    """Return 16 bytes that stand for folded characters in comparisons of whole texts."""
    return hashlib.blake2b(points.tobytes(), digest_size=16).digest()


def hash_shingles(points: Points) -> Hashes:
    """Return a 64-bit hash of each shingle, uint64 `[characters - 11]`, in order.

    The hash is a polynomial of the 12 code points, built of sums over 3 and 6 of them, and mixed by
    the first round of MurmurHash3's finalizer.
    """
    if len(points) < SHINGLE_LENGTH:
        return np.empty(0, dtype=np.uint64)
    base, base3, base6 = (_power(exponent) for exponent in (1, 3, 6))
    wide = points.astype(np.uint64)
    hashes = wide[:-2] * base
    hashes += wide[1:-1]
    hashes *= base
    hashes += wide[2:]
    hashes = hashes[:-3] * base3 + hashes[3:]
    hashes = hashes[:-6] * base6 + hashes[6:]
    hashes ^= hashes >> np.uint64(33)
    hashes *= np.uint64(0xFF51AFD7ED558CCD)
    hashes ^= hashes >> np.uint64(33)
    return hashes


def distinct(hashes: Hashes) -> Hashes:
    """Return the different values, sorted; several times as fast as `numpy.unique`."""
    ordered = np.sort(hashes)
    kept = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=kept[1:])
    return ordered[kept]


def smallest(hashes: Hashes) -> Hashes:
    """Return the `SKETCH_SIZE` smallest different values, sorted; fewer where there are fewer."""
    count = 2 * SKETCH_SIZE
    if len(hashes) > count:
        chosen = distinct(np.partition(hashes, count)[:count])
        if len(chosen) >= SKETCH_SIZE:
            return chosen[:SKETCH_SIZE]
    return distinct(hashes)[:SKETCH_SIZE]


def sign(sketches: Iterable[Hashes]) -> Iterator[Signatures]:
    """Yield the MinHash signature of each sketch, uint32 `[PERMUTATIONS]`.

    Two signatures agree in a value with the probability that is the Jaccard similarity of the two
    sketches (Broder, 1997).

    Raises:
        MissingExtraError: datasketch is not installed.
    """
    datasketch = require("datasketch", "Looking for near-duplicates")
    # The upper half: datasketch permutes 32-bit values.
    values = ((sketch >> np.uint64(32)).tolist() for sketch in sketches)
    generator = datasketch.MinHash.generator(values, num_perm=PERMUTATIONS, hashfunc=_identity)
    for minhash in generator:
        signature: Signatures = minhash.hashvalues
        yield signature


def _identity(value: int) -> int:
    return value


def _power(exponent: int) -> np.uint64:
    return np.uint64(pow(_BASE, exponent, 1 << 64))


def _fold_text(text: str) -> Points:
    # Composed first, so that a letter and its accent are one character; free where they are.
    composed = unicodedata.normalize("NFC", text)
    points = np.frombuffer(composed.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    folded: Points = _folding_table()[points]
    visible: Points = folded[folded != _WHITE_SPACE]
    return visible


@cache
def _folding_table() -> Points:
    table = np.arange(0x110000, dtype=np.uint32)
    for point in range(_FOLDED_PLANES):
        character = chr(point)
        if character.isspace():
            table[point] = _WHITE_SPACE
            continue
        form = unicodedata.normalize("NFKC", character).casefold()
        if len(form) == 1:
            table[point] = ord(form)
    return table
