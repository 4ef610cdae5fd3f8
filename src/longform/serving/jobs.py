"""One request on its way through the server: what it wants, how far it is, when it must be done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from longform.decision.evidence import EvidenceOptions
from longform.errors import InputError, LongformError
from longform.inference.scorer import Further, Reading
from longform.types import Booleans, Document, Floats, Prediction, Segment, SegmentedDocument


class Weight(IntEnum):
    """Turns that a request has, in the time that another has one."""

    LOW = 1
    NORMAL = 4


@dataclass(frozen=True, slots=True)
class Progress:
    """The answer to one document of a request from what has been read of it so far.

    Attributes:
        index: The document's place in the request.
        prediction: Its coverage tells how far the reading is.
    """

    index: int
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What a request wants beside an answer.

    Attributes:
        evidence: How much each stretch of a document supports the answer, and in which way.
        raw_scores: Logits as scores.
        deadline_seconds: Time after which the answer rests on what has been read until then, one
            segment of each document at least.
        weight: Share of the encoder while others wait.
        on_progress: Called, on a thread of the service, as a document is read.
    """

    evidence: bool | EvidenceOptions = False
    raw_scores: bool = False
    deadline_seconds: float | None = None
    weight: Weight = Weight.NORMAL
    on_progress: Callable[[Progress], None] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request comes to, in the order of its documents.

    Attributes:
        outcomes: For each document its prediction, or why there is none.
        text_pair: Whether the documents are pairs of texts.
        tokenize_seconds: From its arrival until its documents are cut into segments.
        queue_seconds: Waiting for the encoder.
        encode_seconds: From its first segment's batch to the end of its last.
        head_seconds: Scoring the document vectors.
    """

    outcomes: list[Prediction | LongformError]
    text_pair: bool
    tokenize_seconds: float = 0.0
    queue_seconds: float = 0.0
    encode_seconds: float = 0.0
    head_seconds: float = 0.0

    @property
    def predictions(self) -> list[Prediction]:
        """One prediction per document.

        Raises:
            LongformError: What stands in the way of the first document that has none.
        """
        predictions = []
        for outcome in self.outcomes:
            if isinstance(outcome, LongformError):
                raise outcome
            predictions.append(outcome)
        return predictions

    @property
    def infer_seconds(self) -> float:
        """Cutting, encoding and scoring."""
        return self.tokenize_seconds + self.encode_seconds + self.head_seconds

    @property
    def total_seconds(self) -> float:
        """From arrival to answer."""
        return self.infer_seconds + self.queue_seconds


class DocumentReading:
    """How far the encoder is with one document.

    Args:
        segmented: Its segments.
    """

    def __init__(self, segmented: SegmentedDocument) -> None:
        self.segmented = segmented
        self.vectors: Floats | None = None
        self.taken = 0
        self.reported = 0
        self._done: Booleans = np.zeros(len(segmented.segments), dtype=np.bool_)
        self._before: tuple[SegmentedDocument, Floats] | None = None
        self._kept = 0

    @property
    def is_taken(self) -> bool:
        """Whether every segment has been handed to the encoder."""
        return self.taken == len(self._done)

    @property
    def is_read(self) -> bool:
        """Whether every segment has its vector."""
        return bool(self._done.all())

    @property
    def read_in_order(self) -> int:
        """Segments read without a gap, from the first on."""
        return len(self._done) if self.is_read else int(self._done.argmin())

    def rests_on(self, document: SegmentedDocument) -> bool:
        """Tell whether it is still that reading of the document."""
        return self.segmented is document

    def store(self, segment: int, vector: Floats) -> None:
        """Keep the vector of one segment, float32 `[width]`."""
        if self.vectors is None:
            self.vectors = np.zeros((len(self._done), len(vector)), dtype=np.float32)
        self.vectors[segment] = vector
        self._done[segment] = True

    def read_on(self, further: Further) -> int:
        """Read what the model asks for, after all else was read; return its tokens."""
        assert self.vectors is not None
        self._before = (self.segmented, self.vectors)
        self.segmented = further.document
        self.taken = self._kept = further.kept
        self._done = np.arange(len(further.document.segments)) < further.kept
        self.vectors = np.zeros((len(self._done), self.vectors.shape[1]), dtype=np.float32)
        self.vectors[: further.kept] = self._before[1][: further.kept]
        self.reported = further.kept
        return sum(len(segment.token_ids) for segment in further.document.segments[further.kept :])

    def stop(self) -> int:
        """Take no further segment but a first one; return the tokens that are left out.

        Where the model had asked for more and none of it was begun, the answer rests on what was
        read before.
        """
        if self._before is not None and self.taken == self._kept:
            left_out = self.segmented.segments[self.taken :]
            before, self.vectors = self._before
            self._done = np.ones(len(before.segments), dtype=np.bool_)
            self.taken = len(before.segments)
            self.segmented = before.stopped("deadline")
            return sum(len(segment.token_ids) for segment in left_out)
        kept = max(self.taken, 1)
        left = self.segmented.segments[kept:]
        if left:
            self.segmented = self.segmented.first(kept, "deadline")
            self._done = self._done[:kept]
        return sum(len(segment.token_ids) for segment in left)

    def reading(self) -> Reading:
        """Return what was read, for the head: the whole, or its part without a gap."""
        assert self.vectors is not None
        count = self.read_in_order
        whole = count == len(self.segmented.segments)
        document = self.segmented if whole else self.segmented.first(count, "streaming")
        return Reading(document, self.vectors[:count])


@dataclass(eq=False)
class Job:
    """One request.

    Attributes:
        documents: What is to be answered.
        options: What else is wanted.
        text_pair: Whether the documents are pairs.
        tokens: Tokens that still have to be encoded: estimated until the documents are cut.
        readings: For each document how far it is; None for one that cannot be read.
        outcomes: For each document what came of it.
        future: Resolved with the answer.
    """

    documents: Sequence[Document]
    options: JobOptions
    text_pair: bool
    tokens: int = 0
    readings: list[DocumentReading | None] = field(default_factory=list)
    outcomes: dict[int, Prediction | LongformError] = field(default_factory=dict)
    future: Future[Answer] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)
    tokenized: float = 0.0
    encode_began: float = 0.0
    encode_ended: float = 0.0
    head_seconds: float = 0.0
    _cursor: int = 0

    @property
    def characters(self) -> int:
        """Of all its texts."""
        return sum(len(item.text) + len(item.text_pair or "") for item in self.documents)

    @property
    def readable(self) -> list[Document]:
        """Its documents but those whose outcome is known before anything is read."""
        if not self.outcomes:
            return list(self.documents)
        return [item for index, item in enumerate(self.documents) if index not in self.outcomes]

    def has_to_stop(self, at: float) -> bool:
        """Tell whether its deadline is before a time on the monotonic clock."""
        wanted = self.options.deadline_seconds
        return wanted is not None and self.arrived + wanted < at

    @property
    def is_finished(self) -> bool:
        """Whether every document has its outcome."""
        return len(self.outcomes) == len(self.documents)

    def place(self, segmented: Sequence[SegmentedDocument | InputError]) -> None:
        """Take the segments of its readable documents, or what stood in the way."""
        self.tokenized = time.monotonic()
        self.readings = [None] * len(self.documents)
        waiting = [index for index in range(len(self.documents)) if index not in self.outcomes]
        self.tokens = 0
        for index, result in zip(waiting, segmented, strict=True):
            if isinstance(result, InputError):
                self.outcomes[index] = result
            else:
                self.readings[index] = DocumentReading(result)
                self.tokens += result.tokens

    def next_segment(self) -> tuple[int, int, Segment] | None:
        """Return the next segment to encode as (document, segment, itself); None after the last."""
        while self._cursor < len(self.readings):
            reading = self.readings[self._cursor]
            if reading is not None and not reading.is_taken:
                return self._cursor, reading.taken, reading.segmented.segments[reading.taken]
            self._cursor += 1
        return None

    def take(self) -> None:
        """Count what `next_segment` returned as handed to the encoder."""
        reading = self.readings[self._cursor]
        assert reading is not None
        reading.taken += 1

    def read_on(self, document: int, further: Further) -> None:
        """Take what has to be read before a document can be answered."""
        reading = self.readings[document]
        assert reading is not None
        self.tokens += reading.read_on(further)
        self._cursor = min(self._cursor, document)

    def stop(self) -> None:
        """Let the answer rest on what has been taken of each document, one segment at least."""
        for reading in self.readings:
            if reading is not None:
                self.tokens -= reading.stop()

    def answer(self) -> Answer:
        """Return the answer of a finished job."""
        began = self.encode_began or self.tokenized
        return Answer(
            [self.outcomes[index] for index in range(len(self.documents))],
            self.text_pair,
            tokenize_seconds=self.tokenized - self.arrived,
            queue_seconds=began - self.tokenized,
            encode_seconds=max(self.encode_ended - began, 0.0),
            head_seconds=self.head_seconds,
        )
