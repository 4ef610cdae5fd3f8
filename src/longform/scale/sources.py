"""The files of a job: paths, folders, patterns and object storage."""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob
from pathlib import Path, PurePosixPath
from typing import Any

from longform.errors import InputError
from longform.scale.storage import open_file_system

_SUFFIXES = frozenset(
    {".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".xlsx", ".tfrecord"}
)
_PACKED = frozenset({".gz", ".zst"})
_WILD = frozenset("*?[")
_COPIED_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of documents.

    Attributes:
        number: Its place in the job; answers carry it.
        path: A local path, or a URL such as `s3://bucket/a.parquet`.
        size: Bytes.
        modified: When, as its storage tells; empty where it does not.
    """

    number: int
    path: str
    size: int
    modified: str = ""


def list_inputs(wanted: str) -> list[InputFile]:
    """Find the files of a job, in the order of their paths.

    Args:
        wanted: A file, a pattern with `*`, `?`, `[...]` or, locally, `**`; a folder, of which all
            files of tables are taken, at any depth, or, where it has none, the folder itself as one
            of texts; or any of these by URL.

    Raises:
        InputError: There is no such file.
        MissingExtraError: A URL needs pyarrow.
    """
    found = _list_remote(wanted) if "://" in wanted else _list_local(wanted)
    if not found:
        raise InputError(
            "--input names files that there are.",
            found=f"none for {wanted}",
            fix="Give a file, a folder, or a pattern in quotes such as 'data/*.parquet'.",
        )
    return [InputFile(number, *each) for number, each in enumerate(sorted(found))]


@contextmanager
def local_copy(file: InputFile) -> Iterator[Path]:
    """Lend a file as a local path; one of an object storage is copied, and removed afterwards.

    Raises:
        InputError: It is not there, or the storage refuses.
    """
    if "://" not in file.path:
        yield Path(file.path)
        return
    system, path = open_file_system(file.path)
    name = PurePosixPath(path).name
    with tempfile.TemporaryDirectory(prefix="longform-") as folder:
        target = Path(folder) / name
        try:
            with (
                system.open_input_stream(path, compression=None) as source,
                target.open("wb") as copy,
            ):
                while block := source.read(_COPIED_AT_ONCE):
                    copy.write(block)
        except OSError as error:
            raise InputError(
                "A file of an object storage must be readable.",
                found=f"{file.path}: {error}",
                fix="Check its name and the credentials of this machine.",
            ) from error
        yield target


def _list_local(wanted: str) -> list[tuple[str, int, str]]:
    path = Path(wanted)
    if path.is_dir():
        files = [item for item in path.rglob("*") if item.is_file() and _is_table(item.name)]
        paths = files or [path]
    elif path.is_file():
        paths = [path]
    else:
        # Path.glob knows no pattern that begins with a folder of its own.
        paths = [Path(item) for item in glob(wanted, recursive=True)]  # noqa: PTH207
        paths = [item for item in paths if item.is_file()]
    told = ((str(item), item.stat()) for item in paths)
    return [(name, status.st_size, str(status.st_mtime_ns)) for name, status in told]


def _list_remote(wanted: str) -> list[tuple[str, int, str]]:
    url, query = _split_options(wanted)
    parts = url.split("/")
    wild = next((place for place, part in enumerate(parts) if _WILD & set(part)), len(parts))
    fixed = "/".join(parts[:wild])
    system, root = open_file_system(fixed + query)
    # What a URL has before the path: the scheme, and the host where the path does not name it.
    host = fixed.rstrip("/").removesuffix(root.rstrip("/"))
    pattern = "/".join((root.rstrip("/"), *parts[wild:])) if wild < len(parts) else None
    return [
        (f"{host}{item.path}{query}", item.size, str(item.mtime_ns or ""))
        for item in _files(system, root, fixed)
        if (_fits(item.path, pattern) if pattern else item.path == root or _is_table(item.path))
    ]


def _split_options(url: str) -> tuple[str, str]:
    """Part a URL from options such as `?region=...`; a pattern's `?` has no `=` behind it."""
    before, mark, after = url.rpartition("?")
    return (before, mark + after) if "=" in after and mark else (url, "")


def _files(system: Any, root: str, url: str) -> list[Any]:
    from pyarrow import fs

    try:
        status = system.get_file_info(root)
        if status.type == fs.FileType.File:
            return [status]
        listed = system.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
    except OSError as error:
        raise InputError(
            "The object storage of --input must answer.",
            found=f"{url}: {error}",
            fix="Check the address and the credentials of this machine.",
        ) from error
    return [item for item in listed if item.type == fs.FileType.File]


def _fits(path: str, pattern: str) -> bool:
    """Tell whether a path fits a pattern, folder by folder."""
    own, wanted = PurePosixPath(path).parts, PurePosixPath(pattern).parts
    return len(own) == len(wanted) and all(map(fnmatch.fnmatchcase, own, wanted))


def _is_table(name: str) -> bool:
    suffixes = PurePosixPath(name).suffixes
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1].lower() in _SUFFIXES
