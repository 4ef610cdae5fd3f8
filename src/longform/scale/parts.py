"""Parts: the rows that are read, scored, written and, after a fault, repeated as one.

A file is cut into parts by its content alone, in the order of its rows, so that an interrupted
job, a repeated task and another engine all find the same parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from longform.data.readers import DocumentReader
from longform.errors import InputError
from longform.types import Document

FILE_FAULT = 0
"""Row number of an error that is of a file as a whole."""


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that has no answer.

    Attributes:
        row: Its number in the file, from 1; `FILE_FAULT` where the file could not be read on.
        id: Of the document where it has one, else the number.
        reason: Why.
    """

    row: int
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class PartLimits:
    """What bounds the memory of a part, and what is no document any more.

    Attributes:
        rows: Most rows of a part.
        characters: A part ends with the row that reaches so many.
        longest: Most characters of a document; longer ones are errors. 0 knows no limit.
    """

    rows: int = 1_000
    characters: int = 8_000_000
    longest: int = 2_000_000


@dataclass(frozen=True, slots=True)
class PartName:
    """The place of a part: number of its file, and its own within the file, from 0."""

    file: int
    number: int

    def path(self, folder: str) -> str:
        """Return where a table of the part stands, in partitions by file (as Hive names them)."""
        return f"{folder}/file={self.file:05}/part-{self.number:05}.parquet"


@dataclass(slots=True)
class Part:
    """Rows of a file, in order.

    Attributes:
        name: Its place.
        rows: Numbers of the rows that are documents.
        documents: What they hold.
        errors: The other rows.
        is_last: Whether the file ends with it.
        characters: Of all its documents.
    """

    name: PartName
    rows: list[int] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)
    is_last: bool = False
    characters: int = 0

    def __len__(self) -> int:
        return len(self.rows) + len(self.errors)

    def add(self, row: int, document: Document, longest: int, *, keep: bool = True) -> None:
        """Take a document in, unless it is too long.

        Args:
            row: Its number.
            document: What it holds.
            longest: Most characters.
            keep: Whether the part is wanted; else its rows are counted alone.
        """
        length = document.characters
        if longest and length > longest:
            reason = (
                f"A document has at most {longest:,} characters (--max-characters). "
                f"Found: {length:,}."
            )
            self.errors.append(RowError(row, document.id, reason))
            return
        self.rows.append(row)
        self.characters += length
        if keep:
            self.documents.append(document)


def read_parts(
    reader: DocumentReader,
    file: int,
    limits: PartLimits,
    finished: frozenset[int] = frozenset(),
) -> Iterator[Part]:
    """Cut a file into parts.

    Args:
        reader: Of the file.
        file: Its number.
        limits: Where parts end.
        finished: Numbers of parts that are not wanted: they are read over.

    Yields:
        The other parts, in order. Each holds a row, but for the one of an empty file. A file that
        cannot be read on ends with the fault as an error of its last part.
    """
    part = Part(PartName(file, 0))
    outcomes = reader.outcomes()
    while True:
        try:
            row, outcome = next(outcomes)
        except StopIteration:
            break
        except InputError as fault:
            part.errors.append(RowError(FILE_FAULT, "", str(fault)))
            break
        if len(part) >= limits.rows or part.characters >= limits.characters:
            if part.name.number not in finished:
                yield part
            part = Part(PartName(file, part.name.number + 1))
        if not isinstance(outcome, Document):
            part.errors.append(RowError(row, outcome.name or outcome.id, outcome.reason))
        else:
            part.add(row, outcome, limits.longest, keep=part.name.number not in finished)
    part.is_last = True
    if part.name.number not in finished:
        yield part


def failed_file(file: int, reason: str, finished: frozenset[int] = frozenset()) -> Part:
    """Return the part of a file that could not be opened: the first that is not finished."""
    name = PartName(file, next(number for number in count() if number not in finished))
    return Part(name, errors=[RowError(FILE_FAULT, "", reason)], is_last=True)
