"""Texts to sparse rows of hashed words and word pairs, without a loop over words.

A Chinese character, kana or Hangul syllable is a word of its own, so pairs of them are the
character bigrams that Chinese classifiers rest on; elsewhere a word is a run of letters and digits.
Measured: 13 million characters a second on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longform.data.doctor.scripts import code_points
from longform.extras import require
from longform.reporting import Reporter
from longform.types import Document

Hashes = NDArray[np.uint64]

_BITS = 18
"""2^18 buckets: with 2^20, the cross-validated accuracy on Fudan is the same."""
_LEAST_DOCUMENTS = 2
_MOST_SHARE = 0.5
"""A feature of more than half of the documents tells little and costs the most."""
_APART, _IN_WORD, _ALONE = 0, 1, 2
_ALONE_FROM = 0x2E80
"""From here on (CJK radicals), scripts without blanks between words."""
_ALONE_TOO = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF))
"""Thai and Lao, Burmese, Khmer."""
_LONGEST_WORD = 4096
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_FOLD = np.uint64(0x2545F4914F6CDD1D)


def count_features(texts: Sequence[str], reporter: Reporter) -> Any:
    """Count the words and word pairs of each text.

    Returns:
        scipy CSR matrix, float32 `[texts, 2^18]`, indices sorted.

    Raises:
        MissingExtraError: scikit-learn (and scipy with it) is not installed.
    """
    sparse = require("scipy.sparse", "Judging labels by a model")
    indices, values = [], []
    pointers = np.zeros(len(texts) + 1, dtype=np.int64)
    with reporter.track("Counting words", len(texts)) as advance:
        for row, text in enumerate(texts):
            found, counts = hash_features(text)
            indices.append(found)
            values.append(counts)
            pointers[row + 1] = pointers[row] + len(found)
            advance(1)
    content = (_join(values, np.float32), _join(indices, np.int32), pointers)
    return sparse.csr_matrix(content, shape=(len(texts), 1 << _BITS))


def join_pair(document: Document) -> str:
    """Return all that a document says: its text, and behind it the second one of a pair."""
    if document.text_pair is None:
        return document.text
    return f"{document.text}\n{document.text_pair}"


def hash_features(text: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the buckets of a text's words and word pairs, ascending, and their counts."""
    words = _hash_words(code_points(text.lower()))
    pairs = _mix(words[:-1] * np.uint64(3) + words[1:])
    buckets = (np.concatenate((words, pairs)) >> np.uint64(64 - _BITS)).astype(np.int32)
    buckets.sort()
    is_first = np.ones(len(buckets), dtype=bool)
    np.not_equal(buckets[1:], buckets[:-1], out=is_first[1:])
    places = np.flatnonzero(is_first)
    counts = np.diff(np.append(places, len(buckets))).astype(np.float32)
    return buckets[places], counts


def weigh(counts: Any) -> Any:
    """Return TF-IDF of counts: `1 + log(tf)`, smoothed idf, rows of length 1.

    Features of one document and those of more than half are left out.

    Args:
        counts: CSR matrix `[texts, features]`.
    """
    documents = counts.shape[0]
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    kept = (frequency >= _LEAST_DOCUMENTS) & (frequency <= max(_MOST_SHARE * documents, 2))
    idf = (np.log((1 + documents) / (1 + frequency)) + 1).astype(np.float32)
    weights = counts[:, kept]
    weights.data = (1 + np.log(weights.data)) * idf[kept][weights.indices]
    rows = np.repeat(np.arange(documents), np.diff(weights.indptr))
    lengths = np.sqrt(np.bincount(rows, weights=weights.data**2, minlength=documents))
    weights.data /= np.maximum(lengths, 1e-12).astype(np.float32)[rows]
    return weights


def _hash_words(points: NDArray[np.uint32]) -> Hashes:
    """Return a hash of each word in order, uint64 `[words]`.

    The hash of a run of letters is the sum of its characters' hashes, each times a factor of its
    place, so that one `reduceat` does all words.
    """
    kinds = _word_table()[points]
    in_word = kinds == _IN_WORD
    continues = np.zeros(len(points), dtype=bool)
    continues[1:] = in_word[1:] & in_word[:-1]
    kept = kinds != _APART
    starts = np.flatnonzero(~continues[kept])
    hashes = _mix(points[kept].astype(np.uint64) * _SPREAD)
    if len(starts) == len(hashes):
        return hashes
    lengths = np.diff(np.append(starts, len(hashes)))
    places = np.arange(len(hashes)) - np.repeat(starts, lengths)
    hashes *= _powers()[places % _LONGEST_WORD]
    words: Hashes = np.add.reduceat(hashes, starts).astype(np.uint64)
    return _mix(words)


def _mix(hashes: Hashes) -> Hashes:
    """Spread all bits over all others, as SplitMix64 does."""
    hashes = hashes ^ (hashes >> np.uint64(31))
    hashes *= np.uint64(0x94D049BB133111EB)
    hashes ^= hashes >> np.uint64(29)
    return hashes


@cache
def _powers() -> Hashes:
    powers: Hashes = np.cumprod(np.full(_LONGEST_WORD, _FOLD), dtype=np.uint64)
    return powers


@cache
def _word_table() -> NDArray[np.uint8]:
    table = np.full(0x110000, _ALONE, dtype=np.uint8)
    for point in range(0x10000):
        character = chr(point)
        if not (character.isalnum() or character == "_"):
            table[point] = _APART
        elif point < _ALONE_FROM:
            table[point] = _IN_WORD
    for first, last in _ALONE_TOO:
        region = table[first : last + 1]
        region[region == _IN_WORD] = _ALONE
    return table


def _join(parts: list[Any], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)
