"""Rows of parquet files, a small batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from longform.data.files.arrow import FAULTS, describe_fault, read_class_names
from longform.data.files.compression import refuse_packed
from longform.data.files.sources import Source
from longform.data.files.tables import Row, Table
from longform.errors import InputError
from longform.extras import require

_BATCH = 64
"""Rows held at once; documents are long."""
_BUFFER = 1 << 20


def open_parquet(source: Source) -> Table:
    """Open a parquet file; only the wanted columns are read from it.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputError: The file is packed once more, or damaged.
    """
    refuse_packed(source.path, source.compression, "A parquet file")
    pyarrow = require("pyarrow", "Reading parquet")
    try:
        with _open_file(source) as file:
            schema = file.schema_arrow
            names, class_names = tuple(schema.names), read_class_names(schema)
    except (pyarrow.ArrowException, *FAULTS) as error:
        raise _describe(source, error) from error

    def read(columns: tuple[str, ...]) -> Iterator[Row]:
        return _iterate_rows(source, [name for name in columns if name in names])

    return Table(format="parquet", columns=names, read=read, class_names=class_names)


def _open_file(source: Source) -> Any:
    parquet = import_module("pyarrow.parquet")
    # With a buffer, pages are read one after the other and not all of a row group at once.
    return parquet.ParquetFile(source.path, buffer_size=_BUFFER, pre_buffer=False)


def _iterate_rows(source: Source, columns: list[str]) -> Iterator[Row]:
    pyarrow = require("pyarrow", "Reading parquet")
    number = 0
    try:
        with _open_file(source) as file:
            for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
                # Bytes that are not UTF-8 are allowed in by those who write them.
                batch.validate(full=True)
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, values)
    except (pyarrow.ArrowException, *FAULTS) as error:
        raise _describe(source, error) from error


def _describe(source: Source, error: Exception) -> InputError:
    return InputError(
        "A parquet file must be whole.",
        found=f"{source.path}: {describe_fault(error)}",
        fix="Copy or write it again.",
    )
