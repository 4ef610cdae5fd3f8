"""Which documents are put to the last stage of a cascade as well, and what came of it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from longform.decision.audit import RATE, Audit
from longform.decision.certificate import Certificate
from longform.inference.scorer import CascadeStatistics
from longform.types import Document

logger = logging.getLogger(__name__)

_MOST_WAITING = 64
"""Further ones are not drawn while so many wait: memory stays bounded, the sample is smaller."""

Answer = tuple[int, ...]
"""Index of the label given, or of each label whether it was."""


@dataclass(frozen=True, slots=True)
class AuditedDocument(Document):
    """A document that stopped early and is now put to the last stage as well.

    Attributes:
        answer: That it was given.
        margin: Confidence of the first step.
    """

    answer: Answer = ()
    margin: float = 0.0


class Auditor:
    """Counts what a cascade answers, draws documents, and switches the cascade off. Thread-safe.

    Args:
        certificate: What the answers are held to.
        rate: Share of documents that is drawn.
        seed: Of the draw; None draws anew in each process.
    """

    def __init__(
        self, certificate: Certificate, rate: float = RATE, seed: int | None = None
    ) -> None:
        self.audit = Audit(certificate.audited_share, certificate.unsure)
        self._is_certified = certificate.is_certified
        self._rate = rate
        self._random = np.random.default_rng(seed)
        self._waiting: deque[AuditedDocument] = deque()
        self._early_exits = [0] * len(certificate.stages)
        self._documents = 0
        self._lock = threading.Lock()

    @property
    def is_active(self) -> bool:
        """Whether documents may stop early: something is certified, and the audit is content."""
        return self._is_certified and not self.audit.has_fired

    @property
    def statistics(self) -> CascadeStatistics:
        """What stopped where so far, and what the audit found."""
        with self._lock:
            return CascadeStatistics(
                documents=self._documents,
                early_exits=tuple(self._early_exits),
                audited=self.audit.exits,
                disagreements=self.audit.disagreements,
                is_active=self.is_active,
            )

    def note_answer(
        self, document: Document, stage: int, margin: float, early_answer: Answer | None
    ) -> None:
        """Count an answer, and draw the document or not.

        Args:
            document: That was answered.
            stage: Which answered.
            margin: Confidence of the first step.
            early_answer: What was answered early; None where the last step answered.
        """
        with self._lock:
            self._documents += 1
            self._early_exits[stage] += early_answer is not None
            if not self.is_active or len(self._waiting) >= _MOST_WAITING:
                return
            if self._random.random() >= self._rate:
                return
            if early_answer is None:
                # The last stage has spoken already.
                self._add(margin, None)
                return
            self._waiting.append(
                AuditedDocument(
                    document.id,
                    document.text,
                    text_pair=document.text_pair,
                    answer=early_answer,
                    margin=margin,
                )
            )

    def note_audit(self, document: AuditedDocument, answer: Answer) -> None:
        """Take what the last stage says of a document that was drawn."""
        with self._lock:
            self._add(document.margin, answer != document.answer)

    def take(self) -> list[Document]:
        """Hand out what waits for the last stage."""
        with self._lock:
            handed_out: list[Document] = list(self._waiting)
            self._waiting.clear()
        return handed_out

    def _add(self, margin: float, disagrees: bool | None) -> None:
        was_active = self.is_active
        self.audit.add(margin, disagrees)
        if was_active and not self.is_active:
            logger.warning(
                "The cascade is switched off: every document goes to the last stage. %s. The "
                "documents are no longer those that were certified: certify with newer ones.",
                self.audit.describe(),
            )
