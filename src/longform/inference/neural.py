"""The scorer of this project: segments of all documents share the encoder's batches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

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
from longform.types import Document, Floats, Segment, SegmentedDocument


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
        encode = self._encode_segments if self.cache is None else self._encode_new
        return split_by_document(encode(segments), documents)

    def _encode_new(self, segments: Sequence[Segment]) -> Floats:
        """Encode what the cache lacks, each content once."""
        assert self.cache is not None
        digests = [self.cache.digest(segment) for segment in segments]
        known = self.cache.find(digests)
        missing = {
            digest: segment
            for digest, segment in zip(digests, segments, strict=True)
            if digest not in known
        }
        if missing:
            encoded = self._encode_segments(list(missing.values()))
            self.cache.store(list(missing), encoded)
            known |= dict(zip(missing, encoded, strict=True))
        return np.stack([known[digest] for digest in digests])

    def _encode_segments(self, segments: Sequence[Segment]) -> Floats:
        """Return float32 `[segments, width]`, encoded in batches of similar lengths."""
        backend, pad_id = self.backend, self.segmenter.tokenizer.pad_id
        rows = np.empty((len(segments), backend.info.vector_size), dtype=np.float32)
        lengths = [len(segment.token_ids) for segment in segments]
        packed = list(pack_segments(lengths, backend.token_budget, self.plan, backend.streams))
        collated = (
            collate_segments([segments[index] for index in batch], pad_id, self.plan)
            for batch in packed
        )
        for batch, vectors in zip(packed, backend.encode_all(collated), strict=True):
            rows[batch] = vectors
        return rows
