"""Signatures of documents, and which pairs of them are worth a closer look.

Locality-sensitive hashing as in Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
chapter 3: signatures are cut into bands, and documents that agree in all values of a band are
candidates. The buckets are found by sorting: the ones of datasketch take 20 KB a document, as sets
in dictionaries, where sorting takes 16 bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longform.data.shingles import (
    PERMUTATIONS,
    SKETCH_SIZE,
    Hashes,
    Signatures,
    digest,
    fold,
    hash_shingles,
    sign,
    smallest,
)
from longform.reporting import Reporter
from longform.types import Document, Floats, Integers

JACCARD = 0.25
"""Least share of the shingles of both texts that near-copies have in common."""
CONTAINMENT = 0.5
"""Or least share of the shingles of the shorter one that the longer one has too."""

_BAND = 2
"""Values of a band, joined into one 64-bit key. With 64 bands of 2, a pair of Jaccard similarity
0.25 is missed once in 60 times, one of 0.37 (5 % of the characters edited) once in 10,000."""
_REACH = 16
"""Documents of a bucket that each of its documents is paired with, and candidates of a document
that are verified. Boilerplate puts thousands into one bucket; copies meet in other bands too."""
_BANDS_AT_ONCE = 8
"""Bands whose candidates are collected before the best of each document are chosen."""
_DOUBT = 3.5
"""Standard deviations that the estimate of a similarity may fall short by chance."""


@dataclass(frozen=True, eq=False)
class Sketches:
    """Documents prepared for comparison; about 700 bytes each besides the documents themselves.

    Texts that are equal but for white space, case and width have one form.

    Attributes:
        documents: As given.
        texts: Index of the first document with the same text, int64 `[documents]`.
        forms: Form of each document, int64 `[documents]`.
        firsts: First document of each form, int64 `[forms]`.
        digests: Of the whole text of each form.
        lengths: Shingles of each form, repeated ones included, int64 `[forms]`; 0 for texts that
            are too short to have any, and where near-copies are not looked for.
        signatures: uint32 `[forms, PERMUTATIONS]`; that of a form of length 0 says nothing.
    """

    documents: tuple[Document, ...]
    texts: Integers
    forms: Integers
    firsts: Integers
    digests: tuple[bytes, ...]
    lengths: Integers
    signatures: Signatures


def sketch_documents(
    documents: Sequence[Document], reporter: Reporter | None = None, *, near: bool = True
) -> Sketches:
    """Prepare documents for `find_duplicates` and `find_leaks`, once for both.

    Args:
        documents: Any number.
        reporter: Told about progress.
        near: Prepare for near-copies. Without, each different text is a form of its own.

    Raises:
        MissingExtraError: Near-copies are wanted and datasketch is not installed.
    """
    documents = tuple(documents)
    index_of_text: dict[tuple[str, str | None], int] = {}
    texts = [
        index_of_text.setdefault((document.text, document.text_pair), index)
        for index, document in enumerate(documents)
    ]
    form_of_digest: dict[bytes, int] = {}
    form_of_text: dict[int, int] = {}
    firsts: list[int] = []
    lengths: list[int] = []

    def sketches() -> Iterator[Hashes]:
        for text in index_of_text.values():
            points = fold(documents[text])
            form = form_of_digest.setdefault(digest(points), len(form_of_digest))
            form_of_text[text] = form
            if form == len(firsts):
                hashes = hash_shingles(points)
                firsts.append(text)
                lengths.append(len(hashes))
                yield smallest(hashes)
            advance(1)

    if near:
        reporter = reporter or Reporter()
        with reporter.track("Looking for near-copies", len(index_of_text), "texts") as advance:
            signatures = list(sign(sketches()))
    else:
        firsts = list(index_of_text.values())
        form_of_text = {text: form for form, text in enumerate(firsts)}
        form_of_digest = {_digest_text(documents[text]): form for form, text in enumerate(firsts)}
        lengths = [0] * len(firsts)
        signatures = []
    return Sketches(
        documents=documents,
        texts=np.array(texts, dtype=np.int64),
        forms=np.array([form_of_text[text] for text in texts], dtype=np.int64),
        firsts=np.array(firsts, dtype=np.int64),
        digests=tuple(form_of_digest),
        lengths=np.array(lengths, dtype=np.int64),
        signatures=np.array(signatures, dtype=np.uint32).reshape(-1, PERMUTATIONS),
    )


def find_candidates(left: Sketches, right: Sketches | None = None) -> Integers:
    """Return the pairs of forms that may be near-copies, int64 `[pairs, 2]`, in ascending order.

    Args:
        left: Forms, named in the first column.
        right: Forms, named in the second column; None pairs the forms of `left` with each other,
            the lower number first.
    """
    within = right is None
    right = right or left
    ours, theirs = np.flatnonzero(left.lengths), np.flatnonzero(right.lengths)
    pairs = np.empty((0, 2), dtype=np.int64)
    agreement = np.empty(0, dtype=np.float32)
    if not len(ours) or not len(theirs):
        return pairs
    bands = range(0, PERMUTATIONS, _BAND)
    for group in range(0, len(bands), _BANDS_AT_ONCE):
        found = [pairs]
        for start in bands[group : group + _BANDS_AT_ONCE]:
            ours_keys = _band(left.signatures[ours], start)
            theirs_keys = ours_keys if within else _band(right.signatures[theirs], start)
            found += [
                np.stack((ours[first], theirs[second]), axis=1)
                for first, second in _iterate_pairs(ours_keys, theirs_keys)
            ]
        pairs = np.concatenate(found)
        if within:
            pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
        pairs = _distinct_pairs(pairs, len(right.lengths))
        pairs, agreement = _drop_unlikely(pairs, left, right)
        pairs = _keep_best(pairs, agreement, len(left.lengths) if not within else 0)
    return pairs


def _digest_text(document: Document) -> bytes:
    parts = (document.text, document.text_pair or "")
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    content = f"{len(parts[0])} {document.text_pair is None} {parts[0]}{parts[1]}"
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _band(signatures: Signatures, start: int) -> Hashes:
    """Return the values of a band as one number, uint64 `[forms]`."""
    return signatures[:, start].astype(np.uint64) << np.uint64(32) | signatures[:, start + 1]


def _iterate_pairs(ours: Hashes, theirs: Hashes) -> Iterator[tuple[Integers, Integers]]:
    """Yield indices into both arrays of items with one key, up to `_REACH` for each item."""
    yield from _reach(ours, theirs)
    if theirs is not ours:
        for second, first in _reach(theirs, ours):
            yield first, second


def _reach(keys: Hashes, others: Hashes) -> Iterator[tuple[Integers, Integers]]:
    order = np.argsort(others, kind="stable")
    ordered = others[order]
    start = np.searchsorted(ordered, keys, side="left")
    size = np.searchsorted(ordered, keys, side="right") - start
    # In within-set pairing each bucket holds the item itself: more than one is a find.
    items = np.flatnonzero(size > (1 if others is keys else 0))
    for step in range(_REACH):
        items = items[size[items] > step]
        if not len(items):
            return
        # Each item starts elsewhere, so that all members of a large bucket are reached by some.
        yield items, order[start[items] + (items + step) % size[items]]


def _distinct_pairs(pairs: Integers, width: int) -> Integers:
    keys = np.unique(pairs[:, 0] * width + pairs[:, 1])
    return np.stack((keys // width, keys % width), axis=1)


def _drop_unlikely(pairs: Integers, left: Sketches, right: Sketches) -> tuple[Integers, Floats]:
    """Drop pairs whose signatures agree too little for near-copies of their lengths.

    Returns:
        The pairs left, and the share of values in which each agrees, float32 `[pairs]`.
    """
    lengths = np.stack((left.lengths[pairs[:, 0]], right.lengths[pairs[:, 1]]), axis=1)
    shorter, longer = lengths.min(axis=1), lengths.max(axis=1)
    # Shingles that the least similar near-copies of these lengths share, and how many of them are
    # among the smallest hashes of both texts.
    common = np.minimum(CONTAINMENT * shorter, JACCARD / (1 + JACCARD) * (shorter + longer))
    common = common * np.minimum(1, SKETCH_SIZE / longer)
    together = np.minimum(shorter, SKETCH_SIZE) + np.minimum(longer, SKETCH_SIZE)
    expected = common / (together - common)
    least = expected - _DOUBT * np.sqrt(expected * (1 - expected) / PERMUTATIONS)
    agreement = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), 1 << 16):
        part = slice(start, start + (1 << 16))
        same = left.signatures[pairs[part, 0]] == right.signatures[pairs[part, 1]]
        agreement[part] = same.mean(axis=1)
    kept: NDArray[np.bool_] = agreement >= least
    return pairs[kept], agreement[kept]


def _keep_best(pairs: Integers, agreement: Floats, offset: int) -> Integers:
    """Keep the pairs that are among the `_REACH` best of either of their forms.

    Args:
        pairs: int64 `[pairs, 2]`.
        agreement: float32 `[pairs]`.
        offset: Added to the second form, where it counts other documents than the first.
    """
    kept = np.zeros(len(pairs), dtype=bool)
    forms = np.concatenate((pairs[:, 0], pairs[:, 1] + offset))
    order = np.lexsort((-np.tile(agreement, 2), forms))
    starts = np.searchsorted(forms[order], forms[order], side="left")
    best = order[np.arange(len(order)) - starts < _REACH]
    kept[best % len(pairs) if len(pairs) else best] = True
    return pairs[kept]
