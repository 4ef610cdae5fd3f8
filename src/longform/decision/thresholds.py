"""The probability at which a document gets a label, found on validation documents."""

from __future__ import annotations

import numpy as np

from longform.decision.rule import DEFAULT_THRESHOLD
from longform.types import Booleans, Floats, Integers

ENOUGH_POSITIVES = 5
"""Documents with a label, and without it, from which on it gets a threshold of its own. With
fewer, the best threshold is that of a few documents: such labels share one."""


def tune_thresholds(probabilities: Floats, targets: Booleans) -> Floats:
    """Find the thresholds with the highest F1, one for each label.

    After Lipton et al., "Optimal Thresholding of Classifiers to Maximize F1 Measure" (2014): the
    best threshold of each label is looked for among the midpoints of neighbouring scores.

    Args:
        probabilities: float32 `[docs, classes]`.
        targets: Whether each document has each label, bool `[docs, classes]`.

    Returns:
        float32 `[classes]`. A label that has too few documents, or is lacking in too few, gets the
        threshold that is best for all labels together.
    """
    counts = targets.sum(axis=0)
    tuned = (counts >= ENOUGH_POSITIVES) & (len(targets) - counts >= ENOUGH_POSITIVES)
    common = _best_threshold(probabilities.ravel(), targets.ravel())
    return np.array(
        [
            _best_threshold(probabilities[:, column], targets[:, column])
            if tuned[column]
            else common
            for column in range(targets.shape[1])
        ],
        dtype=np.float32,
    )


def _best_threshold(scores: Floats, truth: Booleans) -> float:
    """Return the midpoint of neighbouring scores that gives the highest F1."""
    if not truth.any() or truth.all():
        return DEFAULT_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order].astype(np.float64), np.cumsum(truth[order])
    claimed: Integers = np.arange(1, len(ranked) + 1)
    f1 = 2 * right / (claimed + int(truth.sum()))
    # Documents of one score are taken or left together.
    last_of_score = np.append(ranked[1:] < ranked[:-1], True)
    best = int(np.where(last_of_score, f1, -1.0).argmax())
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)
