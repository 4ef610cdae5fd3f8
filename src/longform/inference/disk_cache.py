"""Segment vectors in one SQLite file: bounded, shared by processes, whole after any crash."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np

from longform.reporting import Reporter
from longform.types import Floats

_Result = TypeVar("_Result")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
    digest BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER NOT NULL, used REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_use ON vectors (used);
"""
_VARIABLES = 500
"""Digests in one statement; SQLite bounds them."""
_BUSY_SECONDS = 10.0
_DROPPED_SHARE = 0.25
"""Share of the vectors that goes when the file is over its bound, so that this is rare."""


class DiskCache:
    """Vectors by digest. What is wrong with the file is said once, and then it is left alone.

    A vector whose checksum is wrong counts as absent.

    Args:
        path: The file; missing folders are made.
        most_bytes: Bound on it, kept at the end of each `store`.
        reporter: Told when the file cannot be used.
    """

    def __init__(self, path: Path, most_bytes: int, reporter: Reporter) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._reporter = reporter
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        try:
            self._connection = _open(path)
        except (sqlite3.Error, OSError) as error:
            self._turn_off(error)

    def find(self, digests: Sequence[bytes]) -> dict[bytes, Floats]:
        """Return the vectors that are here and sound."""
        return self._guard(lambda connection: _find(connection, digests), {})

    def store(self, vectors: dict[bytes, Floats]) -> None:
        """Write vectors in one transaction, and drop the oldest when the file is over its bound."""

        def write(connection: sqlite3.Connection) -> None:
            now = time.time()
            with connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)",
                    (
                        (digest, content := vector.tobytes(), zlib.crc32(content), now)
                        for digest, vector in vectors.items()
                    ),
                )
            self._bound(connection)

        self._guard(write, None)

    def close(self) -> None:
        """Close the file. Calling it twice is fine."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _guard(self, work: Callable[[sqlite3.Connection], _Result], otherwise: _Result) -> _Result:
        with self._lock:
            if self._connection is None:
                return otherwise
            try:
                return work(self._connection)
            except (sqlite3.Error, OSError) as error:
                self._turn_off(error)
                return otherwise

    def _turn_off(self, error: Exception) -> None:
        self._connection = None
        self._reporter.say(
            f"The cache on the disk is off from here on: {self._path}: {error}. Answers stay the "
            "same; give another folder, or remove that file."
        )

    def _bound(self, connection: sqlite3.Connection) -> None:
        while _size(connection) > self._most_bytes:
            with connection:
                (count,) = connection.execute("SELECT COUNT(*) FROM vectors").fetchone()
                connection.execute(
                    "DELETE FROM vectors WHERE digest IN "
                    "(SELECT digest FROM vectors ORDER BY used LIMIT ?)",
                    (int(count * _DROPPED_SHARE) + 1,),
                )
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if not count:
                return


def _size(connection: sqlite3.Connection) -> int:
    pages, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
    )
    return int(pages * size)


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level="IMMEDIATE"
    )
    # A reader never waits for a writer, and a killed writer leaves the last whole state.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(_SCHEMA)
    return connection


def _find(connection: sqlite3.Connection, digests: Sequence[bytes]) -> dict[bytes, Floats]:
    found: dict[bytes, Floats] = {}
    for start in range(0, len(digests), _VARIABLES):
        part = digests[start : start + _VARIABLES]
        marks = ",".join("?" * len(part))
        rows = connection.execute(
            f"SELECT digest, vector, checksum FROM vectors WHERE digest IN ({marks})", part
        ).fetchall()
        found |= {
            digest: np.frombuffer(content, dtype=np.float32)
            for digest, content, checksum in rows
            if zlib.crc32(content) == checksum
        }
    now = time.time()
    with connection:
        connection.executemany(
            "UPDATE vectors SET used = ? WHERE digest = ?", ((now, digest) for digest in found)
        )
    return found
