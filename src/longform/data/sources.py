"""A data file opened: what it is packed and encoded in, told by its bytes and not by its name."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from longform.data.encodings import detect_encoding, encoding_by_mark, encoding_by_zeros
from longform.errors import InputError

_HEAD = 4096
_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_FOREIGN_MAGIC = {
    b"PK\x03\x04": "a zip archive or Excel workbook (.xlsx)",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"\x28\xb5\x2f\xfd": "packed with zstandard",
    b"\xfd7zXZ": "packed with xz",
    b"BZh": "packed with bzip2",
    b"%PDF": "a PDF",
    b"ARROW1": "an Arrow file",
}
_READABLE = "csv, tsv, json, jsonl (each also as .gz) and parquet"
_CONTROL_SHARE = 0.1
"""Share of control characters above which a file is taken for a binary one."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be read, and how.

    Attributes:
        path: The file.
        compression: `gzip` or None.
        encoding: Codec name of its text; None for parquet.
        notes: What the user should know about how the file is read.
    """

    path: Path
    compression: Literal["gzip"] | None
    encoding: str | None
    notes: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """The suffix that names the format: that before `.gz`, in lower case."""
        name = self.path.name.lower().removesuffix(".gz")
        return Path(name).suffix

    @contextmanager
    def open_binary(self) -> Iterator[BinaryIO]:
        """Open the unpacked bytes."""
        if self.compression == "gzip":
            with gzip.open(self.path, "rb") as stream:
                yield io.BufferedReader(stream)
        else:
            with self.path.open("rb") as stream:
                yield stream

    @contextmanager
    def open_text(self, newline: str) -> Iterator[io.TextIOWrapper]:
        """Open the decoded text; `newline` as in `open`: it decides what ends a line."""
        with self.open_binary() as stream:
            yield io.TextIOWrapper(stream, self.encoding, errors="strict", newline=newline)


def open_source(path: Path) -> Source:
    """Find out how a file is packed and encoded; reads all of a text file once.

    Raises:
        InputError: The file is missing, empty, damaged, of a kind that is not read, or in an
            encoding that is not read.
    """
    _require_file(path)
    with translate_read_errors(path):
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
        compression: Literal["gzip"] | None = "gzip" if head.startswith(_GZIP_MAGIC) else None
        notes: list[str] = []
        if path.suffix.lower() == ".gz" and compression is None:
            notes.append("named .gz but not packed")
        source = Source(path, compression, None)
        with source.open_binary() as stream:
            head = stream.read(_HEAD)
        _refuse_unreadable(path, head)
        if head.startswith(_PARQUET_MAGIC):
            return Source(path, compression, None, tuple(notes))
        encoding, remarks = detect_encoding(source.open_binary, path)
    return Source(path, compression, encoding, (*notes, *remarks))


@contextmanager
def translate_read_errors(path: Path) -> Iterator[None]:
    """Turn what goes wrong while bytes are read into errors for the user.

    Raises:
        InputError: The file cannot be read, its archive is damaged, or it changed meanwhile.
    """
    try:
        yield
    # BadGzipFile is an OSError, so the archive's errors come first.
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            "A packed file must be whole.",
            found=f"the gzip archive {path} is damaged or cut short ({error})",
            fix=f"Copy it again; 'gzip -t {path.name}' checks it.",
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            "A file must keep to one encoding and must not change while it is read.",
            found=f"{path}: byte 0x{error.object[error.start]:02x} is not {error.encoding}",
            fix="Write the file again as UTF-8.",
        ) from error
    except OSError as error:
        raise InputError(
            "The data file must be readable.",
            found=f"{path}: {error.strerror or error}",
            fix="Check the path, the permissions and the disk.",
        ) from error


def _require_file(path: Path) -> None:
    with translate_read_errors(path):
        if path.is_file():
            return
        # Detection reads the bytes before the rows are read, which a pipe does not allow.
        found = f"{path} is not a regular file" if path.exists() else f"no file at {path}"
    raise InputError(
        "The data file must exist.",
        found=found,
        fix=f"Give the path of one file: {_READABLE}.",
    )


def _refuse_unreadable(path: Path, head: bytes) -> None:
    """Refuse empty files and kinds of file that are not tables of text."""
    if not head:
        raise InputError(
            "The data file must hold documents.",
            found=f"no documents: {path} is empty (0 bytes)",
            fix=f"Give a file with at least one row: {_READABLE}.",
        )
    kind = next((kind for magic, kind in _FOREIGN_MAGIC.items() if head.startswith(magic)), None)
    if ".tfrecord" in path.name.lower():
        kind = "a TFRecord file"
    if kind is None and not head.startswith(_PARQUET_MAGIC) and _looks_binary(head):
        kind = "a binary file"
    if kind is not None:
        raise InputError(
            f"Data files are {_READABLE}; other kinds are not supported yet.",
            found=f"{path} is {kind}",
            fix="Save it as one of these, for example UTF-8 csv with the columns text and label.",
        )


def _looks_binary(head: bytes) -> bool:
    if encoding_by_mark(head) or encoding_by_zeros(head):
        return False
    control = sum(byte < 32 and byte not in b"\t\n\v\f\r\x1c\x1d\x1e" for byte in head)
    return control > _CONTROL_SHARE * len(head)
