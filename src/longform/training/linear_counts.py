"""Training documents to the matrix that a linear model is fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longform.inference.linear_model import LinearModel, LinearWeights
from longform.text.features import Buckets, FeatureReader
from longform.text.ngrams import Tokens
from longform.types import Floats, Integers


@dataclass(frozen=True, slots=True, eq=False)
class DocumentFrequencies:
    """How many documents each bucket occurs in.

    Attributes:
        documents: Counted.
        counts: int32 `[blocks, buckets]`.
    """

    documents: int
    counts: NDArray[np.int32]


def count_documents(
    reader: FeatureReader, documents: Iterable[Sequence[Tokens]]
) -> DocumentFrequencies:
    """Count the documents of each n-gram."""
    counts = np.zeros((reader.blocks, 2**reader.bits), dtype=np.int32)
    number = 0
    for texts in documents:
        number += 1
        for row, found in zip(counts, reader.buckets(texts), strict=True):
            row[np.unique(found)] += 1
    return DocumentFrequencies(number, counts)


def choose_features(
    frequencies: DocumentFrequencies, least_documents: int, classes: int
) -> LinearWeights:
    """Return the weights, all zero, of the n-grams that occur often enough.

    Rarity is smoothed as scikit-learn's `TfidfTransformer` has it: `ln((1 + n) / (1 + df)) + 1`.

    Args:
        frequencies: Of the training documents.
        least_documents: An n-gram of fewer is left out.
        classes: Number of classes.
    """
    kept = [np.flatnonzero(row >= least_documents).astype(np.int32) for row in frequencies.counts]
    pairs = zip(frequencies.counts, kept, strict=True)
    frequency = np.concatenate([row[buckets] for row, buckets in pairs])
    idf = np.log((1 + frequencies.documents) / (1 + frequency)) + 1
    return empty_weights(kept, idf.astype(np.float32), classes)


def empty_weights(buckets: Sequence[Buckets], idf: Floats, classes: int) -> LinearWeights:
    """Return weights of zero for the buckets of each block."""
    features = sum(map(len, buckets))
    return LinearWeights(
        buckets=np.concatenate(buckets),
        block_sizes=np.array([len(part) for part in buckets], dtype=np.int64),
        idf=idf,
        weights=np.zeros((features, classes), dtype=np.float32),
        scales=np.ones(features, dtype=np.float32),
        bias=np.zeros(classes, dtype=np.float32),
    )


def keep_features(weights: LinearWeights, count: int) -> LinearWeights:
    """Return weights of zero for the features that weigh most.

    Args:
        weights: Fitted.
        count: How many to keep.
    """
    strength = np.abs(weights.weights).max(axis=1)
    kept = np.zeros(len(strength), dtype=np.bool_)
    kept[np.argsort(-strength, kind="stable")[:count]] = True
    ends = np.cumsum(weights.block_sizes)
    parts: list[tuple[int, int]] = [
        (int(end - size), int(end)) for end, size in zip(ends, weights.block_sizes, strict=True)
    ]
    buckets = [weights.buckets[first:last][kept[first:last]] for first, last in parts]
    return empty_weights(buckets, weights.idf[kept], weights.weights.shape[1])


def build_matrix(
    reader: FeatureReader, weights: LinearWeights, documents: Iterable[Sequence[Tokens]]
) -> Any:
    """Return the scipy matrix `[docs, features]` in rows, float32.

    It is read by the very code that reads documents in serving.
    """
    from scipy.sparse import csr_matrix

    model = LinearModel(reader, weights)
    ends: list[int] = [0]
    rows: list[NDArray[np.int32]] = []
    values: list[Floats] = []
    for texts in documents:
        found = model.features(texts)
        rows.append(found.rows)
        values.append(found.values)
        ends.append(ends[-1] + len(found.rows))
    shape = (len(rows), len(weights.buckets))
    indptr: Integers = np.array(ends, dtype=np.int64)
    return csr_matrix((np.concatenate(values), np.concatenate(rows), indptr), shape=shape)
