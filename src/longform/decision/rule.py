"""The rule that turns logits into labels: one label by softmax, or several by sigmoid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longform.bundle import BundleDescription
from longform.config import ProblemType
from longform.decision.calibration import LengthTemperature, Temperatures
from longform.decision.conformal import LabelSets
from longform.decision.costs import Costs
from longform.decision.probabilities import Temperature, sigmoid, softmax
from longform.decision.selective import Abstention
from longform.types import Booleans, Floats, Integers, Targets

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What was decided of some documents.

    Attributes:
        probabilities: float32 `[docs, classes]`.
        best: int64 `[docs]`, the label to name first: the likeliest, or the cheapest one.
        chosen: bool `[docs, classes]`, the labels given where there may be several, else None.
        abstained: bool `[docs]`, where the answer is too unsure to be used.
        members: bool `[docs, classes]`, the labels that cannot be ruled out; None where the bundle
            has no such sets.
    """

    probabilities: Floats
    best: Integers
    chosen: Booleans | None
    abstained: Booleans
    members: Booleans | None

    @property
    def labels(self) -> Targets:
        """The labels given: int64 `[docs]`, or bool `[docs, classes]` for several."""
        return self.best if self.chosen is None else self.chosen


@dataclass(frozen=True)
class DecisionRule:
    """What is decided of a document, given its logits and its length.

    Attributes:
        labels: Label names in the order of the logits.
        problem_type: One label a document, or any number.
        temperature: Divides the logits; above 1 it makes the answers less certain.
        thresholds: Label name to the least probability at which a document gets it, where it may
            have several; 0.5 for those that are not named.
        length_temperatures: Take the place of `temperature` where the length is known; empty where
            one does for all.
        calibrated: Whether the temperature was fitted on documents that were not trained on.
        label_sets: Which labels cannot be ruled out; None gives no sets.
        abstention: When the answer is too unsure to be used; None: never.
        costs: What mistakes cost; None: all the same.
    """

    labels: tuple[str, ...]
    problem_type: ProblemType = "single_label_classification"
    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    length_temperatures: tuple[LengthTemperature, ...] = ()
    calibrated: bool = False
    label_sets: LabelSets | None = None
    abstention: Abstention | None = None
    costs: Costs | None = None

    @classmethod
    def from_settings(
        cls, labels: Sequence[str], problem_type: ProblemType, decision: Mapping[str, Any]
    ) -> DecisionRule:
        """Build the rule of a bundle from the `decision` part of its description."""
        sets, abstention = decision.get("label_sets"), decision.get("abstention")
        costs = decision.get("costs")
        return cls(
            tuple(labels),
            problem_type,
            float(decision.get("temperature", 1.0)),
            {str(name): float(least) for name, least in decision.get("thresholds", {}).items()},
            tuple(
                LengthTemperature(item["below"], float(item["temperature"]))
                for item in decision.get("length_temperatures", ())
            ),
            bool(decision.get("calibrated", False)),
            None if sets is None else LabelSets.from_json(sets),
            None if abstention is None else Abstention.from_json(abstention),
            None if costs is None else Costs.from_json(costs, tuple(labels)),
        )

    @classmethod
    def from_description(cls, description: BundleDescription) -> DecisionRule:
        """Build the rule of a bundle."""
        return cls.from_settings(description.labels, description.problem_type, description.decision)

    def as_settings(self) -> dict[str, Any]:
        """Return the `decision` part of a description, which `from_settings` reads."""
        settings: dict[str, Any] = {
            "temperature": self.temperature,
            "thresholds": dict(self.thresholds),
        }
        if self.length_temperatures:
            settings["length_temperatures"] = [
                {"below": item.below, "temperature": item.temperature}
                for item in self.length_temperatures
            ]
        if self.calibrated:
            settings["calibrated"] = True
        if self.label_sets is not None:
            settings["label_sets"] = self.label_sets.as_json()
        if self.abstention is not None:
            settings["abstention"] = self.abstention.as_json()
        if self.costs is not None:
            settings["costs"] = self.costs.as_json(self.labels)
        return settings

    @property
    def is_multi_label(self) -> bool:
        """Whether a document may have any number of labels."""
        return self.problem_type == "multi_label_classification"

    @property
    def may_abstain(self) -> bool:
        """Whether there are documents that it does not answer."""
        return self.abstention is not None or (
            self.costs is not None and self.costs.reject is not None
        )

    def probabilities(self, logits: Floats, tokens: Integers | None = None) -> Floats:
        """Return float32 `[docs, classes]`; each row sums to 1 only where there is one label.

        Args:
            logits: float32 `[docs, classes]`.
            tokens: int64 `[docs]`, the length of each whole document; without it, documents of
                every length get the temperature fitted on all.

        Raises:
            LongformError: A logit is NaN or infinite.
        """
        squash = sigmoid if self.is_multi_label else softmax
        return squash(logits, self._temperature(tokens))

    def log_odds(self, logits: Floats, tokens: Integers | None = None) -> NDArray[np.float64]:
        """Return ln(p / (1 - p)) of each label, float64 `[docs, classes]`, where p is near 1 too.

        Of the only label there is, whose probability is always 1, it is the logit. Arguments as of
        `probabilities`.
        """
        temperature = np.reshape(self._temperature(tokens), (-1, 1))
        scaled: NDArray[np.float64] = np.asarray(logits, dtype=np.float64) / temperature
        if self.is_multi_label or scaled.shape[1] == 1:
            return scaled
        others = np.empty_like(scaled)
        for row in range(scaled.shape[1]):
            rest = np.delete(scaled, row, axis=1)
            largest = rest.max(axis=1)
            others[:, row] = largest + np.log(np.exp(rest - largest[:, np.newaxis]).sum(axis=1))
        return scaled - others

    def _temperature(self, tokens: Integers | None) -> Temperature:
        return Temperatures(self.temperature, self.length_temperatures).of(tokens)

    def at_length(self, tokens: int) -> DecisionRule:
        """Return the rule of documents of one length, for what knows no lengths."""
        if not self.length_temperatures:
            return self
        temperatures = Temperatures(self.temperature, self.length_temperatures)
        (temperature,) = np.atleast_1d(temperatures.of(np.array([tokens], dtype=np.int64)))
        return replace(self, temperature=float(temperature), length_temperatures=())

    def threshold(self, label: str) -> float:
        """Return the least probability at which a document gets a label."""
        return self.thresholds.get(label, DEFAULT_THRESHOLD)

    def chosen(self, probabilities: Floats) -> Booleans:
        """Return which labels reach their threshold, bool `[docs, classes]`."""
        least = [self.threshold(name) for name in self.labels]
        return probabilities >= np.array(least, dtype=np.float32)

    def decide(self, logits: Floats, tokens: Integers | None = None) -> Targets:
        """Return the labels given: int64 `[docs]`, or bool `[docs, classes]` for several."""
        if self.is_multi_label or self.costs is not None:
            return self.judge(logits, tokens).labels
        best: Integers = logits.argmax(axis=-1)
        return best

    def judge(self, logits: Floats, tokens: Integers | None = None) -> Decision:
        """Decide all that there is to decide of some documents; the arguments as above.

        Raises:
            LongformError: A logit is NaN or infinite.
        """
        probabilities = self.probabilities(logits, tokens)
        chosen = self.chosen(probabilities) if self.is_multi_label else None
        best: Integers = probabilities.argmax(axis=-1)
        if self.costs is not None:
            best = self.costs.cheapest(probabilities)
        abstained = np.zeros(len(logits), dtype=np.bool_)
        if self.abstention is not None:
            sure = self.confidence(probabilities, best if chosen is None else chosen)
            abstained |= sure < np.float32(self.abstention.threshold)
        if self.costs is not None:
            abstained |= self.costs.rejects(probabilities)
        members = None
        if self.label_sets is not None:
            several = self.is_multi_label
            members = self.label_sets.members(probabilities, self.labels, several=several)
        return Decision(probabilities, best, chosen, abstained, members)

    def confidence(self, probabilities: Floats, given: Targets) -> Floats:
        """Return how probably each answer is right, float32 `[docs]`.

        Of several labels, all must be right: the product of each being given or not, as if they
        were independent.

        Args:
            probabilities: float32 `[docs, classes]`.
            given: int64 `[docs]`, or bool `[docs, classes]`.
        """
        if given.ndim == 1:
            return probabilities[np.arange(len(given)), given]
        sure = np.where(given, probabilities, 1.0 - probabilities)
        product: Floats = sure.prod(axis=1, dtype=np.float64).astype(np.float32)
        return product
