"""Logits to probabilities, stable for logits of any size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from longform.errors import LongformError
from longform.types import Floats

Temperature = float | NDArray[np.float64]
"""One for all documents, or float64 `[docs]`."""


def softmax(logits: Floats, temperature: Temperature = 1.0) -> Floats:
    """Return probabilities that sum to 1 along the last axis.

    Args:
        logits: float32 `[docs, classes]`.
        temperature: Divides the logits; above 1 it makes the answers less certain. One number, or
            one for each document.

    Raises:
        LongformError: A logit is NaN or infinite.
    """
    scaled = _scale(logits, temperature)
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    probabilities: Floats = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities.astype(np.float32)


def sigmoid(logits: Floats, temperature: Temperature = 1.0) -> Floats:
    """Return a probability for each logit by itself.

    Args:
        logits: float32 `[docs, classes]`.
        temperature: Divides the logits; above 1 it makes the answers less certain. One number, or
            one for each document.

    Raises:
        LongformError: A logit is NaN or infinite.
    """
    scaled = _scale(logits, temperature)
    # Of the two equal forms, the one whose exponential cannot overflow.
    small = np.exp(-np.abs(scaled))
    probabilities: Floats = (np.where(scaled >= 0, 1.0, small) / (1.0 + small)).astype(np.float32)
    return probabilities


def _scale(logits: Floats, temperature: Temperature) -> NDArray[np.float64]:
    if not np.isfinite(logits).all():
        rows = sorted({int(row) for row in np.argwhere(~np.isfinite(logits))[:, 0]})
        raise LongformError(
            "Logits must be finite numbers.",
            found=f"NaN or infinity for document {rows[0]} of the batch ({len(rows)} in all)",
            fix="Run with another backend, and check the bundle with 'longform inspect'.",
        )
    scaled: NDArray[np.float64] = np.asarray(logits, np.float64) / np.reshape(temperature, (-1, 1))
    return scaled
