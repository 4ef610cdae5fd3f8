"""What a changed model makes of documents, beside what it made of them before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from longform.evaluation.intervals import wilson_interval
from longform.types import Integers


@dataclass(frozen=True, slots=True)
class LabelRegression:
    """One old label.

    Attributes:
        label: Its name.
        documents: That have it.
        before: Share of them that were given it before.
        after: Share of them that are given it now.
    """

    label: str
    documents: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class ChangedDocument:
    """A document that is answered otherwise now.

    Attributes:
        id: Of the document.
        label: What it was labelled.
        before: What it was given before.
        after: What it is given now.
    """

    id: str
    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class RegressionReport:
    """What a new label does to the old ones, and how well it is found itself.

    Attributes:
        new_label: Its name.
        examples: Documents that have it.
        found: Examples that are given it by a row that was made without them.
        documents: Documents of the old labels.
        accuracy_before: Of them.
        accuracy_after: Of them.
        labels: Each old label.
        changed: The documents of old labels that changed.
        absent: Old labels of which there is no document: what becomes of them is not known.
    """

    new_label: str
    examples: int
    found: int
    documents: int
    accuracy_before: float
    accuracy_after: float
    labels: tuple[LabelRegression, ...]
    changed: tuple[ChangedDocument, ...]
    absent: tuple[str, ...]

    @property
    def recall(self) -> float:
        """Share of the examples that are found."""
        return self.found / self.examples

    def as_json(self) -> dict[str, Any]:
        """Return all figures, with the 95 % interval of the recall."""
        interval = wilson_interval(self.found, self.examples)
        return {
            **asdict(self),
            "recall": round(self.recall, 4),
            "recall_interval": [round(end, 4) for end in interval],
        }


def compare_answers(
    names: Sequence[str],
    ids: Sequence[str],
    targets: Integers,
    before: Integers,
    after: Integers,
) -> RegressionReport:
    """Compare the answers of two models, of which the second has one more label, the last.

    Args:
        names: The labels, the new one last.
        ids: Of the documents.
        targets: int64 `[docs]`, their labels; those of the new label are the examples.
        before: int64 `[docs]`, what the first model gave.
        after: int64 `[docs]`, what the second gave.
    """
    new = len(names) - 1
    old, examples = targets != new, targets == new
    labels = []
    for number, name in enumerate(names[:-1]):
        mine = targets == number
        if mine.any():
            shares = [float((given[mine] == number).mean()) for given in (before, after)]
            labels.append(LabelRegression(name, int(mine.sum()), *shares))
    changed = tuple(
        ChangedDocument(ids[row], names[targets[row]], names[before[row]], names[after[row]])
        for row in np.flatnonzero(old & (before != after)).tolist()
    )
    present = {entry.label for entry in labels}
    return RegressionReport(
        new_label=names[new],
        examples=int(examples.sum()),
        found=int((after[examples] == new).sum()),
        documents=int(old.sum()),
        accuracy_before=float((before[old] == targets[old]).mean()),
        accuracy_after=float((after[old] == targets[old]).mean()),
        labels=tuple(labels),
        changed=changed,
        absent=tuple(name for name in names[:-1] if name not in present),
    )
