"""What every format is turned into: numbered rows of named values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Format = Literal[
    "csv",
    "tsv",
    "json",
    "jsonl",
    "fasttext",
    "parquet",
    "arrow",
    "xlsx",
    "tfrecord",
    "folder",
    "rows",
]
LONGEST_FIELD = 1 << 28
"""Characters of one field, line or record; without a limit an unclosed quote would take the rest
of a file of any size into memory."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file.

    Attributes:
        number: From 1, without the header; for `jsonl` and `fasttext` the line number.
        values: Column name -> value as the format gives it: str, or any JSON or parquet type.
        fault: Why the row cannot be used, when it cannot.
        name: Path of the row's own file, in a folder of text files.
    """

    number: int
    values: Mapping[str, Any]
    fault: str | None = None
    name: str | None = None


ReadRows = Callable[[tuple[str, ...]], Iterator[Row]]


@dataclass(slots=True)
class Table:
    """Rows to be read once, in order, without holding more than a few of them.

    Attributes:
        format: What the content is.
        read: Called once with the wanted columns, gives the rows; formats whose columns lie
            apart give only those columns, others may give all.
        columns: The header; None where each row has its own keys.
        separator: Between the fields of a line.
        class_names: Column -> the label names that the integers in it stand for.
        notes: What the user should know; complete once the rows are read.
    """

    format: Format
    read: ReadRows
    columns: tuple[str, ...] | None = None
    separator: str | None = None
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
