"""Rows of Arrow IPC files and streams, one record batch at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from longform.data.files.compression import refuse_packed
from longform.data.files.sources import Source
from longform.data.files.tables import Row, Table
from longform.errors import InputError
from longform.extras import require

_ROWS = 64
"""Rows that are Python objects at once; documents are long."""
FAULTS = (OSError, MemoryError, OverflowError, UnicodeError, ValueError)
"""What pyarrow raises beside its own errors, which are read from damaged or unusual files."""


def open_arrow(source: Source) -> Table:
    """Open an Arrow file or stream; memory is that of its largest batch.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputError: It is damaged, or a file, whose end is read first, is packed.
    """
    require("pyarrow", "Reading Arrow")
    if source.kind == "arrow file":
        refuse_packed(source.path, source.compression, "An Arrow file")
    with _open_reader(source, None) as reader:
        names, class_names = tuple(reader.schema.names), read_class_names(reader.schema)

    def read(columns: tuple[str, ...]) -> Iterator[Row]:
        return _iterate_rows(source, [name for name in columns if name in names])

    return Table(format="arrow", columns=names, read=read, class_names=class_names)


def read_class_names(schema: Any) -> Mapping[str, tuple[str, ...]]:
    """Return the label names that Hugging Face `datasets` keeps in a schema, by column."""
    content = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(content)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        # Metadata of another make says nothing about classes.
        return {}
    found = {}
    for name, feature in features.items() if isinstance(features, dict) else ():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
            found[name] = tuple(map(str, inner.get("names") or ()))
    return found


def describe_fault(error: Exception) -> str:
    """Return what pyarrow says in one line."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _open_reader(source: Source, columns: list[str] | None) -> Iterator[Any]:
    pyarrow = require("pyarrow", "Reading Arrow")
    library = import_module("pyarrow.ipc")
    try:
        if source.kind == "arrow stream":
            with source.open_binary() as stream, library.open_stream(stream) as reader:
                yield reader
            return
        with pyarrow.OSFile(str(source.path)) as file:
            fields = None
            if columns is not None:
                with library.open_file(file) as reader:
                    fields = [reader.schema.get_field_index(name) for name in columns]
            options = library.IpcReadOptions(included_fields=fields)
            with library.open_file(file, options=options) as reader:
                yield reader
    except (pyarrow.ArrowException, *FAULTS) as error:
        raise InputError(
            "An Arrow file must be whole.",
            found=f"{source.path}: {describe_fault(error)}",
            fix="Copy or write it again.",
        ) from error


def _iterate_rows(source: Source, columns: list[str]) -> Iterator[Row]:
    number = 0
    with _open_reader(source, columns) as reader:
        for batch in _iterate_batches(reader):
            wanted = batch.select(columns)
            # Offsets that point outside a damaged batch would crash the process.
            wanted.validate(full=True)
            for start in range(0, len(batch), _ROWS):
                for values in wanted.slice(start, _ROWS).to_pylist():
                    number += 1
                    yield Row(number, values)


def _iterate_batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "num_record_batches"):
        return (reader.get_batch(index) for index in range(reader.num_record_batches))
    return iter(reader)
