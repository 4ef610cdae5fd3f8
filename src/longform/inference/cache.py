"""Segment vectors by content: a document that grew, or repeats passages, costs its new segments."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from longform.inference.disk_cache import DiskCache
from longform.reporting import Reporter
from longform.types import Floats, Segment

DEFAULT_BYTES = 256 * 2**20
_BOOKKEEPING = 240
"""Bytes of an entry beside its numbers: the digest, the array's header and a place in the table."""


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What a cache did since it was opened.

    Attributes:
        hits: Segments whose vectors were found, in memory or on the disk.
        misses: Segments that had to be encoded.
        evictions: Vectors that had to leave the memory.
        entries: Vectors in memory now.
        bytes: What they take, bookkeeping included.
    """

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    entries: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What a user may say of the cache.

    Attributes:
        most_bytes: Bound on the memory; 0 turns the cache off.
        folder: Also keep vectors there.
        tenant: Whose vectors these are; others do not find them.
    """

    most_bytes: int = DEFAULT_BYTES
    folder: Path | None = None
    tenant: str = ""


class SegmentCache:
    """Vectors of one encoder, least recently used first to go. Safe to use from several threads.

    Args:
        key: All that changes the vector of the same tokens: the digest of the encoder's weights,
            the runtime, its precision, the pooling. A server of several tenants adds the tenant,
            so that none can tell from a fast answer what another one sent.
        most_bytes: Bound on the memory.
        folder: Also keep vectors there, for the next process; bounded by `most_disk_bytes`.
        most_disk_bytes: Bound on the file in that folder.
        reporter: Told when the folder cannot be used.
    """

    def __init__(
        self,
        key: Sequence[str],
        most_bytes: int = DEFAULT_BYTES,
        folder: Path | None = None,
        most_disk_bytes: int = 16 * DEFAULT_BYTES,
        reporter: Reporter | None = None,
    ) -> None:
        self._key = hashlib.sha256("\n".join(key).encode()).digest()
        self._most_bytes = most_bytes
        self._rows: OrderedDict[bytes, Floats] = OrderedDict()
        self._bytes = self._hits = self._misses = self._evictions = 0
        self._lock = Lock()
        self._disk = None
        if folder is not None:
            path = folder / f"{self._key.hex()[:32]}.sqlite"
            self._disk = DiskCache(path, most_disk_bytes, reporter or Reporter())

    @property
    def statistics(self) -> CacheStatistics:
        """What it did so far."""
        with self._lock:
            return CacheStatistics(
                self._hits, self._misses, self._evictions, len(self._rows), self._bytes
            )

    def digest(self, segment: Segment) -> bytes:
        """Return what the vector of a segment is found by."""
        content = segment.token_ids.tobytes()
        return hashlib.blake2b(content, digest_size=16, key=self._key).digest()

    def find(self, digests: Sequence[bytes]) -> dict[bytes, Floats]:
        """Return the vectors that are here; what is not counts as a miss, once for each digest."""
        wanted = dict.fromkeys(digests)
        with self._lock:
            found = {digest: self._rows[digest] for digest in wanted if digest in self._rows}
            for digest in found:
                self._rows.move_to_end(digest)
        if self._disk is not None and len(found) < len(wanted):
            kept = self._disk.find([digest for digest in wanted if digest not in found])
            self._keep(kept)
            found |= kept
        with self._lock:
            self._hits += sum(digest in found for digest in digests)
            self._misses += len(wanted) - len(found)
        return found

    def store(self, digests: Sequence[bytes], rows: Floats) -> None:
        """Keep vectors, float32 `[digests, width]`."""
        # Copies, since a view would keep the whole array of a large document alive.
        vectors = {digest: np.array(row) for digest, row in zip(digests, rows, strict=True)}
        self._keep(vectors)
        if self._disk is not None:
            self._disk.store(vectors)

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._disk is not None:
            self._disk.close()

    def _keep(self, vectors: dict[bytes, Floats]) -> None:
        with self._lock:
            for digest, vector in vectors.items():
                if digest not in self._rows:
                    self._bytes += vector.nbytes + _BOOKKEEPING
                    self._rows[digest] = vector
            while self._bytes > self._most_bytes:
                _, vector = self._rows.popitem(last=False)
                self._bytes -= vector.nbytes + _BOOKKEEPING
                self._evictions += 1
