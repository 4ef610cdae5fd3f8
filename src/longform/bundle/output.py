"""Where a bundle may be saved: refused early, with the reason and the way out."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longform.bundle.filesystem import CANNOT_EXCHANGE, FileSystem
from longform.bundle.layout import MANIFEST_FILE
from longform.bundle.manifest import list_files, read_manifest
from longform.bundle.places import (
    current_folder,
    new_neighbour,
    outside_staging,
    resolve_target,
)
from longform.errors import BundleError, InputError, LongformError

DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def check_output(
    target: Path, overwrite: bool = False, *, file_system: FileSystem | None = None
) -> None:
    """Refuse an output path at once rather than after hours of training. Leaves nothing behind.

    Raises:
        InputError: A bundle cannot be saved at `target`: something else stands there, a bundle
            stands there and `overwrite` is not set, or the folder above it cannot be written.
    """
    steps = file_system or FileSystem()
    place = resolve_target(target)
    with explaining(target, InputError):
        check_place(place, overwrite)
    ancestor = place.parent
    while not os.path.lexists(ancestor):
        ancestor = ancestor.parent
    # Asking for permissions is not enough: quotas, network file systems and root differ.
    with explaining(target, InputError):
        trial, lock = open_staging(ancestor / place.name, steps)
        try:
            can_exchange(trial, steps)
        finally:
            steps.remove_tree(trial)
            if lock is not None:
                os.close(lock)


def open_staging(place: Path, steps: FileSystem) -> tuple[Path, int | None]:
    """Create a folder beside `place` and mark it as in use.

    Returns:
        The folder, and a descriptor to close when done as `FileSystem.lock` gives it.
    """
    while True:
        staging = new_neighbour(place, "staging")
        steps.make_folder(staging)
        try:
            return staging, steps.lock(staging)
        except (BlockingIOError, FileNotFoundError):
            # Another save took the folder, not yet marked, for one that was left behind.
            continue


@contextmanager
def explaining(
    target: Path, kind: type[LongformError], *, only: frozenset[int] | None = None
) -> Iterator[None]:
    """Turn what the file system answers into an error for the user.

    Args:
        target: The path that the user gave.
        kind: Class of the error.
        only: Numbers of the faults to turn; None turns all.
    """
    try:
        yield
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        is_full = error.errno in DISK_IS_FULL
        where = f"{outside_staging(Path(error.filename))}: " if error.filename else ""
        raise kind(
            f"The bundle must be written to {target}, and the file system refused.",
            found=f"{where}{error.strerror or error}",
            fix="Free some space, or choose another output folder."
            if is_full
            else "Choose an output folder in which this user may write.",
        ) from error


def check_place(place: Path, overwrite: bool) -> None:
    """Refuse a path whose content must not be replaced."""
    if Path.cwd().is_relative_to(place) or place.is_mount():
        raise InputError(
            "The output must be a folder that can be replaced as a whole.",
            found=f"{place} is the current folder, one above it, or a mount point",
            fix="Give the path of a folder within it, for example its subfolder 'model'.",
        )
    current = current_folder(place)
    if not os.path.lexists(current):
        return
    if not current.is_dir():
        raise InputError(
            "The output must be a folder.",
            found=f"a file, or a link to nothing, at {place}",
            fix="Choose another output folder.",
        )
    if not any(current.iterdir()):
        return
    foreign = _foreign_content(current)
    if foreign is not None:
        raise InputError(
            "The output folder must be empty or hold nothing but a bundle.",
            found=foreign,
            fix="Choose another output folder; longform never deletes what it did not write.",
        )
    if not overwrite:
        raise InputError(
            "The output folder must not hold a bundle already.",
            found=f"a bundle at {place}",
            fix="Choose another output folder, or replace the bundle with --overwrite.",
        )


def _foreign_content(folder: Path) -> str | None:
    """Tell what in a folder is not known to be of a bundle; None when all is."""
    try:
        if not (folder / MANIFEST_FILE).exists():
            return f"files and no {MANIFEST_FILE} in {folder}"
        known = {MANIFEST_FILE, *read_manifest(folder).files}
        added = [name for name, _ in list_files(folder) if name not in known]
    except BundleError as error:
        return f"{error.found} in {folder}"
    return f"{folder / added[0]}, which no bundle lists" if added else None


def can_exchange(folder: Path, steps: FileSystem) -> bool:
    """Try which way of swapping the file system has, in a folder that nobody else uses.

    Raises:
        InputError: It has neither way.
    """
    first, second = folder / "first", folder / "second"
    steps.write(first, b"")
    steps.write(second, b"")
    try:
        steps.exchange(first, second)
    except OSError as error:
        if error.errno not in CANNOT_EXCHANGE:
            raise
        _require_links(folder, steps)
        return False
    finally:
        steps.remove_file(first)
        steps.remove_file(second)
    return True


def _require_links(folder: Path, steps: FileSystem) -> None:
    link = folder / "link"
    try:
        steps.link(link, "first")
    except OSError as error:
        raise InputError(
            "The file system of the output must know how to exchange two folders, or know symbolic "
            "links.",
            found=f"{folder.parent}: {error.strerror or error}",
            fix="Save to a local disk and copy the bundle from there.",
        ) from error
    steps.remove_file(link)
