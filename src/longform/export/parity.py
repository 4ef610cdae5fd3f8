"""The gate: a target gives the reference's answers, or it is refused.

Compared are logits, not labels, of real validation documents read from their text, and of a grid of
shapes that they may lack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from longform.data.labels import LabelMap
from longform.decision.rule import DecisionRule
from longform.errors import ParityError
from longform.evaluation.metrics import accuracy, macro_f1
from longform.export.shape_grid import ShapeGrid
from longform.inference.golden import logit_tolerance
from longform.inference.neural import NeuralScorer
from longform.inference.scorer import Scorer
from longform.text.segmenter import Segmenter
from longform.types import LENGTH_BUCKETS, Booleans, Document, Floats, Targets

DEFAULT_TOKENS = 30_000
"""Tokens of validation text compared when the user names no number of documents."""
MINIMUM_DOCUMENTS = 8
MAXIMUM_DOCUMENTS = 64


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a precision may cost.

    Attributes:
        logit_difference: Largest difference of any logit.
        changed_labels: Largest share of documents with another label.
        accuracy_drop: Largest loss of accuracy, as a share.
        free_documents: So many documents may change whatever their share is: among a few
            documents, one close call says nothing that the logits do not say better.
    """

    logit_difference: float
    changed_labels: float
    accuracy_drop: float
    free_documents: int

    def allows(self, record: ParityRecord) -> bool:
        """Tell whether the documents of a comparison are within the tolerance."""
        free = self.free_documents / record.documents
        return (
            record.largest_logit_difference <= self.logit_difference
            and 1.0 - record.label_agreement <= max(self.changed_labels, free) + 1e-9
            and -record.accuracy_change <= max(self.accuracy_drop, free) + 1e-9
        )


TOLERANCES = {
    "fp32": Tolerance(1e-3, 0.0, 0.0, 0),
    "fp16": Tolerance(0.25, 0.01, 0.005, 1),
    "bf16": Tolerance(0.5, 0.02, 0.005, 1),
    "int8": Tolerance(1.0, 0.03, 0.005, 1),
}


_FAR = 1e9
"""What stands for a difference that is not finite, since JSON has no infinity."""
MASK_TOLERANCE = 1e-2
"""Largest change of a logit by what stands under the mask, in floating point."""


@dataclass(frozen=True, slots=True)
class LengthParity:
    """How close a target came on the documents of one range of lengths.

    Attributes:
        minimum: Fewest tokens.
        maximum: Most tokens; None where nothing bounds them.
    """

    minimum: int
    maximum: int | None
    documents: int
    largest_logit_difference: float
    label_agreement: float
    accuracy_change: float
    macro_f1_change: float


