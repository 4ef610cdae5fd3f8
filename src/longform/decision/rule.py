"""The rule that turns logits into labels: one label by softmax, or several by sigmoid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from longform.config import ProblemType
from longform.decision.probabilities import sigmoid, softmax
from longform.types import Booleans, Floats, Integers, Targets

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class DecisionRule:
    """What is decided of a document, given its logits.

    Attributes:
        labels: Label names in the order of the logits.
        problem_type: One label a document, or any number.
        temperature: Divides the logits; above 1 it makes the answers less certain.
        thresholds: Label name to the least probability at which a document gets it, where it may
            have several; 0.5 for those that are not named.
    """

    labels: tuple[str, ...]
    problem_type: ProblemType = "single_label_classification"
    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_settings(
        cls, labels: Sequence[str], problem_type: ProblemType, decision: Mapping[str, Any]
    ) -> DecisionRule:
        """Build the rule of a bundle from the `decision` part of its description."""
        return cls(
            tuple(labels),
            problem_type,
            float(decision.get("temperature", 1.0)),
            {str(name): float(least) for name, least in decision.get("thresholds", {}).items()},
        )

    @property
    def is_multi_label(self) -> bool:
        """Whether a document may have any number of labels."""
        return self.problem_type == "multi_label_classification"

    def probabilities(self, logits: Floats) -> Floats:
        """Return float32 `[docs, classes]`; each row sums to 1 only where there is one label.

        Raises:
            LongformError: A logit is NaN or infinite.
        """
        squash = sigmoid if self.is_multi_label else softmax
        return squash(logits, self.temperature)

    def threshold(self, label: str) -> float:
        """Return the least probability at which a document gets a label."""
        return self.thresholds.get(label, DEFAULT_THRESHOLD)

    def chosen(self, probabilities: Floats) -> Booleans:
        """Return which labels reach their threshold, bool `[docs, classes]`."""
        least = [self.threshold(name) for name in self.labels]
        return probabilities >= np.array(least, dtype=np.float32)

    def decide(self, logits: Floats) -> Targets:
        """Return the labels given: int64 `[docs]`, or bool `[docs, classes]` for several."""
        if self.is_multi_label:
            return self.chosen(self.probabilities(logits))
        best: Integers = logits.argmax(axis=-1)
        return best
