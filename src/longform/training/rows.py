"""Rows of numbers found by a digest of what they belong to, kept on disk.

A store is two files that only grow: the rows and, in the same order, their digests. Rows are
written before digests, so that a process killed at any moment leaves at worst some rows without a
digest, which the next opening cuts off.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from longform.types import Floats, Integers

DIGEST_BYTES = 16


def content_digest(content: bytes) -> bytes:
    """Return the digest that rows are found by."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


class RowStore:
    """Float rows by digest, memory-mapped. Use it as a context manager.

    Args:
        folder: Where stores are kept.
        key: Names the store: whatever changes the rows of the same content must be in it.
        width: Numbers in a row.
    """

    def __init__(self, folder: Path, key: Sequence[str], width: int) -> None:
        name = hashlib.sha256("\n".join([*key, str(width)]).encode()).hexdigest()[:32]
        self._folder = folder / name
        self._width = width
        self._folder.mkdir(parents=True, exist_ok=True)
        self._hash_path = self._folder / "segments.hash"
        self._vector_path = self._folder / "vectors.f32"
        self._lock = (self._folder / "lock").open("w")
        # Two runs with the same key take turns; the second finds the first one's rows.
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._rows = self._recover()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, digest: object) -> bool:
        return digest in self._rows

    def numbers(self, digests: Sequence[bytes]) -> Integers:
        """Return the places of digests, all of which must be here, in `mapped`."""
        return np.array([self._rows[digest] for digest in digests], dtype=np.int64)

    def append(self, digests: Sequence[bytes], rows: Floats) -> None:
        """Write rows float32 `[digests, width]` to the disk; a later row of a digest counts."""
        known = self._written
        content = np.ascontiguousarray(rows, dtype=np.float32).tobytes()
        _write_at(self._vector_path, 4 * self._width * known, content)
        _write_at(self._hash_path, DIGEST_BYTES * known, b"".join(digests))
        self._rows.update(zip(digests, range(known, known + len(digests)), strict=True))
        self._written += len(digests)

    def mapped(self) -> Floats:
        """Return all rows as a view of the file, float32 `[rows, width]`."""
        shape = (self._written, self._width)
        if not self._written:
            return np.empty(shape, dtype=np.float32)
        return np.memmap(self._vector_path, dtype=np.float32, mode="r", shape=shape)

    def _recover(self) -> dict[bytes, int]:
        """Read the digests and cut off what a killed process left half-written."""
        self._hash_path.touch()
        self._vector_path.touch()
        row_bytes = 4 * self._width
        count = min(
            self._hash_path.stat().st_size // DIGEST_BYTES,
            self._vector_path.stat().st_size // row_bytes,
        )
        os.truncate(self._hash_path, count * DIGEST_BYTES)
        os.truncate(self._vector_path, count * row_bytes)
        self._written = count
        content = self._hash_path.read_bytes()
        return {content[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES]: row for row in range(count)}


def remove_oldest(folder: Path, most_bytes: int) -> None:
    """Remove the stores that were opened longest ago until the rest is within a bound.

    A store that another process has open stays.
    """
    opened = sorted(folder.glob("*/lock"), key=lambda path: path.stat().st_mtime)
    sizes = {path: sum(file.stat().st_size for file in path.parent.iterdir()) for path in opened}
    total = sum(sizes.values())
    for path in opened:
        if total <= most_bytes:
            return
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(path.parent)
        total -= sizes[path]


def _write_at(path: Path, offset: int, content: bytes) -> None:
    """Write the end of a file to the disk, over what a failed write may have left there."""
    with path.open("r+b") as file:
        file.truncate(offset)
        file.seek(offset)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