@dataclass(frozen=True, slots=True)
class ParityRecord:
    """How close one target came.

    Attributes:
        target: `runtime:precision`.
        passed: Whether it is within the tolerance of its precision.
        largest_logit_difference: Over all documents and classes.
        label_agreement: Share of documents with the same label.
        accuracy_change: Target less reference, on the labelled documents.
        macro_f1_change: Target less reference.
        documents: How many were compared.
        tokens: How many tokens they have.
        worst_document: Id of the document with the largest logit difference.
        worst_document_tokens: How many tokens it has.
        by_length: The same figures for documents of similar length.
        grid_difference: Largest logit difference over the grid of shapes.
        grid_shape: The shape that it was found at.
        mask_difference: Largest change of a logit by what stands under the mask.
        allowed_drop: Points of accuracy that the user allowed, in place of the tolerance.
        details: What else is to be known of how the target was made.
    """

    target: str
    passed: bool
    largest_logit_difference: float
    label_agreement: float
    accuracy_change: float
    macro_f1_change: float
    documents: int
    tokens: int
    worst_document: str
    worst_document_tokens: int = 0
    by_length: tuple[LengthParity, ...] = ()
    grid_difference: float = 0.0
    grid_shape: str = ""
    mask_difference: float = 0.0
    allowed_drop: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as `parity.json` holds it."""
        return asdict(self)


class ParityCheck:
    """Real documents, and a grid of shapes, with the answers of the reference.

    Args:
        reference: The trained model in fp32.
        documents: Labelled validation documents.
        rule: How labels are decided.
        allow_drop: Points of accuracy that a reduced precision may lose; None leaves it to its
            tolerance. An fp32 target that differs is a broken graph, which nothing excuses.
    """

    def __init__(
        self,
        reference: Scorer,
        documents: Sequence[Document],
        rule: DecisionRule,
        allow_drop: float | None = None,
    ) -> None:
        self.documents = documents
        self._rule = rule
        self._allow_drop = allow_drop
        self._true = LabelMap(rule.labels, rule.problem_type).targets(documents)
        self._segmented = reference.segment(documents)
        self._tokens = np.array([item.coverage.tokens_used for item in self._segmented])
        self._logits = self._score(reference)
        self._grid = _grid_of(reference)

    def compare(
        self, target: str, scorer: Scorer, details: dict[str, Any] | None = None
    ) -> ParityRecord:
        """Compare a target with the reference.

        Args:
            target: `runtime:precision`; the precision decides the tolerance.
            scorer: The target with the reference's segmenter.
            details: What else is to be recorded of it.
        """
        precision = precision_of(target)
        logits = self._score(scorer)
        # A NaN is as far from the reference as can be written.
        differences = np.nan_to_num(np.abs(logits - self._logits), nan=_FAR, posinf=_FAR)
        differences = differences.max(axis=1)
        worst = int(differences.argmax())
        backend = scorer.encoder_backend
        grid = None if self._grid is None or backend is None else self._grid.compare(backend)
        everywhere = np.ones(len(self.documents), dtype=bool)
        record = ParityRecord(
            target=target,
            passed=False,
            **self._figures(everywhere, logits, differences),
            tokens=int(self._tokens.sum()),
            worst_document=self.documents[worst].id,
            worst_document_tokens=int(self._tokens[worst]),
            by_length=self._by_length(logits, differences),
            grid_difference=0.0 if grid is None else min(grid.difference, _FAR),
            grid_shape="" if grid is None else grid.shape,
            mask_difference=0.0 if grid is None else min(grid.mask_difference, _FAR),
            allowed_drop=None if precision == "fp32" else self._allow_drop,
            details=details or {},
        )
        return replace(record, passed=_allows(record, precision))

    def _by_length(self, logits: Floats, differences: Floats) -> tuple[LengthParity, ...]:
        edges = (0, *LENGTH_BUCKETS, None)
        found = []
        for minimum, maximum in pairwise(edges):
            assert minimum is not None
            inside = (self._tokens >= minimum) & (self._tokens < (maximum or np.inf))
            if inside.any():
                figures = self._figures(inside, logits, differences)
                found.append(LengthParity(minimum, maximum, **figures))
        return tuple(found)

    def _figures(self, chosen: Booleans, logits: Floats, differences: Floats) -> dict[str, Any]:
        """Return the figures that a record has, of some of the documents."""
        reference, labels = self._decide(self._logits[chosen]), self._decide(logits[chosen])
        true, classes = self._true[chosen], len(self._rule.labels)
        return {
            "documents": int(chosen.sum()),
            "largest_logit_difference": float(differences[chosen].max()),
            "label_agreement": accuracy(reference, labels),
            "accuracy_change": accuracy(true, labels) - accuracy(true, reference),
            "macro_f1_change": macro_f1(true, labels, classes) - macro_f1(true, reference, classes),
        }

    def _score(self, scorer: Scorer) -> Floats:
        return scorer.score_segmented(self._segmented).logits

    def _decide(self, logits: Floats) -> Targets:
        # A NaN decides nothing and is reported by the difference of the logits.
        return self._rule.decide(np.nan_to_num(logits))


def _grid_of(reference: Scorer) -> ShapeGrid | None:
    """Return the grid of shapes of an encoder; a model without one has no shapes."""
    if not isinstance(reference, NeuralScorer):
        return None
    segmenter = reference.segmenter
    return ShapeGrid(
        reference.backend, segmenter.settings.segment_length, segmenter.tokenizer.vocabulary_size
    )


def _allows(record: ParityRecord, precision: str) -> bool:
    """Tell whether a target may be used."""
    finite = max(record.largest_logit_difference, record.grid_difference) < _FAR
    if not finite or reads_masked(record):
        return False
    if record.allowed_drop is not None:
        return -100.0 * record.accuracy_change <= record.allowed_drop + 1e-9
    within = record.grid_difference <= logit_tolerance(precision)
    return within and TOLERANCES[precision].allows(record)


def precision_of(target: str) -> str:
    """Return the precision that decides the tolerance: `int8` of `openvino:int8-static`."""
    return target.partition(":")[2].partition("-")[0]


def reads_masked(record: ParityRecord) -> bool:
    """Tell whether a target's answers depend on what stands under the mask.

    An int8 that takes one scale for all of a batch gives slightly other answers in other company,
    without reading it: there the change must stay within what int8 may cost on random tokens.
    """
    precision = precision_of(record.target)
    allowed = logit_tolerance(precision) if precision == "int8" else MASK_TOLERANCE
    return record.mask_difference > allowed


def decided_by_logits(record: ParityRecord) -> bool:
    """Tell whether labels changed more than tolerated, on too few documents for it to count."""
    return not replace(TOLERANCES[precision_of(record.target)], free_documents=0).allows(record)


def require_parity(record: ParityRecord) -> None:
    """Refuse a target that the user cannot do without.

    Raises:
        ParityError: The record says that it is not close enough.
    """
    if record.passed:
        return
    precision = record.target.partition(":")[2]
    fix = "Nothing was written. "
    if reads_masked(record) or precision == "fp32":
        fix += "The graph is wrong: try another torch or onnxruntime version, and report this."
    else:
        fix += (
            "Take another precision, or allow the loss knowingly with --allow-drop and the points "
            "of accuracy that it may cost."
        )
    raise ParityError(
        f"The export '{record.target}' must give the answers of the trained model.",
        found=describe_difference(record),
        fix=fix,
    )


def describe_difference(record: ParityRecord) -> str:
    """Say how far a target is from the reference, and where."""
    parts = [
        f"a largest logit difference of {record.largest_logit_difference:.3g} (document "
        f"'{record.worst_document}' of {record.worst_document_tokens:,} tokens)",
        f"{100 * record.label_agreement:.2f} % of {record.documents} documents with the same label",
        f"{100 * record.accuracy_change:+.2f} points of accuracy",
    ]
    if record.grid_shape:
        parts.append(f"{record.grid_difference:.3g} on random tokens ({record.grid_shape})")
    if reads_masked(record):
        parts.append(
            f"logits that change by {record.mask_difference:.3g} with what stands under the "
            "mask, which must not be read"
        )
    return ", ".join(parts)


def choose_documents(
    documents: Sequence[Document], segmenter: Segmenter, count: int | None
) -> list[Document]:
    """Choose validation documents for the comparison, the first ones that fit a short time.

    Args:
        documents: All validation documents.
        segmenter: Counts their tokens.
        count: So many; None takes documents until `DEFAULT_TOKENS`, at least
            `MINIMUM_DOCUMENTS`.
    """
    if count is not None:
        return list(documents[:count])
    chosen: list[Document] = []
    tokens = 0
    for document in documents[:MAXIMUM_DOCUMENTS]:
        if len(chosen) >= MINIMUM_DOCUMENTS and tokens >= DEFAULT_TOKENS:
            break
        chosen.append(document)
        texts = [document.text, document.text_pair or ""]
        tokens += sum(item.coverage.tokens_used for item in segmenter.segment_batch(texts))
    return chosen
