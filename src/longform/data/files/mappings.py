"""Rows that are in Python already, such as those of Hugging Face `datasets`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from longform.data.files.tables import Row, Table
from longform.errors import InputError


def open_rows(rows: Iterable[Mapping[str, Any]], name: str) -> Table:
    """Make a table of mappings; the features of a `datasets.Dataset` are its header.

    Raises:
        InputError: These are several sets of rows, or no rows.
    """
    if isinstance(rows, Mapping):
        raise InputError(
            "Rows must be one set of mappings, column name to value.",
            found=f"{name} is a {type(rows).__name__} with the keys "
            + ", ".join(f"'{key}'" for key in list(rows)[:10]),
            fix="Take one of its splits, for example rows['train'].",
        )
    features = getattr(rows, "features", None) or {}

    def read(columns: tuple[str, ...]) -> Iterator[Row]:
        for number, values in enumerate(rows, start=1):
            if isinstance(values, Mapping):
                yield Row(number, values)
            else:
                yield Row(number, {}, f"not a mapping but a {type(values).__name__}")

    return Table(
        format="rows",
        columns=tuple(features) or None,
        read=read,
        class_names={
            column: names for column, feature in features.items() if (names := _names(feature))
        },
    )


def _names(feature: Any) -> tuple[str, ...]:
    """Return the label names of a `ClassLabel`, or of a list of them."""
    inner = getattr(feature, "feature", feature)
    return tuple(getattr(inner, "names", None) or ())
