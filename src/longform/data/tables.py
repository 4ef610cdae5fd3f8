"""What every format is turned into: numbered rows of named values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Format = Literal["csv", "tsv", "json", "jsonl", "parquet"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file.

    Attributes:
        number: From 1, without the header; for `jsonl` the line number.
        values: Column name -> value as the format gives it: str, or any JSON or parquet type.
        fault: Why the row cannot be used, when it cannot.
    """

    number: int
    values: Mapping[str, Any]
    fault: str | None = None


@dataclass(slots=True)
class Table:
    """Rows to be read once, in order, without holding more than one of them.

    Attributes:
        format: What the content is.
        columns: The header; None for JSON, where each row has its own keys.
        rows: The rows.
        notes: What the user should know; complete once the rows are read.
    """

    format: Format
    columns: tuple[str, ...] | None = None
    rows: Iterator[Row] = field(default_factory=lambda: iter(()))
    notes: list[str] = field(default_factory=list)
