"""The gate: a target gives the reference's answers, or it is refused.

Compared are logits, not labels, of real validation documents read from their text, on top of the
golden shapes that travel with the bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from longform.data.labels import LabelMap
from longform.decision.rule import DecisionRule
from longform.errors import ParityError
from longform.evaluation.metrics import accuracy, macro_f1
from longform.inference.neural import NeuralScorer
from longform.text.segmenter import Segmenter
from longform.types import Document, Floats, Targets

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
        """Tell whether a comparison is within the tolerance."""
        free = self.free_documents / record.documents
        return (
            record.largest_logit_difference <= self.logit_difference
            and 1.0 - record.label_agreement <= max(self.changed_labels, free) + 1e-9
            and -record.accuracy_change <= max(self.accuracy_drop, free) + 1e-9
        )


TOLERANCES = {
    "fp32": Tolerance(1e-3, 0.0, 0.0, 0),
    "bf16": Tolerance(0.5, 0.02, 0.005, 1),
    "int8": Tolerance(1.0, 0.03, 0.005, 1),
}


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

    def as_dict(self) -> dict[str, Any]:
        """Return the record as `parity.json` holds it."""
        return asdict(self)


class ParityCheck:
    """Real documents with the answers of the reference.

    Args:
        reference: The trained model in fp32.
        documents: Labelled validation documents.
        rule: How labels are decided.
    """

    def __init__(
        self, reference: NeuralScorer, documents: Sequence[Document], rule: DecisionRule
    ) -> None:
        self.documents = documents
        self._rule = rule
        self._true = LabelMap(rule.labels, rule.problem_type).targets(documents)
        self._segmented = reference.segment(documents)
        self._logits = self._score(reference)

    def compare(self, target: str, scorer: NeuralScorer) -> ParityRecord:
        """Compare a target with the reference.

        Args:
            target: `runtime:precision`; the precision decides the tolerance.
            scorer: The target with the reference's segmenter.
        """
        logits = self._score(scorer)
        differences = np.abs(logits - self._logits).max(axis=1)
        worst = int(differences.argmax())
        reference_labels, labels = self._decide(self._logits), self._decide(logits)
        record = ParityRecord(
            target=target,
            passed=False,
            # A NaN is as far from the reference as can be written.
            largest_logit_difference=float(np.nan_to_num(differences[worst], nan=1e9)),
            label_agreement=accuracy(reference_labels, labels),
            accuracy_change=self._accuracy(labels) - self._accuracy(reference_labels),
            macro_f1_change=self._macro_f1(labels) - self._macro_f1(reference_labels),
            documents=len(self.documents),
            tokens=sum(document.coverage.tokens_used for document in self._segmented),
            worst_document=self.documents[worst].id,
        )
        tolerance = TOLERANCES[target.partition(":")[2]]
        return replace(record, passed=tolerance.allows(record))

    def _score(self, scorer: NeuralScorer) -> Floats:
        return scorer.score_segmented(self._segmented).logits

    def _decide(self, logits: Floats) -> Targets:
        # A NaN decides nothing and is reported by the difference of the logits.
        return self._rule.decide(np.nan_to_num(logits))

    def _accuracy(self, labels: Targets) -> float:
        return accuracy(self._true, labels)

    def _macro_f1(self, labels: Targets) -> float:
        return macro_f1(self._true, labels, len(self._rule.labels))


def require_parity(record: ParityRecord) -> None:
    """Refuse a target that the user cannot do without.

    Raises:
        ParityError: The record says that it is not close enough.
    """
    if not record.passed:
        raise ParityError(
            f"The export '{record.target}' must give the answers of the trained model.",
            found=f"a largest logit difference of {record.largest_logit_difference:.3g} (document "
            f"'{record.worst_document}'), {100 * record.label_agreement:.2f} % of "
            f"{record.documents} documents with the same label",
            fix="Nothing was written. Try another torch or onnxruntime version, and report this.",
        )


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
