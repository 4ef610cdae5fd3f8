"""Segment vectors of a frozen encoder, kept on disk: a second epoch, or run, takes seconds.

A store is two files that only grow: the vectors and, in the same order, a hash of the tokens that
each belongs to. Vectors are written before hashes, so that a process killed at any moment leaves
at worst some vectors without a hash, which the next opening cuts off.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from longform.inference.packing import (
    collate_segments,
    pack_segments,
    split_by_document,
)
from longform.reporting import Reporter
from longform.types import Floats, Segment, SegmentBatch, SegmentedDocument

_DIGEST_BYTES = 16
_SEGMENTS_BETWEEN_WRITES = 2_048

EncodeFunction = Callable[[SegmentBatch], Floats]


def default_cache_folder() -> Path:
    """Return where vectors are kept: `LONGFORM_CACHE`, else the user's cache folder."""
    own = os.environ.get("LONGFORM_CACHE")
    if own:
        return Path(own) / "vectors"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "longform" / "vectors"


class VectorStore:
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
        name = hashlib.sha256("\n".join([*key, str(width)]).encode()).hexdigest()[:32]
        self._folder = folder / name
        self._width = width
        self._token_budget = token_budget
        self._folder.mkdir(parents=True, exist_ok=True)
        self._hash_path = self._folder / "segments.hash"
        self._vector_path = self._folder / "vectors.f32"
        self._lock = (self._folder / "lock").open("w")
        # Two runs with the same encoder take turns; the second finds the first one's vectors.
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._rows = self._recover()

    def __enter__(self) -> VectorStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def __len__(self) -> int:
        return len(self._rows)

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
            if digest not in self._rows
        }
        self._encode_missing(missing, encode, pad_id, reporter or Reporter())
        stored = self._map()
        rows = np.array([self._rows[digest] for digest in digests], dtype=np.int64)
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
        with reporter.track("Encoding segments", total, unit="tokens") as advance:
            for begin in range(0, len(items), _SEGMENTS_BETWEEN_WRITES):
                group = items[begin : begin + _SEGMENTS_BETWEEN_WRITES]
                lengths = [len(segment.token_ids) for _, segment in group]
                vectors = np.empty((len(group), self._width), dtype=np.float32)
                for batch in pack_segments(lengths, self._token_budget):
                    collated = collate_segments([group[index][1] for index in batch], pad_id)
                    vectors[batch] = encode(collated)
                    advance(sum(lengths[index] for index in batch))
                self._append([digest for digest, _ in group], vectors)

    def _append(self, digests: list[bytes], vectors: Floats) -> None:
        known = len(self._rows)
        content = np.ascontiguousarray(vectors, dtype=np.float32).tobytes()
        _write_at(self._vector_path, 4 * self._width * known, content)
        _write_at(self._hash_path, _DIGEST_BYTES * known, b"".join(digests))
        for digest in digests:
            self._rows[digest] = len(self._rows)

    def _recover(self) -> dict[bytes, int]:
        """Read the hashes and cut off what a killed process left half-written."""
        self._hash_path.touch()
        self._vector_path.touch()
        row_bytes = 4 * self._width
        count = min(
            self._hash_path.stat().st_size // _DIGEST_BYTES,
            self._vector_path.stat().st_size // row_bytes,
        )
        os.truncate(self._hash_path, count * _DIGEST_BYTES)
        os.truncate(self._vector_path, count * row_bytes)
        content = self._hash_path.read_bytes()
        return {
            content[row * _DIGEST_BYTES : (row + 1) * _DIGEST_BYTES]: row for row in range(count)
        }

    def _map(self) -> Floats:
        if not self._rows:
            return np.empty((0, self._width), dtype=np.float32)
        shape = (len(self._rows), self._width)
        return np.memmap(self._vector_path, dtype=np.float32, mode="r", shape=shape)


def _write_at(path: Path, offset: int, content: bytes) -> None:
    """Write the end of a file to the disk, over what a failed write may have left there."""
    with path.open("r+b") as file:
        file.truncate(offset)
        file.seek(offset)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _digest(segment: Segment) -> bytes:
    return hashlib.blake2b(segment.token_ids.tobytes(), digest_size=_DIGEST_BYTES).digest()


def _take(stored: Floats, rows: np.ndarray) -> Floats:
    """Return rows of the map: a view where they lie together, a copy where they do not."""
    if len(rows) and (np.diff(rows) == 1).all():
        view: Floats = stored[rows[0] : rows[-1] + 1]
        return view
    copied: Floats = stored[rows]
    return copied
