"""Segment vectors of a frozen encoder, kept on disk: a second epoch, or run, takes seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from longform.backends.base import Backend
from longform.inference.packing import (
    collate_segments,
    pack_segments,
    split_by_document,
)
from longform.models import LongTextClassifier
from longform.reporting import Reporter
from longform.training.rows import RowStore, content_digest
from longform.types import Floats, Segment, SegmentBatch, SegmentedDocument

_SEGMENTS_BETWEEN_WRITES = 2_048

EncodeFunction = Callable[[SegmentBatch], Floats]


def default_cache_folder(kind: str = "vectors") -> Path:
    """Return where rows of a kind are kept: in `LONGFORM_CACHE`, else the user's cache folder."""
    own = os.environ.get("LONGFORM_CACHE")
    if own:
        return Path(own) / kind
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "longform" / kind


def open_vectors(model: LongTextClassifier, digest: str, backend: Backend) -> VectorStore:
    """Open the store of a frozen encoder's vectors in the user's cache.

    Args:
        model: Whose encoder.
        digest: SHA-256 of the encoder's weights.
        backend: What encodes.
    """
    # The prefix is part of the token ids, which each vector is found by.
    key = [digest, model.config.token_pooling, backend.info.precision]
    width, budget = backend.info.vector_size, backend.token_budget
    return VectorStore(default_cache_folder(), key, width, budget)


class VectorStore(RowStore):
    """Vectors by the content of their segments, memory-mapped. Use it as a context manager.

    Args:
        folder: Where stores are kept.
        key: Names the store: whatever changes the vectors of the same tokens, such as the
            encoder's weights, the precision and the pooling, must be in it.
        width: Features of a vector.
        token_budget: Most padded tokens of a batch that is encoded.
    """

    def __init__(
        self, folder: Path, key: Sequence[str], width: int, token_budget: int = 4_096
    ) -> None:
        super().__init__(folder, key, width)
        self._token_budget = token_budget
        self.encoding_seconds = 0.0

    def vectors(
        self,
        documents: Sequence[SegmentedDocument],
        encode: EncodeFunction,
        pad_id: int,
        reporter: Reporter | None = None,
    ) -> list[Floats]:
        """Return the vectors of documents, encoding only segments that the store lacks.

        Args:
            documents: The segmented documents.
            encode: Runs the encoder.
            pad_id: Fills the padding of batches.
            reporter: Told how far the encoding is.

        Returns:
            float32 `[segments, width]` for each document, views of one memory-mapped file
            wherever a document's segments lie together in it.
        """
        segments = [segment for document in documents for segment in document.segments]
        digests = [_digest(segment) for segment in segments]
        missing = {
            digest: segment
            for digest, segment in zip(digests, segments, strict=True)
            if digest not in self
        }
        self._encode_missing(missing, encode, pad_id, reporter or Reporter())
        stored, rows = self.mapped(), self.numbers(digests)
        return [_take(stored, part) for part in split_by_document(rows, documents)]

    def _encode_missing(
        self,
        missing: dict[bytes, Segment],
        encode: EncodeFunction,
        pad_id: int,
        reporter: Reporter,
    ) -> None:
        """Encode in reading order, a bounded number at a time, saving each group."""
        items = list(missing.items())
        total = sum(len(segment.token_ids) for segment in missing.values())
        started = time.perf_counter()
        with reporter.track("Encoding segments", total, unit="tokens") as advance:
            for begin in range(0, len(items), _SEGMENTS_BETWEEN_WRITES):
                group = items[begin : begin + _SEGMENTS_BETWEEN_WRITES]
                lengths = [len(segment.token_ids) for _, segment in group]
                vectors = np.empty((len(group), self._width), dtype=np.float32)
                for batch in pack_segments(lengths, self._token_budget):
                    collated = collate_segments([group[index][1] for index in batch], pad_id)
                    vectors[batch] = encode(collated)
                    advance(sum(lengths[index] for index in batch))
                self.append([digest for digest, _ in group], vectors)
        self.encoding_seconds += time.perf_counter() - started


def _digest(segment: Segment) -> bytes:
    return content_digest(segment.token_ids.tobytes())


def _take(stored: Floats, rows: np.ndarray) -> Floats:
    """Return rows of the map: a view where they lie together, a copy where they do not."""
    if len(rows) and (np.diff(rows) == 1).all():
        view: Floats = stored[rows[0] : rows[-1] + 1]
        return view
    copied: Floats = stored[rows]
    return copied
