"""Data files to documents, with an account of every row that was left out and why."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from longform.data.formats import open_table
from longform.data.json_rows import name_type
from longform.data.sources import Source, open_source
from longform.data.tables import Format, Row, Table
from longform.errors import InputError
from longform.types import Document

ID_COLUMN = "id"
_ROWS_NAMED = 5
_COLUMNS_NAMED = 40
_SURROGATE = re.compile("[\ud800-\udfff]")
_VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
"""A character that is seen: not white space, not a control, not of zero width."""


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that did not become a document. `row` is as in `Row.number`."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What was found in a file.

    Attributes:
        path: The file.
        format: What its content is, whatever its name says.
        encoding: Codec name; None for parquet.
        compression: `gzip` or None.
        rows: Rows read, the skipped ones included.
        skipped: The rows that did not become documents, in order.
        notes: Anything else the user should know.
    """

    path: Path
    format: Format
    encoding: str | None
    compression: str | None
    rows: int
    skipped: tuple[SkippedRow, ...] = ()
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return one line for the user."""
        kind = ", ".join(part for part in (self.format, self.encoding, self.compression) if part)
        parts = [f"{self.path.name} ({kind}): {self.rows - len(self.skipped):,} documents"]
        if self.skipped:
            reasons = describe_skipped(self.skipped)
            parts.append(f"{len(self.skipped):,} of {self.rows:,} rows skipped: {reasons}")
        return "; ".join([*parts, *self.notes])


@dataclass(frozen=True, slots=True)
class ReadResult:
    """The documents of a file, in file order, and the account of how they were read."""

    documents: tuple[Document, ...]
    report: ReadReport


def describe_skipped(skipped: tuple[SkippedRow, ...]) -> str:
    """Return the reasons with their counts and the numbers of the first rows of each."""
    rows_of_reason: dict[str, list[int]] = {}
    for entry in skipped:
        rows_of_reason.setdefault(entry.reason, []).append(entry.row)
    parts = []
    for reason, rows in rows_of_reason.items():
        named = ", ".join(map(str, rows[:_ROWS_NAMED])) + (", ..." if rows[_ROWS_NAMED:] else "")
        parts.append(f"{len(rows):,} {reason} (row{'s' if len(rows) > 1 else ''} {named})")
    return ", ".join(parts)


class DocumentReader:
    """Documents of a file one by one; memory does not grow with the file.

    Iterate over it, once or again; `report` then accounts for the last pass.

    Args:
        path: A csv, tsv, json, jsonl (each also as `.gz`) or parquet file.
        text_column: Column or key of the text.
        label_column: Column or key of the label.
        labelled: Whether rows need a label. Without, labels are not read.

    Raises:
        InputError: The file cannot be read, or its header lacks a column.
    """

    def __init__(
        self,
        path: Path,
        *,
        text_column: str = "text",
        label_column: str = "label",
        labelled: bool = True,
    ) -> None:
        self._source: Source = open_source(path)
        self._text_column = text_column
        self._label_column = label_column if labelled else None
        self._table: Table | None = self._open_table()
        self._format: Format = self._table.format
        self._notes: list[str] = []
        self._skipped: list[SkippedRow] = []
        self._rows = 0

    @property
    def report(self) -> ReadReport:
        """What was found; complete once the iteration has ended."""
        source = self._source
        return ReadReport(
            path=source.path,
            format=self._format,
            encoding=source.encoding,
            compression=source.compression,
            rows=self._rows,
            skipped=tuple(self._skipped),
            notes=tuple(self._notes),
        )

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents in file order.

        Raises:
            InputError: A row cannot be read at all, or no row gives a document.
        """
        table = self._table or self._open_table()
        self._table = None
        self._rows, self._skipped = 0, []
        changes: Counter[str] = Counter()
        keys: dict[str, None] = {}
        for row in table.rows:
            self._rows += 1
            if table.columns is None and len(keys) < _COLUMNS_NAMED:
                keys.update(dict.fromkeys(row.values))
            try:
                document = self._build_document(row, changes)
            except _UnusableRowError as fault:
                self._skipped.append(SkippedRow(row.number, str(fault)))
                continue
            yield document
        changed = [f"{count:,} {change}" for change, count in changes.items()]
        self._notes = [*self._source.notes, *table.notes, *changed]
        if self._rows == len(self._skipped):
            self._require_columns(table.columns or tuple(keys) or None)
            raise self._no_documents()

    def _wanted(self) -> tuple[str, ...]:
        label = () if self._label_column is None else (self._label_column,)
        return (self._text_column, *label, ID_COLUMN)

    def _open_table(self) -> Table:
        table = open_table(self._source, tuple(dict.fromkeys(self._wanted())))
        self._require_columns(table.columns)
        return table

    def _require_columns(self, columns: tuple[str, ...] | None) -> None:
        """Refuse a header that lacks a needed column or has one twice."""
        if columns is None:
            return
        needed = {self._text_column: "--text-column"}
        if self._label_column is not None:
            needed[self._label_column] = "--label-column"
        missing = {name: flag for name, flag in needed.items() if name not in columns}
        if missing:
            named = ", ".join(f"'{_shorten(name)}'" for name in columns[:_COLUMNS_NAMED])
            raise InputError(
                f"The data must have the column{'s' if len(missing) > 1 else ''} "
                + " and ".join(f"'{name}'" for name in missing)
                + ".",
                found=f"{self._source.path} has the columns {named}",
                fix=f"Name the columns with {' and '.join(missing.values())}; "
                "a file without a header needs one.",
            )
        repeated = sorted({name for name in self._wanted() if columns.count(name) > 1})
        if repeated:
            raise InputError(
                "A column that is read must have a name of its own.",
                found=f"{self._source.path} has several columns named '{repeated[0]}'",
                fix="Rename or remove all but one of them.",
            )

    def _no_documents(self) -> InputError:
        reasons = describe_skipped(tuple(self._skipped))
        found = f"{self._rows:,} rows, none usable: {reasons}" if self._rows else "no rows"
        return InputError(
            "The data file must hold documents.",
            found=f"no documents in {self._source.path}: {found}",
            fix="Give a file with at least one row that has a text"
            + (" and a label." if self._label_column is not None else "."),
        )

    def _build_document(self, row: Row, changes: Counter[str]) -> Document:
        if row.fault is not None:
            raise _UnusableRowError(row.fault)
        text = _read_text(row.values, self._text_column)
        label = None
        if self._label_column is not None:
            label = _read_label(row.values, self._label_column, changes)
        identity = row.values.get(ID_COLUMN)
        known = isinstance(identity, str | int) and str(identity).strip()
        document = Document(str(identity) if known else str(row.number), text, label)
        return _replace_surrogates(document, changes)


