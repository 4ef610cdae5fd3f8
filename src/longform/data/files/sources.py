"""A data file opened: what it is packed and encoded in, told by its bytes and not by its name."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

from longform.data.files.census import MARK
from longform.data.files.compression import (
    SUFFIXES,
    Compression,
    compression_by_magic,
    open_unpacked,
)
from longform.data.files.encodings import (
    detect_encoding,
    encoding_by_mark,
    encoding_by_zeros,
    find_codec,
    locate_fault,
)
from longform.data.files.tfrecord import starts_tfrecord
from longform.errors import InputError

Kind = Literal[
    "text", "parquet", "arrow file", "arrow stream", "xlsx", "tfrecord", "folder", "rows"
]
EncodingErrors = Literal["strict", "replace", "skip"]

_HEAD = 4096
_KIND_OF_MAGIC: dict[bytes, Kind] = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow file",
    b"\xff\xff\xff\xff": "arrow stream",
    b"PK\x03\x04": "xlsx",
}
_FOREIGN_MAGIC = {
    b"\xd0\xcf\x11\xe0": "an old (.xls) or encrypted Excel file, or an old Word file",
    b"\xfd7zXZ": "packed with xz",
    b"BZh": "packed with bzip2",
    b"7z\xbc\xaf": "packed with 7z",
    b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database",
}
_READABLE = (
    "csv, tsv, json, jsonl, fastText lines, TFRecord (each also as .gz or .zst), parquet, Arrow, "
    "xlsx, or a folder with one sub-folder of .txt files for each label"
)
_CONTROL_SHARE = 0.1
"""Share of control characters above which a file is taken for a binary one."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be read, and how.

    Attributes:
        path: The file.
        kind: What has to read it; every format of lines is `text`.
        compression: `gzip`, `zstd` or None.
        encoding: Codec name of its text; None where the format itself says it.
        certainty: How sure a detected encoding is, as in `Detected`.
        errors: What happens to bytes that are not in the encoding.
        detected: Whether the encoding was found, not given.
        notes: What the user should know about how the file is read.
    """

    path: Path
    kind: Kind = "text"
    compression: Compression | None = None
    encoding: str | None = None
    certainty: float | None = None
    errors: EncodingErrors = "strict"
    detected: bool = True
    notes: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """The suffix that names the format: that before `.gz` or `.zst`, in lower case."""
        path = Path(self.path.name.lower())
        return Path(path.stem).suffix if path.suffix in SUFFIXES else path.suffix

    @property
    def decoding_errors(self) -> str:
        """Name of the error handler that reads this file as `errors` asks for."""
        return "strict" if self.errors == "strict" else MARK

    @contextmanager
    def open_binary(self) -> Iterator[BinaryIO]:
        """Open the unpacked bytes."""
        with open_unpacked(self.path, self.compression) as stream:
            yield stream

    @contextmanager
    def open_text(self, newline: str) -> Iterator[io.TextIOWrapper]:
        """Open the decoded text; `newline` as in `open`: it decides what ends a line."""
        with self.open_binary() as stream:
            yield io.TextIOWrapper(
                stream, self.encoding, errors=self.decoding_errors, newline=newline
            )

    @contextmanager
    def translate_read_errors(self) -> Iterator[None]:
        """Turn what goes wrong while bytes are read into errors for the user.

        Raises:
            InputError: The file cannot be read, holds bytes that are not in its encoding, or
                changed meanwhile.
        """
        with translate_system_errors(self.path):
            try:
                yield
            except UnicodeError as error:
                raise self._describe_bytes(error) from error

    def _describe_bytes(self, error: UnicodeError) -> InputError:
        encoding = self.encoding or "text"
        place = "what it holds"
        # Some codecs say no more than that they cannot go on.
        if isinstance(error, UnicodeDecodeError):
            found = locate_fault(self.open_binary, encoding)
            place = found or f"byte 0x{error.object[error.start]:02x}"
        if self.detected and encoding_by_mark(self._head()) is None:
            return InputError(
                "A file must keep to one encoding and must not change while it is read.",
                found=f"{self.path}: {place} is not {encoding}",
                fix="Write the file again as UTF-8.",
            )
        return InputError(
            "Every byte of a file must be in its encoding.",
            found=f"{self.path}: {place} is not {encoding}",
            fix="Name the right encoding with --encoding, or let --encoding-errors replace such "
            "bytes or skip their rows.",
        )

    def _head(self) -> bytes:
        with self.open_binary() as stream:
            return stream.read(_HEAD)


@contextmanager
def translate_system_errors(path: Path) -> Iterator[None]:
    """Turn what the system says against reading a file into an error for the user.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            "The data file must be readable.",
            found=f"{path}: {error.strerror or error}",
            fix="Check the path, the permissions and the disk.",
        ) from error


