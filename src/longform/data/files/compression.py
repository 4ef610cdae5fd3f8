"""Files packed by gzip or zstandard, read as streams whose damage is never taken for their end."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from longform.errors import InputError
from longform.extras import require

Compression = Literal["gzip", "zstd"]

SUFFIXES: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_MAGIC: dict[bytes, Compression] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_TESTS: dict[Compression, str] = {"gzip": "gzip -t", "zstd": "zstd -t"}
_UNPACKERS: dict[Compression, str] = {"gzip": "gzip -d", "zstd": "zstd -d"}
_BLOCK = 1 << 18
_PACKED_BLOCK = 1 << 14
"""Small, because a few packed bytes may unpack to very many."""
_LARGEST_WINDOW = 1 << 31
"""Bytes; what `zstd --long=31` makes is read too."""


def compression_by_magic(head: bytes) -> Compression | None:
    """Return what a file that begins with `head` is packed by, or None."""
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


@contextmanager
def open_unpacked(path: Path, compression: Compression | None) -> Iterator[BinaryIO]:
    """Open the bytes of a file, unpacked.

    Raises:
        InputError: On reading, the archive is damaged or cut short.
        MissingExtraError: zstandard is not installed.
    """
    if compression is None:
        with path.open("rb") as stream:
            yield stream
        return
    library = require("zstandard", "Reading .zst") if compression == "zstd" else None
    faults: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile)
    if library is not None:
        faults = (EOFError, library.ZstdError)
    try:
        if library is None:
            with gzip.open(path, "rb") as packed:
                yield io.BufferedReader(packed, _BLOCK)
        else:
            with path.open("rb") as raw:
                yield io.BufferedReader(_ZstandardReader(raw, library), _BLOCK)
    except faults as error:
        raise InputError(
            "A packed file must be whole.",
            found=f"the {compression} archive {path} is damaged or cut short ({error})",
            fix=f"Copy it again; '{_TESTS[compression]} {path.name}' checks it.",
        ) from error


def refuse_packed(path: Path, compression: Compression | None, kind: str) -> None:
    """Refuse a packed file of a kind whose end is read first.

    Raises:
        InputError: The file is packed.
    """
    if compression is not None:
        raise InputError(
            f"{kind} must not be packed as a whole, because its end is read first.",
            found=f"{path} is such a file inside {compression}",
            fix=f"Unpack it: {_UNPACKERS[compression]} {path.name}",
        )


class _ZstandardReader(io.RawIOBase):
    """Unpacks frame after frame; the library's own stream takes a cut file for a finished one."""

    def __init__(self, stream: BinaryIO, library: Any) -> None:
        self._stream = stream
        self._context = library.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        self._frame: Any = None
        self._packed = b""
        self._unpacked = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpacked:
            if not self._packed:
                self._packed = self._stream.read(_PACKED_BLOCK)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("it ends within a frame")
                return 0
            self._unpack()
        count = min(len(buffer), len(self._unpacked))
        buffer[:count] = self._unpacked[:count]
        self._unpacked = self._unpacked[count:]
        return count

    def _unpack(self) -> None:
        if self._frame is None:
            self._frame = self._context.decompressobj()
        self._unpacked = memoryview(self._frame.decompress(self._packed))
        self._packed = b""
        if self._frame.eof:
            self._packed = self._frame.unused_data
            self._frame = None
