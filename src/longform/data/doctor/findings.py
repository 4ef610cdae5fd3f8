"""What the doctor finds, as data: no printing, no drawing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from longform.reporting import counted

Severity = Literal["error", "warning", "note"]
"""`error`: training refuses; `warning`: the model or its figures suffer; `note`: good to know."""

_SINGULAR = {"classes": "class"}
EXAMPLES = 5
"""Documents or rows that a finding names."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, risky or good to know.

    Attributes:
        kind: A stable name, for programs.
        severity: What it means for training.
        what: What was found, as a sentence.
        count: How many; of what, `unit` says.
        unit: `documents`, `rows`, `classes` ...
        examples: Ids of documents, numbers of rows or names of classes; never texts.
        training: What training does about it with the settings given.
        advice: What the user can do.
        proposes: Settings that would help -> their values.
    """

    kind: str
    severity: Severity
    what: str
    count: int
    training: str
    advice: str
    unit: str = "documents"
    examples: tuple[str, ...] = ()
    proposes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def amount(self) -> str:
        """The count with its unit."""
        return counted(self.count, _SINGULAR.get(self.unit, self.unit.removesuffix("s")), self.unit)

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "what": self.what,
            "count": self.count,
            "unit": self.unit,
            "examples": list(self.examples),
            "training": self.training,
            "advice": self.advice,
            "proposes": dict(self.proposes),
        }
