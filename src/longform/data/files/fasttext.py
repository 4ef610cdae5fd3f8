"""Rows of fastText files: labels behind a prefix, then the text, one document a line."""

from __future__ import annotations

from collections.abc import Iterator

from longform.data.files.json_rows import iterate_lines
from longform.data.files.sources import Source
from longform.data.files.tables import Row, Table

LABEL_PREFIX = "__label__"


def open_fasttext(source: Source) -> Table:
    """Open a fastText file: its columns are `text` and `label`.

    A line with several labels gives their list, a line with one gives a string.
    """

    def read(columns: tuple[str, ...]) -> Iterator[Row]:
        blank = 0
        for number, line in iterate_lines(source):
            if not line.strip():
                blank += 1
                continue
            yield _build_row(number, line)
        if blank:
            table.notes.append(f"{blank:,} blank lines passed over")

    table = Table(format="fasttext", columns=("text", "label"), read=read)
    return table


def _build_row(number: int, line: str) -> Row:
    labels = []
    rest = line.strip(" \t\r\n")
    while rest.startswith(LABEL_PREFIX):
        label, separator, text = rest.partition(" ")
        if "\t" in label:
            label, separator, text = rest.partition("\t")
        labels.append(label.removeprefix(LABEL_PREFIX))
        rest = text.lstrip(" \t") if separator else ""
    if len(labels) == 1:
        return Row(number, {"text": rest, "label": labels[0]})
    return Row(number, {"text": rest, "label": labels or None})
