"""Saving a bundle so that its path holds the whole old one or the whole new one at every moment.

The bundle is written into a hidden folder beside the target, flushed to the disk, and swapped in by
one step of the file system. docs/bundle.md tells the steps and what is left after a power cut.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longform.bundle.filesystem import FileSystem
from longform.bundle.layout import MANIFEST_FILE, read_description
from longform.bundle.loading import Bundle
from longform.bundle.manifest import build_manifest
from longform.bundle.output import (
    DISK_IS_FULL,
    can_exchange,
    check_place,
    explaining,
    open_staging,
)
from longform.bundle.places import (
    linked_version,
    neighbours,
    new_neighbour,
    previous_folder,
    resolve_target,
)
from longform.errors import InputError, LongformError

_logger = logging.getLogger(__name__)


@contextmanager
def writing_bundle(
    target: Path, *, overwrite: bool = False, file_system: FileSystem | None = None
) -> Iterator[Path]:
    """Give a folder to write a bundle into, and put it at `target` when the block ends well.

    When the block or the saving fails, the folder is removed and `target` stays as it was. The
    manifest is written here, last. Folders that killed processes left are removed first.

    Args:
        target: Path of the bundle; missing parent folders are created.
        overwrite: Replace a bundle that stands there.
        file_system: The steps to use; tests hand in one that fails.

    Yields:
        The folder to write into; it must hold `longform.json` when the block ends.

    Raises:
        InputError: As `check_output`.
        BundleError: What was written is no bundle.
        LongformError: The file system refused a step, for example because the disk is full.
    """
    save = _Save(target, overwrite, file_system or FileSystem())
    try:
        with explaining(target, InputError):
            staging = save.begin()
        with explaining(target, LongformError, only=DISK_IS_FULL):
            yield staging
        with explaining(target, LongformError):
            save.commit(staging)
        save.discard_old()
    except BaseException as error:
        save.abandon(error)
        raise
    finally:
        save.release()


@contextmanager
def extending_bundle(bundle: Bundle, target: Path) -> Iterator[Path]:
    """Give a folder that holds all files of a bundle, to add to, and put it in the bundle's place.

    The bundle is saved anew, with a new manifest and so a new digest.

    Args:
        bundle: The verified bundle.
        target: The path that it was loaded from.

    Yields:
        The folder to write into.

    Raises:
        InputError: As `check_output`.
        LongformError: The file system refused a step, for example because the disk is full.
    """
    with writing_bundle(target, overwrite=True) as staging:
        for name in bundle.files:
            copy = staging / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path(name), copy)
        yield staging


class _Save:
    """The steps of one save, and the way back from each of them."""

    def __init__(self, target: Path, overwrite: bool, steps: FileSystem) -> None:
        self.target = resolve_target(target)
        self.overwrite = overwrite
        self.steps = steps
        self.staging: Path | None = None
        self.version: Path | None = None
        self.old: list[Path] = []
        self.can_exchange = True
        self.lock: int | None = None

    def begin(self) -> Path:
        """Clear away what killed saves left and open a staging folder."""
        check_place(self.target, self.overwrite)
        self._make_parents()
        self._settle_previous()
        self._remove_stale()
        self.staging, self.lock = open_staging(self.target, self.steps)
        self.can_exchange = can_exchange(self.staging, self.steps)
        return self.staging

    def commit(self, staging: Path) -> None:
        """Seal the staging folder with its manifest and swap it in."""
        read_description(staging)
        self.steps.write(staging / MANIFEST_FILE, build_manifest(staging))
        self.steps.sync_tree(staging)
        # Hours may have passed since the first look.
        check_place(self.target, self.overwrite)
        if linked_version(self.target) is not None or not self.can_exchange:
            self._swap_link(staging)
        elif self.target.exists() and any(self.target.iterdir()):
            self.steps.exchange(staging, self.target)
            self.old.append(staging)
        else:
            self.steps.rename(staging, self.target)
        self.steps.sync(self.target.parent)

    def discard_old(self) -> None:
        """Remove what was replaced; where that fails the new bundle stands all the same."""
        with explaining(self.target, LongformError):
            self._settle_previous()
        for folder in self.old:
            self._try_to_remove(folder)

    def abandon(self, reason: BaseException) -> None:
        """Remove what this save wrote; where that fails, say so beside the reason."""
        if self.staging is None:
            return
        try:
            self._settle_previous()
            for path in (self.staging, self.version):
                if path is not None and path != linked_version(self.target):
                    self.steps.remove_tree(path)
        except OSError as error:
            reason.add_note(f"The staging folder could not be removed: {error}")

    def release(self) -> None:
        """Give up the mark on the staging folder."""
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

    def _make_parents(self) -> None:
        missing = []
        parent = self.target.parent
        while not parent.exists():
            missing.append(parent)
            parent = parent.parent
        for folder in reversed(missing):
            self.steps.make_folder(folder)
            self.steps.sync(folder.parent)

    def _swap_link(self, staging: Path) -> None:
        """Put the folder under a version name and a link to it at the target."""
        linked = linked_version(self.target)
        self.version = new_neighbour(self.target, "version")
        self.steps.rename(staging, self.version)
        # Made inside the marked folder, where no other save can take it for a left-over.
        link = self.version / ".link"
        self.steps.link(link, self.version.name)
        self.steps.sync(self.target.parent)
        if linked is not None:
            self.old.append(linked)
        elif self.target.is_dir():
            if any(self.target.iterdir()):
                self.steps.rename(self.target, previous_folder(self.target))
            else:
                self.steps.remove_folder(self.target)
        self.steps.rename(link, self.target)
        self.steps.sync(self.version)

    def _settle_previous(self) -> None:
        """Put a previous folder back where nothing took its place; otherwise mark it as old."""
        previous = previous_folder(self.target)
        if not previous.is_dir():
            return
        if os.path.lexists(self.target):
            # Renamed first: a half-removed previous folder must never be taken for a bundle.
            self.old.append(new_neighbour(self.target, "staging"))
            self.steps.rename(previous, self.old[-1])
        else:
            self.steps.rename(previous, self.target)
            self.steps.sync(self.target.parent)

    def _remove_stale(self) -> None:
        """Remove folders of dead processes; those of living ones are marked by a lock."""
        for folder in neighbours(self.target):
            try:
                lock = self.steps.lock(folder)
            except (BlockingIOError, FileNotFoundError):
                continue
            if lock is None:
                continue
            try:
                # Looked up under the lock: whoever links a version holds it until it is linked.
                if folder != linked_version(self.target):
                    self._try_to_remove(folder)
            finally:
                os.close(lock)

    def _try_to_remove(self, folder: Path) -> None:
        """Remove what nobody reads any more; a failure costs disk space and not the save."""
        try:
            self.steps.remove_tree(folder)
        except OSError as error:
            _logger.warning("%s is of no use any more and cannot be removed: %s", folder, error)
