"""Logits of documents whose labels are drawn from known probabilities."""

from __future__ import annotations

import numpy as np

CLASSES = 5


def draw(
    seed: int, count: int, temperature: float = 1.0, spread: float = 3.0, classes: int = CLASSES
) -> tuple[np.ndarray, np.ndarray]:
    """Return logits whose softmax at `temperature` is the true distribution, and labels."""
    generator = np.random.default_rng(seed)
    true = generator.normal(size=(count, classes)) * spread
    weights = np.exp(true - true.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    labels = (weights.cumsum(axis=1) < generator.random((count, 1))).sum(axis=1)
    return (true * temperature).astype(np.float32), np.minimum(labels, classes - 1)


def draw_sets(seed: int, count: int, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits whose sigmoid at `temperature` is the true probability of each label."""
    generator = np.random.default_rng(seed)
    true = generator.normal(size=(count, 3)) * 2
    targets = generator.random((count, 3)) < 1 / (1 + np.exp(-true))
    return (true * temperature).astype(np.float32), targets
