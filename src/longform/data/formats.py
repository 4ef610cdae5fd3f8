"""The format of a source, told by its content, and the table of rows that comes out of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from longform.data.delimited import open_delimited
from longform.data.json_rows import iterate_json_array, iterate_json_lines
from longform.data.parquet import open_parquet
from longform.data.sources import Source, translate_read_errors
from longform.data.tables import Row, Table

_JSON_SUFFIXES = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_JSON_START = re.compile(r'(\[\s*)?\{\s*"')
"""An object with a key, alone or first in an array; no header of a csv file begins so."""
_HEAD = 4096


def open_table(source: Source, columns: tuple[str, ...]) -> Table:
    """Open the rows of a source.

    Args:
        source: The file.
        columns: Columns that are wanted; the separator of a delimited file is the one that makes
            them appear in its header.

    Raises:
        InputError: The header or the first bytes cannot be read.
    """
    with translate_read_errors(source.path):
        if source.encoding is None:
            return open_parquet(source, columns)
        table = _open_text_table(source, columns)
    table.rows = _guard(table.rows, source)
    return table


def _open_text_table(source: Source, columns: tuple[str, ...]) -> Table:
    with source.open_text(newline="") as stream:
        head = stream.read(_HEAD).lstrip()
    suffix = source.suffix
    # Under a JSON name, the JSON reader says best what is wrong with a text that is not JSON.
    if suffix not in _JSON_SUFFIXES and not _JSON_START.match(head):
        return open_delimited(source, columns)
    start = "[" if head.startswith("[") else "{"
    table = Table(format="json" if start == "[" else "jsonl")
    table.rows = (iterate_json_array if start == "[" else iterate_json_lines)(source, table)
    expected = _JSON_SUFFIXES.get(suffix)
    if start == "[" and expected == "jsonl":
        table.notes.append(f"named {suffix} but holds one JSON array")
    elif start == "{" and expected == "json":
        table.notes.append("named .json but holds one object a line")
    elif expected is None:
        table.notes.append(f"named {suffix or 'without suffix'} but holds JSON")
    return table


def _guard(rows: Iterator[Row], source: Source) -> Iterator[Row]:
    """Keep damage that shows only while rows are read from surfacing as a traceback."""
    with translate_read_errors(source.path):
        yield from rows
