"""Rows of parquet files, a small batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from longform.data.sources import Source
from longform.data.tables import Row, Table
from longform.errors import InputError
from longform.extras import require

_BATCH = 64
"""Rows held at once; documents are long."""


def open_parquet(source: Source, columns: tuple[str, ...]) -> Table:
    """Open a parquet file; only `columns` are read from it.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputError: The file is packed once more, or damaged.
    """
    if source.compression is not None:
        raise InputError(
            "A parquet file must not be packed as a whole, because its end is read first.",
            found=f"{source.path} is parquet inside gzip",
            fix=f"Unpack it: gzip -d {source.path.name}",
        )
    pyarrow = require("pyarrow", "Reading parquet")
    parquet = require("pyarrow.parquet", "Reading parquet")
    try:
        file = parquet.ParquetFile(source.path)
    except (pyarrow.ArrowException, OSError) as error:
        raise _describe(source, error) from error
    names = tuple(file.schema_arrow.names)
    table = Table(format="parquet", columns=names)
    table.rows = _iterate_rows(source, file, [name for name in columns if name in names])
    return table


def _iterate_rows(source: Source, file: Any, columns: list[str]) -> Iterator[Row]:
    pyarrow = require("pyarrow", "Reading parquet")
    number = 0
    try:
        with file:
            for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, values)
    except (pyarrow.ArrowException, OSError) as error:
        raise _describe(source, error) from error


def _describe(source: Source, error: Exception) -> InputError:
    return InputError(
        "A parquet file must be whole.",
        found=f"{source.path}: {' '.join(str(error).split())}",
        fix="Copy or write it again.",
    )