def open_source(
    path: Path, encoding: str | None = None, errors: EncodingErrors = "strict"
) -> Source:
    """Find out how a file is packed and encoded; reads all of a text file once to be sure.

    Args:
        path: The file, or a folder of text files.
        encoding: The encoding, where the user knows it; the file is then not read beforehand.
        errors: What happens to bytes that are not in the encoding.

    Raises:
        InputError: The file is missing, empty, damaged, of a kind that is not read, or in an
            encoding that is not read.
    """
    codec = None if encoding is None else find_codec(encoding)
    with translate_system_errors(path):
        if path.is_dir():
            return Source(path, "folder", encoding=codec, errors=errors, detected=codec is None)
    _require_file(path)
    with translate_system_errors(path):
        return _open_file(path, encoding, errors)


def _open_file(path: Path, encoding: str | None, errors: EncodingErrors) -> Source:
    with path.open("rb") as stream:
        compression = compression_by_magic(stream.read(_HEAD))
    notes: list[str] = []
    suffix = path.suffix.lower()
    if suffix in SUFFIXES and SUFFIXES[suffix] != compression:
        notes.append(f"named {suffix} but {compression or 'not packed'}")
    source = Source(path, "text", compression, errors=errors, notes=tuple(notes))
    with source.open_binary() as stream:
        head = stream.read(_HEAD)
    kind = _find_kind(path, head)
    if encoding is not None:
        return replace(source, kind=kind, encoding=find_codec(encoding, head), detected=False)
    if kind != "text":
        return replace(source, kind=kind)
    found = detect_encoding(source.open_binary, path, tolerant=errors != "strict")
    return replace(
        source,
        encoding=found.name,
        certainty=found.certainty,
        notes=(*source.notes, *found.notes),
    )


def _require_file(path: Path) -> None:
    with translate_system_errors(path):
        if path.is_file():
            return
        # Detection reads the bytes before the rows are read, which a pipe does not allow.
        found = f"{path} is not a regular file" if path.exists() else f"no file at {path}"
    raise InputError(
        "The data file must exist.", found=found, fix=f"Give the path of one file: {_READABLE}."
    )


def _find_kind(path: Path, head: bytes) -> Kind:
    """Tell the kind of a file by its first bytes; refuse empty files and kinds without rows."""
    if not head:
        raise InputError(
            "The data file must hold documents.",
            found=f"no documents: {path} is empty (0 bytes)",
            fix=f"Give a file with at least one row: {_READABLE}.",
        )
    # Before the search for zero bytes, which the length of a record has too.
    if starts_tfrecord(path, head):
        return "tfrecord"
    kind = next((kind for magic, kind in _KIND_OF_MAGIC.items() if head.startswith(magic)), None)
    if kind is not None:
        return kind
    foreign = next((name for magic, name in _FOREIGN_MAGIC.items() if head.startswith(magic)), None)
    if foreign is None and _looks_binary(head):
        foreign = "a binary file"
    if foreign is not None:
        raise InputError(
            f"Data files are {_READABLE}.",
            found=f"{path} is {foreign}",
            fix="Save it as one of these, for example UTF-8 csv with the columns text and label.",
        )
    return "text"


def _looks_binary(head: bytes) -> bool:
    if encoding_by_mark(head) or encoding_by_zeros(head):
        return False
    control = sum(byte < 32 and byte not in b"\t\n\v\f\r\x1c\x1d\x1e" for byte in head)
    return control > _CONTROL_SHARE * len(head)
