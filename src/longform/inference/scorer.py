"""The contract between texts and decisions: documents in, raw logits and coverage out."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from longform.backends.base import Backend, BackendInfo, DeviceState
from longform.decision.evidence import DEFAULT_OPTIONS, EvidenceOptions, Found, leave_one_out
from longform.decision.rule import DecisionRule
from longform.inference.cache import CacheStatistics
from longform.inference.packing import split_by_document
from longform.types import (
    Coverage,
    Document,
    Exit,
    Floats,
    Segment,
    SegmentedDocument,
    TokenSplit,
)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a scorer says of some documents, in the order they came.

    Attributes:
        logits: float32 `[docs, classes]`.
        coverage: One per document.
        tokenize_seconds: Time spent on segmenting.
        infer_seconds: Time spent in the encoder and the head.
        exits: Of a cascade, where each document stopped; None of other models.
    """

    logits: Floats
    coverage: tuple[Coverage, ...]
    tokenize_seconds: float = 0.0
    infer_seconds: float = 0.0
    exits: tuple[Exit | None, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One document as the encoder read it, for what needs more than the logits.

    Attributes:
        document: Its segments.
        vectors: float32 `[segments, width]`.
    """

    document: SegmentedDocument
    vectors: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Further:
    """What has to be read before a document can be answered.

    Attributes:
        document: Takes the place of what was read so far.
        kept: Of its segments, so many at the beginning are the first ones of what was read so
            far, in the same order: their vectors are there.
    """

    document: SegmentedDocument
    kept: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What a scorer says of one document that it has read.

    Attributes:
        logits: float32 `[classes]`.
        coverage: Of what they rest on.
        exit: Of a cascade, where it stopped.
    """

    logits: Floats
    coverage: Coverage
    exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class CascadeStatistics:
    """What a cascade did since it was opened.

    Attributes:
        documents: Answered.
        early_exits: Of these, those that each stage answered early; the last one after a part of
            the reading.
        audited: Early exits that were put to the last stage as well.
        disagreements: Of these, those that it answered otherwise.
        is_active: Whether documents may stop early.
    """

    documents: int
    early_exits: tuple[int, ...]
    audited: int
    disagreements: int
    is_active: bool


@dataclass(frozen=True, slots=True, eq=False)
class EncodedSegments:
    """The vectors of segments and what they cost.

    Attributes:
        vectors: float32 `[segments, width]`.
        tokens: Tokens that went through the encoder; those of cached segments did not.
        padded_tokens: The same with the padding of their batches.
        cached: Segments whose vectors were found.
    """

    vectors: Floats
    tokens: int
    padded_tokens: int
    cached: int = 0


def gather_verdicts(verdicts: Sequence[Verdict]) -> Scores:
    """Return what was said of documents one by one as scores of all."""
    exits = tuple(verdict.exit for verdict in verdicts)
    return Scores(
        logits=np.stack([verdict.logits for verdict in verdicts]),
        coverage=tuple(verdict.coverage for verdict in verdicts),
        exits=exits if any(where is not None for where in exits) else None,
    )


class Scorer(ABC):
    """Whatever turns documents into logits: the predictor and the server know nothing else.

    A document becomes segments, which are encoded in batches whatever document they are of, and
    the vectors of a document become its logits. What a segment is, and its vector, is the scorer's
    own business.

    Attributes:
        devices: Batches that may be encoded at once, each called from a thread of its own.
    """

    devices = 1

    @property
    @abstractmethod
    def info(self) -> BackendInfo:
        """What the model runs on."""

    @property
    def vector_width(self) -> int:
        """Width of the vectors that `encode_segments` gives."""
        return self.info.vector_size

    @property
    def encoder_backend(self) -> Backend | None:
        """The runtime of the encoder and the head; None for a model that needs none."""
        return None

    @property
    def is_available(self) -> bool:
        """Whether a device takes batches now; one in this process always does."""
        return True

    @property
    def device_states(self) -> list[DeviceState]:
        """The devices in processes of their own."""
        return []

    @property
    def cache_statistics(self) -> CacheStatistics | None:
        """What the cache of segment vectors did so far; None without one."""
        return None

    @property
    def cascade_statistics(self) -> CascadeStatistics | None:
        """What stopped early so far; None of a model that is no cascade."""
        return None

    @abstractmethod
    def segment(self, documents: Sequence[Document]) -> list[SegmentedDocument]:
        """Cut documents into segments, of which each has one at least.

        Raises:
            InputError: A document has no token to read, or not the texts that the model wants.
        """

    @abstractmethod
    def encode_segments(self, segments: Sequence[Segment]) -> EncodedSegments:
        """Encode segments of any documents."""

    @abstractmethod
    def score_readings(self, vectors: list[Floats], positions: list[Floats]) -> Floats:
        """Score what was read before.

        Args:
            vectors: float32 `[segments, width]` of each document.
            positions: float32 `[segments, 4]` of each document.

        Returns:
            Logits, float32 `[docs, classes]`.
        """

    def conclude(self, readings: Sequence[Reading]) -> list[Verdict | Further]:
        """Score documents whose segments are encoded, or ask for further segments of them.

        Only a document that was read as it was asked for is read further: not one of which a
        part was read, for a running answer or because its time was up.
        """
        logits = self.score_readings(
            [reading.vectors for reading in readings],
            [reading.document.positions for reading in readings],
        )
        return [
            Verdict(row, reading.document.coverage)
            for row, reading in zip(logits, readings, strict=True)
        ]

    def pending_audits(self) -> list[Document]:
        """Hand out documents to be read once more at leisure, to check on answers that were given.

        They are answered like any other, and the scorer takes note of it. None for most models.
        """
        return []

    @abstractmethod
    def check_golden(self) -> float:
        """Compare this machine's answers with those stored in the bundle.

        Returns:
            The largest logit difference.

        Raises:
            ParityError: It is beyond the tolerance of the precision.
        """

    @abstractmethod
    def warm_up(self) -> None:
        """Run once what the largest segment needs, so that the first answer is a fast one."""

    def close(self) -> None:  # noqa: B027 - most scorers hold nothing beyond the object
        """Free what is held. Calling it twice is fine."""

    def encode(self, documents: Sequence[SegmentedDocument]) -> list[Floats]:
        """Return float32 `[segments, width]` for each document."""
        segments = [segment for document in documents for segment in document.segments]
        return split_by_document(self.encode_segments(segments).vectors, documents)

    def score(self, documents: Sequence[Document]) -> Scores:
        """Score documents together.

        Raises:
            InputError: A document has no token to read; the message names it.
        """
        started = time.perf_counter()
        segmented = self.segment(documents)
        seconds = time.perf_counter() - started
        return replace(self.score_segmented(segmented), tokenize_seconds=seconds)

    def score_segmented(self, documents: Sequence[SegmentedDocument]) -> Scores:
        """Score documents that were segmented before."""
        started = time.perf_counter()
        vectors = self.encode(documents)
        logits = self.score_readings(vectors, [document.positions for document in documents])
        return Scores(
            logits=logits,
            coverage=tuple(document.coverage for document in documents),
            infer_seconds=time.perf_counter() - started,
        )

    def read(self, documents: Sequence[Document]) -> list[Reading]:
        """Encode documents without scoring them."""
        segmented = self.segment(documents)
        vectors = self.encode(segmented)
        return [Reading(*pair) for pair in zip(segmented, vectors, strict=True)]

    def evidence(
        self,
        document: Document,
        reading: Reading,
        rule: DecisionRule,
        options: EvidenceOptions = DEFAULT_OPTIONS,
    ) -> Found:
        """Tell how much the answer rests on each part of a document; see `leave_one_out`.

        Args:
            document: As it was given.
            reading: What was read of it.
            rule: As in the prediction that is explained.
            options: What is asked for.

        Returns:
            The parts in reading order, and what their figures mean.

        Raises:
            InputError: The label that is asked for is not one of the model's.
        """
        return leave_one_out(reading.document, reading.vectors, self.score_readings, rule, options)

    def token_split(
        self, document: Document, reading: Reading, rule: DecisionRule, label: str
    ) -> TokenSplit | None:
        """Split the logit of a label over the tokens of a document.

        Args:
            document: As it was given.
            reading: What was read of it.
            rule: As in the prediction that is explained.
            label: One of the rule's.

        Returns:
            None where the bundle does not have what that takes.
        """
        return None

    def attention(self, reading: Reading) -> Floats | None:
        """Return how much each segment counts for each head of the aggregator `attention`.

        Args:
            reading: What was read of a document.

        Returns:
            float32 `[segments, heads]`, each head's weights summing to 1; None of a model that
            has no such weights, or whose bundle does not have what that takes.
        """
        return None
