"""Where answers go: a folder, or a prefix of an object storage. A file is there whole or not."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from longform.errors import InputError
from longform.extras import require


def open_file_system(place: str) -> tuple[Any, str]:
    """Return the pyarrow file system of a path or URL, and the path within it.

    Local paths, `file://`, `s3://`, `gs://`, `abfs://` and `hdfs://` are what pyarrow itself
    speaks; credentials are found as their vendors' tools find them.

    Raises:
        InputError: Nothing speaks the URL's scheme.
        MissingExtraError: pyarrow is not installed.
    """
    require("pyarrow", "Bulk scoring into a folder")
    import pyarrow
    from pyarrow import fs

    if "://" not in place:
        return fs.LocalFileSystem(), str(Path(place).absolute())
    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(place)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(
            "A URL is one that pyarrow can open: file, s3, gs, abfs or hdfs.",
            found=f"{place}: {error}",
            fix="Correct it, or give a local path.",
        ) from error
    return found


WRITING = ".writing"
"""Folder of files that are not whole yet; readers of tables pass over names with a dot."""


class Storage:
    """A folder of files that are written whole or not at all.

    Args:
        place: A local path or a URL.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._system, self._root = open_file_system(place)

    @property
    def is_local(self) -> bool:
        """Whether files are moved into their place; object storages show whole objects anyway."""
        return bool(self._system.type_name == "local")

    def write_table(self, table: Any, name: str) -> None:
        """Write an Arrow table as parquet; one that is there is replaced.

        Raises:
            InputError: The storage refuses.
        """
        from pyarrow import parquet

        def write(stream: Any) -> None:
            parquet.write_table(table, stream, compression="zstd")

        self._write(write, name)

    def write_json(self, content: Any, name: str) -> None:
        """Write JSON; a file that is there is replaced."""
        text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
        self._write(lambda stream: stream.write(text.encode()), name)

    def read_json(self, name: str) -> Any | None:
        """Return the content of a file; None where there is none."""
        try:
            with self._system.open_input_stream(self._path(name)) as stream:
                return json.loads(stream.read())
        except FileNotFoundError:
            return None

    def metadata(self, name: str) -> Any:
        """Return the schema's metadata and the number of rows of a parquet file."""
        from pyarrow import parquet

        with self._system.open_input_file(self._path(name)) as file:
            found = parquet.read_metadata(file)
        return found.schema.to_arrow_schema().metadata or {}, found.num_rows

    def names(self, folder: str) -> list[str]:
        """Return the files below a folder, as names within the storage, sorted."""
        from pyarrow import fs

        selector = fs.FileSelector(self._path(folder), recursive=True, allow_not_found=True)
        found = self._system.get_file_info(selector)
        prefix = len(self._root.rstrip("/")) + 1
        return sorted(item.path[prefix:] for item in found if item.type == fs.FileType.File)

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all that is in it, if it is there."""
        from pyarrow import fs

        path = self._path(name)
        kind = self._system.get_file_info(path).type
        if kind == fs.FileType.Directory:
            self._system.delete_dir(path)
        elif kind == fs.FileType.File:
            self._system.delete_file(path)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _write(self, write: Any, name: str) -> None:
        path = self._path(name)
        # Two tasks may write one part, when the first was thought lost: names of their own.
        written = self._path(f"{WRITING}/{secrets.token_hex(8)}") if self.is_local else path
        try:
            for each in {path, written}:
                self._system.create_dir(each.rpartition("/")[0], recursive=True)
            with self._system.open_output_stream(written) as stream:
                write(stream)
            if written != path:
                self._system.move(written, path)
        except OSError as error:
            raise InputError(
                f"Answers must be written to {self.place}, and the storage refused.",
                found=str(error),
                fix="Make room there, or choose an --output that this user may write to.",
            ) from error
