"""The format of a source, told by its content, and the table of rows that comes out of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from longform.data.files.annotations import AnnotatedTasks
from longform.data.files.arrow import open_arrow
from longform.data.files.delimited import open_delimited
from longform.data.files.excel import open_excel
from longform.data.files.fasttext import LABEL_PREFIX, open_fasttext
from longform.data.files.json_rows import iterate_json_array, iterate_json_lines
from longform.data.files.parquet import open_parquet
from longform.data.files.sources import Kind, Source
from longform.data.files.tables import ReadRows, Row, Table
from longform.data.files.text_folder import open_folder
from longform.data.files.tfrecord import open_tfrecord

_JSON_SUFFIXES = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_JSON_START = re.compile(r'(\[\s*)?\{\s*"')
"""An object with a key, alone or first in an array; no header of a csv file begins so."""
_HEAD = 4096
_OPENERS: dict[Kind, Callable[[Source], Table]] = {
    "parquet": open_parquet,
    "arrow file": open_arrow,
    "arrow stream": open_arrow,
    "xlsx": open_excel,
    "tfrecord": open_tfrecord,
    "folder": open_folder,
}


def open_table(source: Source, columns: tuple[str, ...]) -> Table:
    """Open the rows of a source.

    Args:
        source: The file.
        columns: Columns that may be wanted; the separator of a delimited file is the one that
            makes them appear in its header.

    Raises:
        InputError: The header or the first bytes cannot be read.
        MissingExtraError: The library that reads the format is not installed.
    """
    with source.translate_read_errors():
        if source.kind == "text":
            table = _open_text_table(source, columns)
        else:
            table = _OPENERS[source.kind](source)
    table.read = _guard(table.read, source)
    return table


def _open_text_table(source: Source, columns: tuple[str, ...]) -> Table:
    with source.open_text(newline="") as stream:
        head = stream.read(_HEAD).lstrip("\ufeff \t\r\n")
    suffix = source.suffix
    if head.startswith(LABEL_PREFIX):
        return open_fasttext(source)
    # Under a JSON name, the JSON reader says best what is wrong with a text that is not JSON.
    if suffix not in _JSON_SUFFIXES and not _JSON_START.match(head):
        return open_delimited(source, columns)
    return _open_json(source, is_array=head.startswith("["))


def _open_json(source: Source, *, is_array: bool) -> Table:
    iterate = iterate_json_array if is_array else iterate_json_lines

    def read(columns: tuple[str, ...]) -> Iterator[Row]:
        tasks = AnnotatedTasks()
        for row in iterate(source, table):
            yield tasks.flatten(row)
        table.notes += tasks.notes()

    table = Table(format="json" if is_array else "jsonl", read=read)
    expected = _JSON_SUFFIXES.get(source.suffix)
    if is_array and expected == "jsonl":
        table.notes.append(f"named {source.suffix} but holds one JSON array")
    elif not is_array and expected == "json":
        table.notes.append("named .json but holds one object a line")
    elif expected is None:
        table.notes.append(f"named {source.suffix or 'without suffix'} but holds JSON")
    return table


def _guard(read: ReadRows, source: Source) -> ReadRows:
    """Keep damage that shows only while rows are read from surfacing as a traceback."""

    def read_guarded(columns: tuple[str, ...]) -> Iterator[Row]:
        with source.translate_read_errors():
            yield from read(columns)

    return read_guarded
