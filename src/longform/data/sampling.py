"""Which documents an epoch draws, and which of them share a batch: pure functions of a seed."""

from __future__ import annotations

import numpy as np

from longform.types import Floats, Integers

_HIGHEST_POSITIVE_WEIGHT = 20.0
"""Of a label in multi-label training: a weight of hundreds lets single documents lead training."""


def class_weights(labels: Integers | Floats) -> Floats:
    """Weigh each class by the inverse of its share of the documents.

    Args:
        labels: int64 `[docs]`, where each document has one class, every class occurring; or float
            `[docs, classes]` of 0 and 1, where it may have any number.

    Returns:
        float32 `[classes]`. One class a document: documents / (classes * documents of the class),
        scikit-learn's "balanced", of which the mean over the documents is 1. Any number: documents
        without the label / documents with it, between 1/20 and 20.
    """
    documents = len(labels)
    if labels.ndim == 1:
        counts = np.maximum(np.bincount(labels.astype(np.int64)), 1)
        return (documents / (len(counts) * counts)).astype(np.float32)
    positive = np.maximum(labels.sum(axis=0), 1)
    weights = (documents - positive) / positive
    capped = np.clip(weights, 1 / _HIGHEST_POSITIVE_WEIGHT, _HIGHEST_POSITIVE_WEIGHT)
    return np.asarray(capped, dtype=np.float32)
