"""Rows of csv and tsv files, whatever their separator and their habit of quoting."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import suppress

from longform.data.files.census import MARKER
from longform.data.files.headers import find_headerless_columns
from longform.data.files.sources import Source
from longform.data.files.tables import LONGEST_FIELD, Row, Table
from longform.errors import InputError

_SEPARATORS = (",", "\t", ";", "|")
_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar"}
_SAMPLE = 1 << 18
"""Characters that separator and quoting are judged on."""


def open_delimited(source: Source, columns: tuple[str, ...]) -> Table:
    """Open a file of separated values.

    The separator is the one that makes most of `columns` appear in the header. Tab-separated files
    are written with and without csv quoting; quotes are taken as quoting only where all of them
    in the first quarter of a million characters can be.

    Raises:
        InputError: The file holds white space only.
    """
    csv.field_size_limit(LONGEST_FIELD)
    sample, whole = _read_sample(source)
    default = "\t" if source.suffix in {".tsv", ".tab"} else ","
    separator, known = _choose_separator(sample, columns, default)
    names = None
    if not known and "text" in columns:
        names = find_headerless_columns(_split_sample(sample))
        separator = separator if names is None else "\t"
    quoted = separator != "\t" or _is_quoted(sample, separator, whole)
    header = next(record for record in _iterate_records(source, separator, quoted) if record)
    notes = []
    if separator != default:
        notes.append(f"separated by {_NAMES[separator]}")
    if not quoted and '"' in sample:
        notes.append("quotes kept as text: they do not follow the rules of csv quoting")
    if names is not None:
        notes.append(f"no header; its columns are taken for {' and '.join(names)}")

    def read(columns: tuple[str, ...]) -> Iterator[Row]:
        records = _iterate_records(source, separator, quoted)
        return _iterate_rows(records, table, headed=names is None)

    table = Table(
        format="tsv" if separator == "\t" else "csv",
        columns=names or tuple(name.replace(MARKER, "\ufffd") for name in header),
        separator=separator,
        read=read,
        notes=notes,
    )
    return table


def _read_sample(source: Source) -> tuple[str, bool]:
    """Return the beginning of a file, up to the end of a line, and whether it is all of it."""
    with source.open_text(newline="") as stream:
        sample = stream.read(_SAMPLE)
        whole = not stream.read(1)
    if not sample.strip():
        raise InputError(
            "The data file must hold documents.",
            found=f"no documents: {source.path} holds only white space",
            fix="Give a file with a header and at least one row.",
        )
    return sample if whole else sample[: sample.rfind("\n") + 1] or sample, whole


def _split_sample(sample: str) -> list[list[str]]:
    return [line.split("\t") for line in sample.splitlines() if line]


def _choose_separator(sample: str, columns: tuple[str, ...], default: str) -> tuple[str, bool]:
    """Return the separator, and whether it makes any of the columns appear."""

    def merit(separator: str) -> tuple[int, int, bool]:
        header: list[str] = []
        with suppress(csv.Error):
            header = next(csv.reader(io.StringIO(sample, newline=""), delimiter=separator), [])
        return sum(name in header for name in columns), len(header), separator == default

    best = max(_SEPARATORS, key=merit)
    return best, merit(best)[0] > 0


def _is_quoted(sample: str, separator: str, whole: bool) -> bool:
    """Tell whether the quotes of a sample follow csv's rules and the rows then have one width."""
    if not (sample.startswith('"') or f'{separator}"' in sample or '\n"' in sample):
        return False
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=separator, strict=True)
    widths = set()
    line = 0
    try:
        for row in reader:
            line = reader.line_num
            if row:
                widths.add(len(row))
    except csv.Error as error:
        # A sample may end within a field; one that holds most of the lines is a stray quote.
        cut = not whole and "unexpected end" in str(error)
        return cut and len(widths) == 1 and 2 * line > reader.line_num
    return len(widths) == 1


def _iterate_records(source: Source, separator: str, quoted: bool) -> Iterator[list[str]]:
    """Yield every record, the header and blank ones (as empty lists) too."""
    with source.open_text(newline="") as stream:
        reader = csv.reader(
            stream,
            delimiter=separator,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            strict=True,
        )
        while True:
            line = reader.line_num + 1
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise _describe_quote(source, line, reader.line_num, error) from error
            yield record


def _describe_quote(source: Source, line: int, last_line: int, error: csv.Error) -> InputError:
    if "unexpected end" in str(error):
        found = (
            f"{source.path}: the row that starts at line {line} opens a quote and never closes it"
        )
    elif "field larger" in str(error):
        found = (
            f"{source.path}: the row that starts at line {line} holds a field of more than "
            f"{LONGEST_FIELD:,} characters; its quote is probably never closed"
        )
    else:
        found = (
            f"{source.path}: in the row that starts at line {line}, a quote in line {last_line} "
            f"is followed by neither separator nor line end"
        )
    return InputError(
        "A field that begins with a quote must end with one, and quotes inside it are doubled.",
        found=found,
        fix='Close the quote, write quotes inside a field as "", or use jsonl.',
    )


def _iterate_rows(records: Iterator[list[str]], table: Table, *, headed: bool) -> Iterator[Row]:
    assert table.columns is not None
    width = len(table.columns)
    number = blank = 0
    header_passed = not headed
    for record in records:
        if not record:
            blank += 1
            continue
        if not header_passed:
            header_passed = True
            continue
        number += 1
        fault = None
        if len(record) > width:
            fault = f"more fields than the header ({len(record)} instead of {width})"
        yield Row(number, dict(zip(table.columns, record, strict=False)), fault)
    if blank:
        table.notes.append(f"{blank:,} blank lines passed over")
