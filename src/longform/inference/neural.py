"""The scorer of this project: segments of all documents share the encoder's batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from longform.backends.base import Backend
from longform.inference.cache import SegmentCache
from longform.inference.packing import (
    collate_segments,
    pack_segments,
    split_by_document,
    stack_documents,
)
from longform.inference.scorer import Reading, Scores
from longform.shapes import ShapePlan
from longform.text.documents import segment_documents
from longform.text.segmenter import Segmenter
from longform.types import Document, Floats, Segment, SegmentBatch, SegmentedDocument


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


class NeuralScorer:
    """A segmenter and a backend.

    Args:
        segmenter: The one that the model was trained with.
        backend: Runs the encoder and the head.
        pairs: Whether the model judges two texts together.
        plan: The shapes that segments are padded to; None pads to the longest of a batch.
        cache: Vectors of segments that were read before.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        backend: Backend,
        *,
        pairs: bool = False,
        plan: ShapePlan | None = None,
        cache: SegmentCache | None = None,
    ) -> None:
        self.segmenter = segmenter
        self.backend = backend
        self.pairs = pairs
        self.plan = plan
        self.cache = cache

    def score(self, documents: Sequence[Document]) -> Scores:
        """Score documents together; see `Scorer.score`."""
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
        """Encode documents; see `Scorer.read`."""
        segmented = self.segment(documents)
        vectors = self.encode(segmented)
        return [Reading(*pair) for pair in zip(segmented, vectors, strict=True)]

    def score_readings(self, vectors: list[Floats], positions: list[Floats]) -> Floats:
        """Run the head; see `Scorer.score_readings`."""
        return self.backend.score(*stack_documents(vectors, positions))

    def segment(self, documents: Sequence[Document]) -> list[SegmentedDocument]:
        """Cut documents into segments.

        Raises:
            InputError: A document has no token to read, or not the texts that the model wants.
        """
        return list(segment_documents(self.segmenter, documents, pairs=self.pairs))

    def encode(self, documents: Sequence[SegmentedDocument]) -> list[Floats]:
        """Return float32 `[segments, width]` for each document."""
        segments = [segment for document in documents for segment in document.segments]
        return split_by_document(self.encode_segments(segments).vectors, documents)

    def encode_segments(self, segments: Sequence[Segment]) -> EncodedSegments:
        """Encode segments of any documents, in batches of similar lengths."""
        return self._encode(segments) if self.cache is None else self._encode_new(segments)

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