def read_documents(
    path: Path,
    *,
    text_column: str = "text",
    label_column: str = "label",
    labelled: bool = True,
) -> ReadResult:
    """Read a whole file; see `DocumentReader` for what is accepted and for reading one by one.

    Ids are those of the column `id`, else the row number. Labels are strings as written; numbers
    and booleans become their JSON text, so that `1` and `"1"` are one label and `1.0` another.
    Rows without a usable text or label are skipped and listed in the report; exact duplicates,
    contradicting labels and repeated ids are kept and noted.

    Raises:
        InputError: The file cannot be read, a needed column is missing, or no document is found.
    """
    reader = DocumentReader(
        path, text_column=text_column, label_column=label_column, labelled=labelled
    )
    documents = tuple(reader)
    report = reader.report
    return ReadResult(documents, replace(report, notes=(*report.notes, *_find_repeats(documents))))


def iterate_rows(
    path: Path, columns: tuple[str, ...] = ("text", "label", ID_COLUMN)
) -> Iterator[Row]:
    """Yield the rows of a file as they stand, for those who judge them by other rules.

    Args:
        path: As for `DocumentReader`.
        columns: Wanted columns; parquet gives only these, other formats give all.

    Raises:
        InputError: The file cannot be read.
    """
    yield from open_table(open_source(path), columns).rows


class _UnusableRowError(Exception):
    """Says why a row cannot become a document; never leaves this module."""


def _read_text(values: Mapping[str, Any], column: str) -> str:
    value = values.get(column)
    if value is None or _is_nan(value):
        raise _UnusableRowError("text is missing")
    if not isinstance(value, str):
        raise _UnusableRowError(f"text is {name_type(value)}, not a string")
    if _VISIBLE.search(value) is None:
        raise _UnusableRowError("text is empty" if not value else "text is only white space")
    return value


def _read_label(values: Mapping[str, Any], column: str, changes: Counter[str]) -> str:
    value = values.get(column)
    if value is None or _is_nan(value):
        raise _UnusableRowError("label is missing")
    if isinstance(value, bool | int | float):
        changes["labels are numbers or booleans, read as their JSON text"] += 1
        return json.dumps(value)
    if not isinstance(value, str):
        raise _UnusableRowError(f"label is {name_type(value)}, not a string")
    if _VISIBLE.search(value) is None:
        raise _UnusableRowError("label is empty")
    return value


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _replace_surrogates(document: Document, changes: Counter[str]) -> Document:
    """Replace what no encoding can write, now, where it can be said, and not when results are."""
    changed: dict[str, Any] = {}
    for name in ("id", "text", "label"):
        value = getattr(document, name)
        # isascii is a constant-time look at the string's header.
        if value is not None and not value.isascii() and _SURROGATE.search(value):
            changed[name] = _SURROGATE.sub("\ufffd", value)
    if not changed:
        return document
    changes["rows with lone surrogates, each replaced by U+FFFD"] += 1
    return replace(document, **changed)


def _find_repeats(documents: tuple[Document, ...]) -> list[str]:
    labels_of_text: dict[str, str | None] = {}
    duplicates = 0
    contradicted: dict[str, str] = {}
    for document in documents:
        if document.text not in labels_of_text:
            labels_of_text[document.text] = document.label
            continue
        duplicates += 1
        if labels_of_text[document.text] != document.label:
            contradicted.setdefault(document.text, document.id)
    notes = []
    if duplicates:
        notes.append(f"{duplicates:,} documents repeat the text of an earlier one")
    if contradicted:
        named = ", ".join(list(contradicted.values())[:_ROWS_NAMED])
        notes.append(f"{len(contradicted):,} texts have contradicting labels (ids {named})")
    repeated_ids = len(documents) - len({document.id for document in documents})
    if repeated_ids:
        notes.append(f"{repeated_ids:,} documents repeat the id of an earlier one")
    return notes


def _shorten(name: str) -> str:
    return name if len(name) <= _COLUMNS_NAMED else name[:_COLUMNS_NAMED] + "..."
