"""Data files to documents, with an account of every row that was left out and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from longform.config import DataSettings
from longform.data.files.columns import ID_COLUMN, ColumnChoice
from longform.data.files.formats import open_table
from longform.data.files.label_fields import UnusableRowError
from longform.data.files.mappings import open_rows
from longform.data.files.reading import (
    ReadReport,
    ReadResult,
    SkippedRow,
    describe_repeats,
    describe_skipped,
)
from longform.data.files.row_checks import RowChecks
from longform.data.files.rows import DocumentBuilder, document_id
from longform.data.files.sources import Source, open_source
from longform.data.files.tables import Row, Table
from longform.data.label_spelling import normalize_labels
from longform.errors import InputError
from longform.types import Document

__all__ = [
    "DocumentReader",
    "ReadReport",
    "ReadResult",
    "SkippedRow",
    "describe_skipped",
    "documents_from_rows",
    "iterate_rows",
    "read_documents",
]

_DEFAULTS = DataSettings()
_KEYS_NAMED = 40


class _TableReader:
    """Documents of a table that can be opened again and again."""

    def __init__(
        self,
        source: Source,
        open_table: Callable[[tuple[str, ...]], Table],
        settings: DataSettings,
        labelled: bool,
    ) -> None:
        self._source = source
        self._open_table = open_table
        self._settings = settings
        self._labelled = labelled
        self._rows = 0
        self._skipped: list[SkippedRow] = []
        self._notes: list[str] = []
        self._keys: dict[str, None] = {}
        self._open()

    @property
    def report(self) -> ReadReport:
        """What was found; complete once the iteration has ended."""
        source = self._source
        return ReadReport(
            path=source.path,
            format=self._table.format,
            encoding=source.encoding,
            compression=source.compression,
            rows=self._rows,
            skipped=tuple(self._skipped),
            notes=tuple(self._notes),
            problem_type=self._builder.labels.problem_type if self._labelled else None,
            encoding_certainty=source.certainty,
            text_column=self._columns.text,
            label_column=self._columns.label,
        )

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents in file order.

        Raises:
            InputError: A row cannot be read at all, contradicts the rows before it, or no row
                gives a document.
        """
        for _, outcome in self.outcomes():
            if isinstance(outcome, Document):
                yield outcome
        if self._rows == len(self._skipped):
            raise self._no_documents()

    def outcomes(self) -> Iterator[tuple[int, Document | SkippedRow]]:
        """Yield the number of each row, with its document or the reason why it gives none.

        Raises:
            InputError: A row cannot be read at all, or contradicts the rows before it.
        """
        if self._rows:
            self._open()
        table, columns, checks = self._table, self._columns, RowChecks(self._table, self._columns)
        self._skipped = []
        keys = self._keys = {}
        for row in table.read(columns.wanted if columns.is_settled else columns.candidates):
            self._rows += 1
            if table.columns is None:
                self._learn_columns(row, keys)
            try:
                document = self._builder.build(row)
            except UnusableRowError as fault:
                skipped = SkippedRow(row.number, str(fault), row.name, document_id(row))
                self._skipped.append(skipped)
                yield row.number, skipped
                continue
            checks.see(row.number, document)
            yield row.number, document
        self._notes = [
            *(*self._source.notes, *table.notes, *columns.notes),
            *(*self._builder.notes(), *checks.notes()),
        ]

    def _open(self) -> None:
        self._rows = 0
        self._columns = ColumnChoice(self._settings, labelled=self._labelled)
        self._table = self._open_table(self._columns.candidates)
        if self._table.columns is not None:
            self._columns.settle(self._table.columns)
            self._columns.require(self._table.columns, str(self._source.path))
        self._builder = DocumentBuilder(
            self._table, self._columns, self._settings, str(self._source.path)
        )

    def _learn_columns(self, row: Row, keys: dict[str, None]) -> None:
        if len(keys) < _KEYS_NAMED:
            keys.update(dict.fromkeys(map(str, row.values)))
        if not self._columns.is_settled:
            self._columns.settle(row.values)

    def _no_documents(self) -> InputError:
        if self._table.columns is not None or self._keys:
            columns = self._table.columns or tuple(self._keys)
            self._columns.require(columns, str(self._source.path))
        reasons = describe_skipped(tuple(self._skipped))
        found = f"{self._rows:,} rows, none usable: {reasons}" if self._rows else "no rows"
        return InputError(
            "The data file must hold documents.",
            found=f"no documents in {self._source.path}: {found}",
            fix="Give a file with at least one row that has a text"
            + (" and a label." if self._labelled else "."),
        )


