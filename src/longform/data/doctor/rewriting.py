"""Rows of a data file written to another file, with some left out and some changed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from longform.config import DataSettings
from longform.data.files.formats import open_table
from longform.data.files.sources import open_source
from longform.data.files.tables import Row
from longform.data.readers import ReadResult
from longform.errors import InputError
from longform.types import Document


class SourceRows:
    """The rows of a file that documents came from, with all of their columns.

    Args:
        result: What was read.
        settings: That it was read with.

    Attributes:
        names: Name, or else number, of the row of each document.
        columns: All columns, in the order of their first appearance.

    Raises:
        InputError: The file no longer has the rows that it had when it was read.
    """

    def __init__(self, result: ReadResult, settings: DataSettings) -> None:
        self._report = result.report
        self._settings = settings
        self._skipped = {skipped.row for skipped in result.report.skipped}
        self.names: list[str | int] = []
        columns: dict[str, None] = {}
        for row in self:
            self.names.append(row.name or row.number)
            columns.update(dict.fromkeys(map(str, row.values)))
        self.columns = tuple(columns)
        if len(self.names) != len(result.documents):
            raise InputError(
                "A file must not change while it is read.",
                found=f"{self._report.path} has {len(self.names):,} usable rows and had "
                f"{len(result.documents):,}",
                fix="Run the command again on a copy.",
            )

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows that became documents."""
        settings = self._settings
        source = open_source(self._report.path, settings.encoding, settings.encoding_errors)
        wanted = self._wanted()
        table = open_table(source, wanted)
        for row in table.read(table.columns or wanted):
            if row.number not in self._skipped:
                yield row

    def replace(self, row: Row, document: Document) -> dict[str, Any]:
        """Return the values of a row with text and labels of a document."""
        values = {str(key): value for key, value in row.values.items()}
        values[self._report.text_column] = document.text
        if document.text_pair is not None and self._settings.text_pair_column is not None:
            values[self._settings.text_pair_column] = document.text_pair
        labels = document.label if document.labels is None else list(document.labels)
        values[self._report.label_column or self._settings.label_column] = labels
        return values

    def _wanted(self) -> tuple[str, ...]:
        settings, report = self._settings, self._report
        names = (
            *("id", report.text_column, report.label_column, settings.text_pair_column),
            *(settings.group_column, settings.time_column),
        )
        return tuple(dict.fromkeys(name for name in names if name is not None))


def write_rows(
    target: Path, rows: SourceRows, kept: Mapping[int, Document], separator: str
) -> None:
    """Write the rows of some documents as csv or jsonl, by the suffix of `target`.

    Args:
        target: The file, which appears when it is complete.
        rows: All rows.
        kept: Place of a row -> its document as it is to be.
        separator: Joins several labels in csv.
    """
    with new_file(target) as stream:
        table = _open_csv(stream, rows) if target.suffix.lower() == ".csv" else None
        for place, row in enumerate(rows):
            document = kept.get(place)
            if document is None:
                continue
            values = rows.replace(row, document)
            if table is not None:
                table.writerow({key: _to_field(value, separator) for key, value in values.items()})
            else:
                stream.write(json.dumps(values, ensure_ascii=False, default=str) + "\n")


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """Open a file for writing that appears under its name when all is written."""
    part = path.with_name(f".{path.name}.part")
    try:
        # Only texts are free of lone surrogates; other columns may hold them.
        with part.open("w", encoding="utf-8", errors="replace", newline="") as stream:
            yield stream
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _open_csv(stream: TextIO, rows: SourceRows) -> csv.DictWriter[str]:
    writer = csv.DictWriter(stream, rows.columns)
    writer.writeheader()
    return writer


def _to_field(value: Any, separator: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return separator.join(value)
    return json.dumps(value, ensure_ascii=False, default=str)
