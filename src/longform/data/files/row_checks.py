"""Signs that a row of a delimited file holds more than it should."""

from __future__ import annotations

from longform.data.files.columns import ColumnChoice
from longform.data.files.tables import Table
from longform.types import Document

_LARGE = 1 << 20
_TIMES_THE_AVERAGE = 50
_ROWS_NAMED = 5


class RowChecks:
    """Looks for rows that a quote without its end has swallowed.

    Args:
        table: The file; only formats with a separator are looked at.
        columns: Where text and label are.
    """

    def __init__(self, table: Table, columns: ColumnChoice) -> None:
        self._separator = table.separator
        self._width = 0
        self._label_index: int | None = None
        names = table.columns or ()
        if self._separator is not None and columns.label is not None:
            self._width = len(names)
            text, label = names.index(columns.text), names.index(columns.label)
            # Counted from the side where the text, which may hold separators, does not stand.
            self._label_index = label if label < text else label - len(names)
        self._labels: set[str] = set()
        self._suspects: list[int] = []
        self._rows = self._characters = 0
        self._longest = self._longest_row = 0

    def see(self, number: int, document: Document) -> None:
        """Take note of one document, in file order."""
        if self._separator is None:
            return
        self._rows += 1
        self._characters += len(document.text)
        if len(document.text) > self._longest:
            self._longest, self._longest_row = len(document.text), number
        if self._label_index is not None:
            if "\n" in document.text and self._holds_rows(document.text):
                self._suspects.append(number)
            self._labels.update(document.labels or (document.label or "",))

    def notes(self) -> list[str]:
        """Return what is suspicious."""
        notes = []
        if self._suspects:
            named = ", ".join(map(str, self._suspects[:_ROWS_NAMED]))
            more = ", ..." if self._suspects[_ROWS_NAMED:] else ""
            notes.append(
                f"{len(self._suspects):,} texts hold lines that look like rows of the file "
                f"(rows {named}{more}): a quote may lack its end there"
            )
        others = (self._characters - self._longest) / max(self._rows - 1, 1)
        if self._longest >= _LARGE and self._longest > _TIMES_THE_AVERAGE * others:
            notes.append(
                f"row {self._longest_row:,} holds {self._longest / 1e6:.1f} million characters, "
                f"the others {others:,.0f} on average: a quote may lack its end there"
            )
        return notes

    def _holds_rows(self, text: str) -> bool:
        assert self._label_index is not None
        assert self._separator is not None
        for line in text.split("\n"):
            if self._separator not in line:
                continue
            cells = line.rstrip("\r").split(self._separator)
            if len(cells) >= self._width and cells[self._label_index].strip('"') in self._labels:
                return True
        return False
