"""Rows to documents."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, time
from typing import Any

from longform.config import DataSettings
from longform.data.files.census import MARKER
from longform.data.files.columns import ID_COLUMN, ColumnChoice
from longform.data.files.json_rows import name_type
from longform.data.files.label_fields import VISIBLE, LabelFields, UnusableRowError, is_missing
from longform.data.files.tables import Row, Table
from longform.types import Document

_SURROGATE = re.compile("[\ud800-\udfff]")


class DocumentBuilder:
    """Turns the rows of one table into documents, and counts what it changes.

    Args:
        table: Where the rows come from.
        columns: Where in the rows texts and labels are.
        settings: How labels and broken bytes are read.
        found_in: Name of the file, for errors.
    """

    def __init__(
        self, table: Table, columns: ColumnChoice, settings: DataSettings, found_in: str
    ) -> None:
        self._columns = columns
        self._errors = settings.encoding_errors
        self._found_in = found_in
        names = None if columns.label is None else table.class_names.get(columns.label)
        self.labels = LabelFields(settings, names)
        self._changes: Counter[str] = Counter()
        self._marks = 0

    def build(self, row: Row) -> Document:
        """Return the document of a row.

        Raises:
            UnusableRowError: The row has no usable text or label.
            InputError: The row shows that the file is not what it was taken for.
        """
        if row.fault is not None:
            raise UnusableRowError(row.fault)
        columns, values = self._columns, row.values
        text = _read_text(values, columns.text, "text")
        pair = None
        if columns.text_pair is not None:
            pair = _read_text(values, columns.text_pair, columns.text_pair)
        label = labels = None
        if columns.label is not None:
            place = f"{self._found_in}, row {row.number}"
            label, labels = self.labels.read(values.get(columns.label), place)
        document = Document(
            document_id(row),
            text,
            label,
            labels,
            pair,
            {name: _read_field(values, name) for name in columns.fields},
        )
        return self._replace_surrogates(document)

    def notes(self) -> list[str]:
        """Return what was changed so far, with counts."""
        changes = self._changes + self.labels.changes
        notes = [f"{count:,} {change}" for change, count in changes.items()]
        if self._marks:
            notes.append(f"{self._marks:,} U+FFFD put for bytes that are not in the encoding")
        return notes

    def _replace_surrogates(self, document: Document) -> Document:
        """Replace what no encoding can write now, where it can be said, not when results are."""
        changed: dict[str, Any] = {}
        marks = 0
        for name in ("id", "text", "label", "text_pair"):
            value = getattr(document, name)
            if value is not None and _has_surrogates(value):
                changed[name] = _SURROGATE.sub("\ufffd", value)
                marks += value.count(MARKER)
        if document.labels and any(map(_has_surrogates, document.labels)):
            changed["labels"] = tuple(_SURROGATE.sub("\ufffd", part) for part in document.labels)
            marks += sum(label.count(MARKER) for label in document.labels)
        if not changed:
            return document
        if marks and self._errors == "skip":
            raise UnusableRowError("bytes that are not in the encoding")
        if marks and self._errors == "replace":
            self._marks += marks
            self._changes["rows with bytes that are not in the encoding"] += 1
        else:
            self._changes["rows with lone surrogates, each replaced by U+FFFD"] += 1
        return replace(document, **changed)


def document_id(row: Row) -> str:
    """Return what a row names itself, or its number."""
    identity = row.values.get(ID_COLUMN)
    is_known = isinstance(identity, str | int) and str(identity).strip()
    return str(identity) if is_known else str(row.number)


def _has_surrogates(text: str) -> bool:
    # isascii is a constant-time look at the string's header, and encoding three times as fast as
    # a search.
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _read_text(values: Mapping[str, Any], column: str, title: str) -> str:
    value = values.get(column)
    if is_missing(value):
        raise UnusableRowError(f"{title} is missing")
    if not isinstance(value, str):
        raise UnusableRowError(f"{title} is {name_type(value)}, not a string")
    if VISIBLE.search(value) is None:
        raise UnusableRowError(f"{title} is empty" if not value else f"{title} is only white space")
    return value


def _read_field(values: Mapping[str, Any], column: str) -> str:
    value = values.get(column)
    if is_missing(value) or (isinstance(value, str) and VISIBLE.search(value) is None):
        raise UnusableRowError(f"{column} is missing")
    if isinstance(value, str):
        return value
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise UnusableRowError(f"{column} is {name_type(value)}, not a string")
