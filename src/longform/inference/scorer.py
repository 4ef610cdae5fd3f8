"""The contract between texts and decisions: documents in, raw logits and coverage out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from longform.types import Coverage, Document, Floats, SegmentedDocument


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a scorer says of some documents, in the order they came.

    Attributes:
        logits: float32 `[docs, classes]`.
        coverage: One per document.
        tokenize_seconds: Time spent on segmenting.
        infer_seconds: Time spent in the encoder and the head.
    """

    logits: Floats
    coverage: tuple[Coverage, ...]
    tokenize_seconds: float = 0.0
    infer_seconds: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One document as the encoder read it, for what needs more than the logits.

    Attributes:
        document: Its segments.
        vectors: float32 `[segments, width]`.
    """

    document: SegmentedDocument
    vectors: Floats


class Scorer(Protocol):
    """Whatever turns documents into logits: the predictor and the server know nothing else."""

    def score(self, documents: Sequence[Document]) -> Scores:
        """Score documents together.

        Raises:
            InputError: A document has no token to read; the message names it.
        """

    def read(self, documents: Sequence[Document]) -> list[Reading]:
        """Encode documents without scoring them."""

    def score_readings(self, vectors: list[Floats], positions: list[Floats]) -> Floats:
        """Score what was read before: `[segments, width]` and `[segments, 4]` each -> logits."""
