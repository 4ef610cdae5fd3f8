"""The scorer of neural models: segments of all documents share the encoder's batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from longform.backends.base import Backend, BackendInfo, DeviceState
from longform.decision.evidence import DEFAULT_OPTIONS, EvidenceOptions, Found, leave_one_out
from longform.decision.rule import DecisionRule
from longform.inference.cache import CacheStatistics, SegmentCache
from longform.inference.golden import check_golden
from longform.inference.linear import LinearScorer
from longform.inference.packing import collate_segments, pack_segments, stack_documents
from longform.inference.scorer import EncodedSegments, Reading, Scorer
from longform.inference.token_split import Explainers, add_exact, direction_of, split_neural
from longform.shapes import ShapePlan
from longform.text.documents import segment_documents
from longform.text.segmenter import Segmenter
from longform.types import (
    Document,
    Floats,
    Segment,
    SegmentBatch,
    SegmentedDocument,
    TokenSplit,
)


@dataclass(frozen=True, slots=True, eq=False)
class StackedSegment(Segment):
    """A segment of a document that a linear model has read whole.

    Attributes:
        linear_logits: float32 `[classes]`, the same for all segments of the document.
    """

    linear_logits: Floats = field(default_factory=lambda: np.zeros(0, dtype=np.float32))


class NeuralScorer(Scorer):
    """A segmenter and a backend.

    Args:
        segmenter: The one that the model was trained with.
        backend: Runs the encoder and the head.
        pairs: Whether the model judges two texts together.
        plan: The shapes that segments are padded to; None pads to the longest of a batch.
        cache: Vectors of segments that were read before.
        golden: The bundle's file of known answers; None where there is none.
        linear: The linear model beneath, whose logits are added to those of the head.
        explainers: What can look into the model.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        backend: Backend,
        *,
        pairs: bool = False,
        plan: ShapePlan | None = None,
        cache: SegmentCache | None = None,
        golden: Path | None = None,
        linear: LinearScorer | None = None,
        explainers: Explainers | None = None,
    ) -> None:
        self.segmenter = segmenter
        self.backend = backend
        self.pairs = pairs
        self.plan = plan
        self.cache = cache
        self.golden = golden
        self.linear = linear
        self.explainers = explainers or Explainers()
        self.devices = backend.devices

    @property
    def info(self) -> BackendInfo:
        """What the model runs on."""
        return self.backend.info

    @property
    def vector_width(self) -> int:
        """Width of the vectors, with the logits of the linear model beneath."""
        beneath = 0 if self.linear is None else self.linear.model.classes
        return self.backend.info.vector_size + beneath

    @property
    def encoder_backend(self) -> Backend:
        """The runtime of the encoder and the head."""
        return self.backend

    @property
    def is_available(self) -> bool:
        """Whether a device takes batches now."""
        return self.backend.is_available

    @property
    def device_states(self) -> list[DeviceState]:
        """The devices in processes of their own."""
        return self.backend.device_states

    @property
    def cache_statistics(self) -> CacheStatistics | None:
        """What the cache of segment vectors did so far; None without one."""
        return None if self.cache is None else self.cache.statistics

    def score_readings(self, vectors: list[Floats], positions: list[Floats]) -> Floats:
        """Run the head; see `Scorer.score_readings`."""
        if self.linear is None:
            return self.backend.score(*stack_documents(vectors, positions))
        width = self.backend.info.vector_size
        own = [rows[:, :width] for rows in vectors]
        # Every segment of a document carries the same.
        beneath = np.stack([rows[0, width:] for rows in vectors])
        logits: Floats = self.backend.score(*stack_documents(own, positions)) + beneath
        return logits

    def segment(self, documents: Sequence[Document]) -> list[SegmentedDocument]:
        """Cut documents into segments; see `Scorer.segment`."""
        segmented = list(segment_documents(self.segmenter, documents, pairs=self.pairs))
        if self.linear is None:
            return segmented
        logits = self.linear.score(documents).logits
        return [_stack(*pair) for pair in zip(segmented, logits, strict=True)]

    def evidence(
        self,
        document: Document,
        reading: Reading,
        rule: DecisionRule,
        options: EvidenceOptions = DEFAULT_OPTIONS,
    ) -> Found:
        """Leave parts out, and split the logits where they are a sum; see `Scorer.evidence`."""
        positions, split = reading.document.positions, None
        if self.explainers.segments is not None:
            width = self.backend.info.vector_size
            split = self.explainers.segments(reading.vectors[:, :width], positions)
            if self.linear is not None:
                split = replace(split, base=split.base + reading.vectors[0, width:])
        return leave_one_out(
            reading.document, reading.vectors, self.score_readings, rule, options, split
        )

    def token_split(
        self, document: Document, reading: Reading, rule: DecisionRule, label: str
    ) -> TokenSplit | None:
        """Integrate gradients of the trained model; see `Scorer.token_split`.

        Raises:
            MissingExtraError: torch or transformers is not installed.
        """
        gradients = self.explainers.gradients
        if gradients is None:
            return None
        row, one_logit = rule.labels.index(label), gradients.has_one_logit
        direction = direction_of(row, len(rule.labels), one_logit=one_logit)
        split = split_neural(gradients, self.segmenter, document, reading.document, direction)
        if self.linear is None:
            return split
        return add_exact(split, self.linear.split_along(document, direction))

    def attention(self, reading: Reading) -> Floats | None:
        """Ask the aggregator of the trained model; see `Scorer.attention`.

        Raises:
            MissingExtraError: torch or transformers is not installed.
        """
        gradients = self.explainers.gradients
        if gradients is None:
            return None
        own = reading.vectors[:, : self.backend.info.vector_size]
        return gradients.attention(own, reading.document.positions)

    def warm_up(self) -> None:
        """Run the largest segment once."""
        self.backend.warm_up(self.segmenter.settings.segment_length)

    def check_golden(self) -> float:
        """Compare with the bundle's known answers; see `Scorer.check_golden`."""
        assert self.golden is not None
        # Not through the cache: what runs now is judged, not what an earlier process kept.
        plain = NeuralScorer(
            self.segmenter, self.backend, pairs=self.pairs, plan=self.plan, linear=self.linear
        )
        return check_golden(self.golden, plain)

    def close(self) -> None:
        """Free the backend, and the cache's file."""
        self.backend.close()
        if self.cache is not None:
            self.cache.close()

    def encode_segments(self, segments: Sequence[Segment]) -> EncodedSegments:
        """Encode segments of any documents, in batches of similar lengths."""
        encoded = self._encode(segments) if self.cache is None else self._encode_new(segments)
        if self.linear is None:
            return encoded
        beneath = np.stack([self._beneath(segment) for segment in segments])
        return replace(encoded, vectors=np.concatenate([encoded.vectors, beneath], axis=1))

    def complete(
        self, documents: Sequence[SegmentedDocument], vectors: Sequence[Floats]
    ) -> list[Floats]:
        """Make vectors that an encoder gave, and a store kept, those that the head wants.

        Args:
            documents: As `segment` cut them.
            vectors: float32 `[segments, width]` of each document.
        """
        if self.linear is None:
            return list(vectors)
        return [
            np.concatenate([rows, [self._beneath(item) for item in document.segments]], axis=1)
            for rows, document in zip(vectors, documents, strict=True)
        ]

    def _beneath(self, segment: Segment) -> Floats:
        assert self.linear is not None
        if isinstance(segment, StackedSegment):
            return segment.linear_logits
        # Random token ids, as golden documents have them, are no text to be read by words.
        return np.zeros(self.linear.model.classes, dtype=np.float32)

    def _encode_new(self, segments: Sequence[Segment]) -> EncodedSegments:
        """Encode what the cache lacks, each content once."""
        assert self.cache is not None
        digests = [self.cache.digest(segment) for segment in segments]
        known = self.cache.find(digests)
        missing = {
            digest: segment
            for digest, segment in zip(digests, segments, strict=True)
            if digest not in known
        }
        tokens = padded_tokens = 0
        if missing:
            encoded = self._encode(list(missing.values()))
            tokens, padded_tokens = encoded.tokens, encoded.padded_tokens
            self.cache.store(list(missing), encoded.vectors)
            known |= dict(zip(missing, encoded.vectors, strict=True))
        vectors = np.stack([known[digest] for digest in digests])
        return EncodedSegments(vectors, tokens, padded_tokens, len(segments) - len(missing))

    def _encode(self, segments: Sequence[Segment]) -> EncodedSegments:
        backend, pad_id = self.backend, self.segmenter.tokenizer.pad_id
        rows = np.empty((len(segments), backend.info.vector_size), dtype=np.float32)
        lengths = [len(segment.token_ids) for segment in segments]
        packed = list(pack_segments(lengths, backend.token_budget, self.plan, backend.streams))
        padded_tokens = 0

        def collate() -> Iterator[SegmentBatch]:
            nonlocal padded_tokens
            for batch in packed:
                collated = collate_segments([segments[index] for index in batch], pad_id, self.plan)
                padded_tokens += collated.input_ids.size
                yield collated

        for batch, vectors in zip(packed, backend.encode_all(collate()), strict=True):
            rows[batch] = vectors
        return EncodedSegments(rows, sum(lengths), padded_tokens)


def _stack(document: SegmentedDocument, logits: Floats) -> SegmentedDocument:
    segments = tuple(
        StackedSegment(item.start, item.end, item.token_ids, item.new_tokens, logits)
        for item in document.segments
    )
    return replace(document, segments=segments)
