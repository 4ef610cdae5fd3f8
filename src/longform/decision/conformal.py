"""Sets of labels that hold the true one with a stated probability: split conformal prediction.

V. Vovk, A. Gammerman and G. Shafer, Algorithmic Learning in a Random World (2005); the score is
that of M. Sadinle, J. Lei and L. Wasserman, Least Ambiguous Set-Valued Classifiers with Bounded
Error Levels (2019): one minus the probability of the label. It gives the smallest sets on average;
docs/confidence.md has the comparison with adaptive sets (APS, RAPS). The likeliest label scores 0,
so that no set is empty.

The promise holds for documents that are drawn as those that the quantile is of, and on average
over such draws; with `class_quantiles` it holds within each class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longform.types import Booleans, Floats, Targets

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelSets:
    """Which labels of a document cannot be ruled out.

    Attributes:
        coverage: Probability with which a set holds the true label, or all true labels.
        quantile: A label is in the set where one minus its probability is at most this.
        class_quantiles: Label name to a quantile of its own; the others have `quantile`.
    """

    coverage: float
    quantile: float
    class_quantiles: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LabelSets:
        """Read what `as_json` gave."""
        return cls(
            float(content["coverage"]),
            float(content["quantile"]),
            {str(name): float(value) for name, value in content["class_quantiles"].items()},
        )

    def as_json(self) -> dict[str, Any]:
        """Return what a bundle keeps."""
        return {
            "coverage": self.coverage,
            "quantile": self.quantile,
            "class_quantiles": dict(self.class_quantiles),
        }

    def members(
        self, probabilities: Floats, labels: Sequence[str], *, several: bool = False
    ) -> Booleans:
        """Return which labels are in the set of each document, bool `[docs, classes]`.

        Args:
            probabilities: float32 `[docs, classes]`, calibrated as those that were fitted on.
            labels: Names of the classes.
            several: Whether a document may have several labels.
        """
        limits = [self.class_quantiles.get(name, self.quantile) for name in labels]
        inside: Booleans = _scores(probabilities, several) <= np.array(limits, dtype=np.float64)
        return inside


def conformal_quantile(scores: Doubles, coverage: float) -> float:
    """Return the smallest score that a further one is at most with the given probability.

    The `ceil((n + 1) * coverage)`-th smallest; 1 (everything) where there are too few scores.
    """
    rank = _rank(len(scores), coverage)
    if rank > len(scores):
        return 1.0
    return float(np.sort(scores)[rank - 1])


def fewest_scores(coverage: float) -> int:
    """Return how many documents it takes for a quantile below 1: 19 at 95 %."""
    estimate = math.ceil(coverage / (1.0 - coverage))
    candidates = range(max(estimate - 1, 1), estimate + 2)
    return next(n for n in candidates if _rank(n, coverage) <= n)


def fit_label_sets(
    probabilities: Floats,
    targets: Targets,
    labels: Sequence[str],
    coverage: float,
    *,
    class_conditional: bool = False,
) -> tuple[LabelSets, tuple[str, ...]]:
    """Find the quantiles for a coverage.

    Args:
        probabilities: float32 `[docs, classes]`, of documents that neither the model nor its
            temperature was fitted on.
        targets: int64 `[docs]`, or bool `[docs, classes]`.
        labels: Names of the classes.
        coverage: Between 0 and 1.
        class_conditional: Promise the coverage within each class, where it has documents enough.

    Returns:
        The sets, and the classes that share a quantile since they have too few documents.
    """
    several = targets.ndim == 2
    scores = _scores(probabilities, several)
    if several:
        # All true labels are in the set exactly if the worst of them is.
        of_documents = np.where(targets, scores, 0.0).max(axis=1)
        of_classes = [scores[targets[:, row], row] for row in range(len(labels))]
    else:
        of_documents = scores[np.arange(len(targets)), targets]
        of_classes = [of_documents[targets == row] for row in range(len(labels))]
    pooled = conformal_quantile(of_documents, coverage)
    if not class_conditional:
        return LabelSets(coverage, pooled), ()
    fewest = fewest_scores(coverage)
    own = {
        name: conformal_quantile(found, coverage)
        for name, found in zip(labels, of_classes, strict=True)
        if len(found) >= fewest
    }
    sharing = tuple(name for name in labels if name not in own)
    rare = [found for name, found in zip(labels, of_classes, strict=True) if name not in own]
    # Rare classes are harder than the rest: together they are a better measure than everything.
    together = np.concatenate([*rare, np.zeros(0)])
    if len(together) >= fewest:
        pooled = max(pooled, conformal_quantile(together, coverage))
    return LabelSets(coverage, pooled, own), sharing


def _rank(count: int, coverage: float) -> int:
    # A product such as 20 * 0.95 must not become 20 by the last bit of a float.
    return math.ceil((count + 1) * coverage - 1e-9)


def _scores(probabilities: Floats, several: bool) -> Doubles:
    """Return how badly each label fits, float64 `[docs, classes]` from 0 to 1."""
    scores = 1.0 - np.asarray(probabilities, dtype=np.float64)
    if not several:
        scores[np.arange(len(scores)), probabilities.argmax(axis=1)] = 0.0
    return scores