class DocumentReader(_TableReader):
    """Documents of a file one by one; memory does not grow with the file.

    Iterate over it, once or again; `report` then accounts for the last pass.

    Args:
        path: A csv, tsv, json, jsonl, fastText or TFRecord file (each also as `.gz` or `.zst`), a
            parquet, Arrow or xlsx file, or a folder of text files.
        settings: Columns, encoding, and how labels are written.
        labelled: Whether rows need a label. Without, labels are not read, nor the columns that
            decide what is held out.

    Raises:
        InputError: The file cannot be read, or its header lacks a column.
        MissingExtraError: The library that reads this format is not installed.
    """

    def __init__(
        self, path: Path, settings: DataSettings = _DEFAULTS, *, labelled: bool = True
    ) -> None:
        source = open_source(path, settings.encoding, settings.encoding_errors)
        super().__init__(source, partial(open_table, source), settings, labelled)


def read_documents(
    path: Path, settings: DataSettings = _DEFAULTS, *, labelled: bool = True
) -> ReadResult:
    """Read a whole file; see `DocumentReader` for what is accepted and for reading one by one.

    Ids are those of the column `id`, else the row number. Labels are strings as written; numbers
    and booleans become their JSON text, so that `1` and `"1"` are one label and `1.0` another.
    Rows without a usable text or label are skipped and listed in the report; exact duplicates,
    contradicting labels and repeated ids are kept and noted.

    Raises:
        InputError: The file cannot be read, a needed column is missing, or no document is found.
        MissingExtraError: The library that reads this format is not installed.
    """
    return _read_all(DocumentReader(path, settings, labelled=labelled), settings)


def documents_from_rows(
    rows: Iterable[Mapping[str, Any]],
    settings: DataSettings = _DEFAULTS,
    *,
    labelled: bool = True,
    name: str = "rows",
) -> ReadResult:
    """Make documents of rows that are in Python, by the rules of `read_documents`.

    Args:
        rows: A `datasets.Dataset`, whose `ClassLabel` numbers become their names, or anything
            that gives mappings.
        settings: Columns, and how labels are written.
        labelled: As for `DocumentReader`.
        name: What the rows are called in messages.

    Raises:
        InputError: It is a set of splits or no rows at all, a needed column is missing, or no
            document is found.
    """
    source = Source(Path(name), "rows")
    reader = _TableReader(source, lambda _: open_rows(rows, name), settings, labelled)
    return _read_all(reader, settings)


def iterate_rows(
    path: Path,
    columns: tuple[str, ...] = ("text", "label", ID_COLUMN),
    settings: DataSettings = _DEFAULTS,
) -> Iterator[Row]:
    """Yield the rows of a file as they stand, for those who judge them by other rules.

    Args:
        path: As for `DocumentReader`.
        columns: Wanted columns; formats whose columns lie apart give only these, others give all.
        settings: For the encoding.

    Raises:
        InputError: The file cannot be read.
    """
    source = open_source(path, settings.encoding, settings.encoding_errors)
    yield from open_table(source, columns).read(columns)


def _read_all(reader: _TableReader, settings: DataSettings) -> ReadResult:
    documents = tuple(reader)
    report = reader.report
    notes = list(report.notes)
    if settings.normalize_labels:
        documents, changes = normalize_labels(documents)
        notes += changes
    return ReadResult(documents, replace(report, notes=(*notes, *describe_repeats(documents))))
