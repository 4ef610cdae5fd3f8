"""How much classes and documents count, and which documents an epoch draws from a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from longform.types import Floats, Integers, Targets

Probabilities = NDArray[np.float64]

_HIGHEST_POSITIVE_WEIGHT = 20.0
"""Of a label in multi-label training: a weight of hundreds lets single documents lead training."""
_CREDIBLE_LOSS = 0.95
"""Quantile that losses are cut off at: the highest are often those of wrong labels."""


def class_weights(labels: Targets) -> Floats:
    """Weigh each class by the inverse of its share of the documents.

    Args:
        labels: int64 `[docs]`, where each document has one class, every class occurring; or bool
            `[docs, classes]`, where it may have any number.

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


def balanced_probabilities(labels: Targets) -> Probabilities:
    """Return how likely each document is drawn so that all classes come equally often.

    Args:
        labels: As `class_weights` takes them. Of several labels the rarest decides; documents
            without any form a class of their own.

    Returns:
        float64 `[docs]`, of sum 1.
    """
    if labels.ndim == 1:
        counts = np.bincount(labels.astype(np.int64))
        weights = 1.0 / counts[labels.astype(np.int64)]
    else:
        none = labels.sum(axis=1, keepdims=True) == 0
        classes = np.concatenate([labels > 0, none], axis=1)
        weights = (classes / np.maximum(classes.sum(axis=0), 1)).max(axis=1)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def draw_documents(
    count: int,
    generator: np.random.Generator,
    probabilities: Probabilities | None = None,
    losses: Floats | None = None,
    hard_share: float = 0.0,
) -> Integers:
    """Draw the documents of one epoch.

    Args:
        count: Documents there are, and are drawn.
        generator: Where chance comes from.
        probabilities: float64 `[count]`; documents are then drawn with replacement. None draws
            each once.
        losses: float `[count]`, the last loss of each document; not finite where none is known
            yet. None before there are any.
        hard_share: Share that is drawn, with replacement, in proportion to the losses, once there
            are some. Losses count up to their 95th percentile, and the other documents are drawn
            without regard to them: wrong labels do not take over, and easy documents keep coming.

    Returns:
        int64 `[count]`, document numbers in random order.
    """
    known = losses is not None and np.isfinite(losses).any()
    hard = round(hard_share * count) if known else 0
    if probabilities is None:
        drawn = generator.permutation(count)[: count - hard]
    else:
        drawn = generator.choice(count, size=count - hard, p=probabilities)
    if hard and losses is not None:
        chosen = generator.choice(count, size=hard, p=_hardness(losses))
        drawn = generator.permutation(np.concatenate([drawn, chosen]))
    return np.asarray(drawn, dtype=np.int64)


def _hardness(losses: Floats) -> Probabilities:
    known = np.isfinite(losses)
    capped = np.clip(losses, 0, np.quantile(losses[known], _CREDIBLE_LOSS)).astype(np.float64)
    # A document without a loss, skipped so far by chance, is taken for an average one.
    filled = np.where(known, capped, capped[known].mean())
    total = filled.sum()
    return filled / total if total > 0 else np.full(len(losses), 1 / len(losses))
