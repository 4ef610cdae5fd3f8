"""Kept rows that carry a checksum each, so that one that was damaged on the disk is found out."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from longform.training.rows import RowStore
from longform.types import Booleans, Floats


def with_checksums(rows: Floats) -> Floats:
    """Return rows, float32 `[rows, width]`, with the CRC-32 of each as one column more."""
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    sums = np.array([zlib.crc32(row.tobytes()) for row in rows], dtype=np.uint32)
    return np.concatenate([rows, sums.view(np.float32)[:, np.newaxis]], axis=1)


def sound_rows(store: RowStore, digests: Sequence[bytes]) -> set[bytes]:
    """Return the digests whose rows in a store are as `with_checksums` gave them."""
    present = [digest for digest in dict.fromkeys(digests) if digest in store]
    if not present:
        return set()
    rows = np.array(store.mapped()[store.numbers(present)])
    sums = np.ascontiguousarray(rows[:, -1]).view(np.uint32)
    intact: Booleans = np.array([zlib.crc32(row[:-1].tobytes()) for row in rows]) == sums
    return {digest for digest, right in zip(present, intact, strict=True) if right}
