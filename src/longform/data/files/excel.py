"""Rows of the first sheet of Excel workbooks, as the cells show them."""

from __future__ import annotations

import datetime
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from longform.data.files.compression import refuse_packed
from longform.data.files.sources import Source
from longform.data.files.tables import Row, Table
from longform.errors import InputError
from longform.extras import require

_FAULTS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, SyntaxError, OSError, NotImplementedError),
    # openpyxl lets these out where parts of a workbook are missing or not as its rules say.
    *(KeyError, ValueError, TypeError, IndexError, AttributeError, RuntimeError),
)
_ERRORS = frozenset({"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!"})
_KINDS = {
    "word/document.xml": "a Word document (.docx)",
    "ppt/presentation.xml": "a PowerPoint presentation",
    "xl/workbook.bin": "a binary Excel workbook (.xlsb)",
    "content.xml": "an OpenDocument file (.odt, .ods)",
}


def open_excel(source: Source) -> Table:
    """Open the first sheet of a workbook, row by row.

    openpyxl holds the table of strings that all cells share, so memory grows with the workbook;
    Excel itself allows a million rows.

    Raises:
        MissingExtraError: openpyxl is not installed.
        InputError: It is damaged, packed, or another kind of zip archive.
    """
    refuse_packed(source.path, source.compression, "An Excel workbook")
    _require_workbook(source)
    with _open_sheet(source) as (sheet, names):
        header = next((cells for cells in _iterate_cells(source, sheet) if cells), None)
    if header is None:
        raise InputError(
            "The data file must hold documents.",
            found=f"no documents: the first sheet of {source.path}, '{names[0]}', is empty",
            fix="Put the rows, under a header, on the first sheet.",
        )
    columns = tuple("" if value is None else str(_as_text(value)) for value in header)

    def read(wanted: tuple[str, ...]) -> Iterator[Row]:
        return _iterate_rows(source, table, frozenset(wanted))

    table = Table(format="xlsx", columns=columns, read=read)
    if len(names) > 1:
        others = ", ".join(f"'{name}'" for name in names[1:4]) + (", ..." if names[4:] else "")
        table.notes.append(f"only the first sheet, '{names[0]}', is read, not {others}")
    return table


def _require_workbook(source: Source) -> None:
    try:
        with zipfile.ZipFile(source.path) as archive:
            names = archive.namelist()
    except _FAULTS as error:
        raise _describe(source, error) from error
    if "xl/workbook.xml" in names:
        return
    kind = next((kind for name, kind in _KINDS.items() if name in names), None)
    listed = ", ".join(names[:3]) + (", ..." if names[3:] else "")
    raise InputError(
        "A zip archive is read only when it is an Excel workbook (.xlsx).",
        found=f"{source.path} is {kind or f'a zip archive of {listed}'}",
        fix="Unpack it, or save its content as xlsx or csv.",
    )


@contextmanager
def _open_sheet(source: Source) -> Iterator[tuple[Any, list[str]]]:
    """Open the first sheet; yields it with the names of all sheets."""
    openpyxl = require("openpyxl", "Reading Excel workbooks")
    # A stream and not a path, whose suffix openpyxl would go by.
    with source.open_binary() as stream:
        try:
            with warnings.catch_warnings():
                # About styles and extensions of Excel, which have no part in the rows.
                warnings.simplefilter("ignore")
                book = openpyxl.load_workbook(stream, read_only=True, data_only=True)
        except _FAULTS as error:
            raise _describe(source, error) from error
        sheets = book.worksheets
        if not sheets:
            raise _describe(source, "it has no sheet of cells")
        # What the file says of its own extent may be wrong; the rows themselves are not.
        sheets[0].reset_dimensions()
        yield sheets[0], [sheet.title for sheet in sheets]


def _iterate_cells(source: Source, sheet: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the cells of every row, without the empty ones at its end."""
    rows = sheet.iter_rows(values_only=True)
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cells = next(rows, None)
        except _FAULTS as error:
            raise _describe(source, error) from error
        if cells is None:
            return
        length = len(cells)
        while length and cells[length - 1] is None:
            length -= 1
        yield cells[:length]


def _iterate_rows(source: Source, table: Table, wanted: frozenset[str]) -> Iterator[Row]:
    assert table.columns is not None
    number = blank = 0
    header_passed = False
    with _open_sheet(source) as (sheet, _):
        for cells in _iterate_cells(source, sheet):
            if not cells:
                blank += 1
            elif not header_passed:
                header_passed = True
            else:
                number += 1
                yield _build_row(number, cells, table.columns, wanted)
    if blank:
        table.notes.append(f"{blank:,} blank rows passed over")


def _build_row(
    number: int, cells: tuple[Any, ...], columns: tuple[str, ...], wanted: frozenset[str]
) -> Row:
    values: Mapping[str, Any] = {
        name: _as_text(value) for name, value in zip(columns, cells, strict=False) if name in wanted
    }
    errors = [name for name, value in values.items() if value in _ERRORS]
    fault = f"{errors[0]} is the error {values[errors[0]]}" if errors else None
    if len(cells) > len(columns):
        fault = f"more fields than the header ({len(cells)} instead of {len(columns)})"
    return Row(number, values, fault)


def _as_text(value: Any) -> str | None:
    """Write a value as a csv file saved by Excel has it; dates in ISO form."""
    if value is None:
        return None
    if isinstance(value, str):
        return _unescape(value)
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def _unescape(text: str) -> str:
    if "_x" not in text:
        return text
    escape = require("openpyxl", "Reading Excel workbooks").utils.escape
    return str(escape.unescape(text))


def _describe(source: Source, error: Exception | str) -> InputError:
    problem = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return InputError(
        "An Excel workbook must be whole.",
        found=f"{source.path}: {' '.join(problem.split())}",
        fix="Save it again as xlsx, or as UTF-8 csv.",
    )
