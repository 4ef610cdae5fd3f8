"""What mistakes cost, and the answer that costs least on average.

C. Elkan, The Foundations of Cost-Sensitive Learning (2001); not answering as an action with a cost
of its own: C. K. Chow, On Optimum Recognition Error and Reject Tradeoff (1970).
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longform.errors import InputError
from longform.types import Floats, Integers

Doubles = NDArray[np.float64]

REJECT = "reject"
"""Names the action of not answering, in a file of costs."""
_FIX = (
    "Write a csv with a row for each true label and a column for each answer (and 'reject'), or "
    'JSON: {"costs": {"true label": {"answer": 5}}, "reject": 0.5}; what is not named costs 1, a '
    "right answer 0."
)


@dataclass(frozen=True, eq=False)
class Costs:
    """What each answer costs, given the truth.

    Attributes:
        matrix: float64 `[true class, answer]`.
        reject: float64 `[true class]`, what not answering costs; None where there is always an
            answer.
    """

    matrix: Doubles
    reject: Doubles | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, Any], labels: Sequence[str]) -> Costs:
        """Read `{"costs": {true: {answer: cost}}, "reject": cost or {true: cost}}`.

        Wrong answers that are not named cost 1 and right ones 0.

        Raises:
            InputError: A label is not known, or a cost is no number from 0 on.
        """
        places = {name: row for row, name in enumerate(labels)}
        matrix = 1.0 - np.eye(len(labels))
        rows = content.get("costs", {})
        if not isinstance(rows, Mapping) or set(content) - {"costs", "reject"}:
            raise _refuse(f"keys {', '.join(map(str, content))}")
        for true, row in rows.items():
            if not isinstance(row, Mapping):
                raise _refuse(f"'{true}': {row!r}")
            for answer, cost in row.items():
                matrix[_place(places, true), _place(places, answer)] = _number(cost)
        given = content.get("reject")
        if given is None:
            return cls(matrix)
        if not isinstance(given, Mapping):
            return cls(matrix, np.full(len(labels), _number(given)))
        missing = [name for name in labels if name not in given]
        if missing:
            raise _refuse(f"no cost of '{REJECT}' for the true label '{missing[0]}'")
        reject = np.zeros(len(labels))
        for true, cost in given.items():
            reject[_place(places, true)] = _number(cost)
        return cls(matrix, reject)

    def as_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return what a bundle keeps: what differs from 1 for a mistake and 0 for none."""
        usual = 1.0 - np.eye(len(labels))
        content: dict[str, Any] = {"costs": {}}
        for row, column in np.argwhere(self.matrix != usual).tolist():
            named = content["costs"].setdefault(labels[row], {})
            named[labels[column]] = float(self.matrix[row, column])
        if self.reject is not None:
            content["reject"] = dict(zip(labels, self.reject.tolist(), strict=True))
        return content

    def expected(self, probabilities: Floats) -> Doubles:
        """Return the expected cost of each answer, float64 `[docs, classes]`."""
        found: Doubles = np.asarray(probabilities, dtype=np.float64) @ self.matrix
        return found

    def cheapest(self, probabilities: Floats) -> Integers:
        """Return the answer with the least expected cost, int64 `[docs]`."""
        best: Integers = self.expected(probabilities).argmin(axis=1)
        return best

    def rejects(self, probabilities: Floats) -> NDArray[np.bool_]:
        """Return where not answering costs less than any answer, bool `[docs]`."""
        if self.reject is None:
            return np.zeros(len(probabilities), dtype=np.bool_)
        given_up = np.asarray(probabilities, dtype=np.float64) @ self.reject
        cheaper: NDArray[np.bool_] = given_up < self.expected(probabilities).min(axis=1)
        return cheaper

    def paid(self, targets: Integers, answers: Integers, rejected: NDArray[np.bool_]) -> Doubles:
        """Return what answers cost, given the truth, float64 `[docs]`."""
        costs: Doubles = self.matrix[targets, answers]
        if self.reject is not None:
            costs = np.where(rejected, self.reject[targets], costs)
        return costs

    def thresholds(self) -> Doubles | None:
        """Return the least probability of each label at which it is answered and not rejected.

        Returns:
            float64 `[classes]`; None where there is no such number: without a cost of rejecting,
            or where a wrong answer costs more for one true label than for another.
        """
        classes = len(self.matrix)
        wrong = [np.delete(self.matrix[:, column], column) for column in range(classes)]
        alike = all(np.ptp(column) == 0 and column[0] > 0 for column in wrong)
        if self.reject is None or np.ptp(self.reject) or np.diag(self.matrix).any() or not alike:
            return None
        least = [1.0 - float(self.reject[0]) / float(column[0]) for column in wrong]
        clipped: Doubles = np.clip(np.array(least, dtype=np.float64), 0.0, 1.0)
        return clipped


def read_costs(path: Path, labels: Sequence[str]) -> Costs:
    """Read a file of costs, `.csv` or `.json`.

    Args:
        path: In a csv, the first row names the answers (and `reject`) and the first column the
            true labels; an empty cell is not named.
        labels: Those of the bundle.

    Raises:
        InputError: The file cannot be read, names an unknown label, or a cost is no number.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _refuse(f"{path}: {error}") from error
    if path.suffix.lower() == ".csv":
        return Costs.from_json(_from_csv(text), labels)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _refuse(f"no JSON in {path} ({error})") from error
    if not isinstance(content, dict):
        raise _refuse(f"a {type(content).__name__} in {path}")
    return Costs.from_json(content, labels)


def _from_csv(text: str) -> dict[str, Any]:
    rows = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise _refuse("no row below the header")
    answers = [cell.strip() for cell in rows[0][1:]]
    costs: dict[str, dict[str, str]] = {}
    reject: dict[str, str] = {}
    for row in rows[1:]:
        for answer, cell in zip(answers, row[1:], strict=False):
            if cell.strip():
                target = reject if answer == REJECT else costs.setdefault(row[0].strip(), {})
                target[row[0].strip() if answer == REJECT else answer] = cell.strip()
    return {"costs": costs, "reject": reject or None}


def _place(places: Mapping[str, int], name: str) -> int:
    if name not in places:
        known = ", ".join(f"'{label}'" for label in list(places)[:10])
        raise _refuse(f"the label '{name}'; the model knows {known}")
    return places[name]


def _number(cost: Any) -> float:
    try:
        value = float(cost)
    except (TypeError, ValueError) as error:
        raise _refuse(f"the cost {cost!r}") from error
    if isinstance(cost, bool) or not math.isfinite(value) or value < 0:
        raise _refuse(f"the cost {cost!r}")
    return value


def _refuse(found: str) -> InputError:
    return InputError(
        "A file of costs names labels of the model and numbers from 0 on.", found=found, fix=_FIX
    )
