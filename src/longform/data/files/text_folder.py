"""Rows of a folder of text files: one document a file, one sub-folder for each label."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from longform.data.files.census import MARKER
from longform.data.files.compression import SUFFIXES
from longform.data.files.sources import Source, open_source
from longform.data.files.tables import LONGEST_FIELD, Row, Table
from longform.errors import InputError

_NAMED = 3
COLUMNS = ("id", "text", "label")


@dataclass(slots=True)
class _Listing:
    """Paths relative to the folder, with `/`, in sorted order."""

    texts: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    deep: list[str] = field(default_factory=list)


def open_folder(source: Source) -> Table:
    """Open a folder of `.txt` files (also as `.gz` or `.zst`).

    The label is the name of the sub-folder, the id the path within the folder. Where no labels
    are wanted, the text files directly in the folder and those in deeper folders are read too.

    Raises:
        InputError: The folder holds no text file.
    """
    listing = _list(source.path)
    if not listing.texts and not listing.deep:
        raise InputError(
            "A data folder must hold .txt files, in one sub-folder for each label.",
            found=f"no .txt file in {source.path}, {len(listing.others):,} other files",
            fix="Give that folder, or one data file.",
        )

    def read(columns: tuple[str, ...]) -> Iterator[Row]:
        labelled = "label" in columns
        paths = listing.texts if labelled else sorted([*listing.texts, *listing.deep])
        if labelled and listing.deep:
            table.notes.append(
                f"{len(listing.deep):,} .txt files lie deeper than one sub-folder and are not "
                f"read ({_name(listing.deep)})"
            )
        encodings: dict[str, int] = {}
        for number, name in enumerate(paths, start=1):
            yield _read_file(source, name, number, encodings)
        counted = ", ".join(f"{count:,} {name}" for name, count in sorted(encodings.items()))
        if counted:
            table.notes.append(f"encodings of the files: {counted}")

    table = Table(format="folder", columns=COLUMNS, read=read)
    if listing.others:
        table.notes.append(
            f"{len(listing.others):,} files that are not .txt passed over ({_name(listing.others)})"
        )
    return table


def _list(folder: Path) -> _Listing:
    listing = _Listing()
    for parent, _, names in os.walk(folder):
        relative = Path(parent).relative_to(folder)
        for name in names:
            path = relative / name
            if not _is_text(name):
                listing.others.append(path.as_posix())
            elif len(path.parts) > 2:
                listing.deep.append(path.as_posix())
            else:
                listing.texts.append(path.as_posix())
    for paths in (listing.texts, listing.others, listing.deep):
        paths.sort()
    return listing


def _is_text(name: str) -> bool:
    path = Path(name.lower())
    inner = path.stem if path.suffix in SUFFIXES else path.name
    return inner.endswith(".txt") and not name.startswith(".")


def _name(paths: list[str]) -> str:
    return ", ".join(paths[:_NAMED]) + (", ..." if paths[_NAMED:] else "")


def _read_file(source: Source, name: str, number: int, encodings: dict[str, int]) -> Row:
    path = source.path / name
    folder = Path(name).parent.name
    values = {"id": name, "label": folder or None}
    if path.is_file() and path.stat().st_size == 0:
        return Row(number, values | {"text": ""}, name=name)
    given = None if source.detected else source.encoding
    file = open_source(path, given, source.errors)
    if file.kind != "text":
        return Row(number, values, f"not a text file but {file.kind}", name)
    with file.translate_read_errors(), file.open_text(newline="") as stream:
        text = stream.read(LONGEST_FIELD).removeprefix("\ufeff")
        if stream.read(1):
            return Row(number, values, f"longer than {LONGEST_FIELD:,} characters", name)
    encoding = str(file.encoding)
    encodings[encoding] = encodings.get(encoding, 0) + 1
    if source.errors == "skip" and MARKER in text:
        return Row(number, values, f"bytes that are not {encoding}", name)
    return Row(number, values | {"text": text}, name=name)
