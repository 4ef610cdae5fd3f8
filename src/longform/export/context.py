"""What a target is made from, and the gate that it has to pass."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longform.backends.base import Backend
from longform.backends.choice import machine_name
from longform.bundle import ENCODER_FILE, HEAD_FILE, PARITY_FILE
from longform.errors import ParityError
from longform.export.encoders import EncoderExports
from longform.export.options import ExportOptions
from longform.export.parity import (
    ParityCheck,
    ParityRecord,
    decided_by_logits,
    describe_difference,
)
from longform.inference.linear import LinearScorer
from longform.inference.neural import NeuralScorer
from longform.models import LongTextClassifier
from longform.reporting import Reporter
from longform.shapes import ShapePlan
from longform.text.segmenter import Segmenter
from longform.types import Document


@dataclass(slots=True)
class ExportContext:
    """A bundle in the making, and what its targets are made from.

    Attributes:
        folder: The staging folder; it holds every other file of the bundle, so that a target is
            written to its final name.
        model: The trained model, in fp32 on the CPU.
        segmenter: The one it was trained with.
        pairs: Whether it judges two texts together.
        plan: The shapes that compiled targets are made for.
        check: Real documents with the reference's answers.
        documents: Real documents to calibrate with.
        exports: Where the encoder's exported files are, or are made.
        reporter: Told how it goes.
        options: What the user said.
        linear: The linear model beneath; None where there is none.
        earlier: What `parity.json` says of the targets that the bundle already has.
        records: What the gate said of each target so far.
    """

    folder: Path
    model: LongTextClassifier
    segmenter: Segmenter
    pairs: bool
    plan: ShapePlan
    check: ParityCheck
    documents: Sequence[Document]
    exports: EncoderExports
    reporter: Reporter
    options: ExportOptions = field(default_factory=ExportOptions)
    linear: LinearScorer | None = None
    earlier: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    records: dict[str, ParityRecord] = field(default_factory=dict)

    @property
    def encoder(self) -> Path:
        """The encoder in ONNX, which most targets are made from."""
        return self.folder / ENCODER_FILE

    @property
    def head(self) -> Path:
        """The head in ONNX."""
        return self.folder / HEAD_FILE

    def scorer(self, backend: Backend) -> NeuralScorer:
        """Return a scorer that differs from the reference in nothing but the backend."""
        return NeuralScorer(self.segmenter, backend, pairs=self.pairs, linear=self.linear)

    def judge(
        self, target: str, backend: Backend, details: dict[str, Any] | None = None
    ) -> ParityRecord:
        """Compare a target with the reference, say and keep the verdict, and close the backend.

        Args:
            target: `runtime:precision`.
            backend: The target, opened from the files in the staging folder.
            details: What else is to be recorded of it.

        Raises:
            ParityError: The runtime fails at a shape or a document that the reference reads.
        """
        try:
            record = self.check.compare(target, self.scorer(backend), details)
        except RuntimeError as error:
            raise ParityError(
                f"The export '{target}' must read every shape that the trained model reads.",
                found=str(error).strip().partition("\n")[0][:300],
                fix="Nothing was written. Take another target.",
            ) from error
        finally:
            backend.close()
        self.records[target] = record
        self.reporter.say(f"  {describe_verdict(record)}")
        return record


def describe_verdict(record: ParityRecord) -> str:
    """Say in one line what the gate made of a target."""
    verdict = "equal within tolerance" if record.passed else "REFUSED, left out"
    if record.passed and record.allowed_drop is not None:
        verdict = f"allowed to lose {record.allowed_drop:g} points of accuracy"
    elif record.passed and decided_by_logits(record):
        verdict += " by its logits (too few documents to tell by their labels)"
    return f"{record.target}: {verdict}; {describe_difference(record)}"


def write_parity(
    folder: Path, verdicts: Mapping[str, Mapping[str, Any]], reference: str = "torch:fp32"
) -> None:
    """Write `parity.json` into a staging folder.

    Args:
        folder: The staging folder.
        verdicts: `runtime:precision` -> `ParityRecord.as_dict()`.
        reference: What they were compared with.
    """
    content = {"reference": reference, "machine": machine_name(), "targets": dict(verdicts)}
    text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False)
    (folder / PARITY_FILE).write_text(text + "\n", encoding="utf-8")
