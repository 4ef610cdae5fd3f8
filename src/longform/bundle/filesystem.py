"""The single steps of a save on the disk. Knows nothing of bundles."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
import sys
from pathlib import Path

CANNOT_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
"""What kernels, file systems and sandboxes without `RENAME_EXCHANGE` answer."""

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAMEAT2_NUMBER = {"x86_64": 316, "aarch64": 276}


class FileSystem:
    """Every change that a save makes, one method each, so that a test can stop it anywhere."""

    def make_folder(self, path: Path) -> None:
        """Create a folder with the permissions that the user's mask gives."""
        path.mkdir()

    def write(self, path: Path, content: bytes) -> None:
        """Write a file."""
        path.write_bytes(content)

    def sync(self, path: Path) -> None:
        """Wait until a file, or the list of names in a folder, is on the disk."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Some network file systems keep no list of names that could be flushed.
            if error.errno != errno.EINVAL or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Move in one step; an empty folder or a link at `target` is replaced."""
        source.rename(target)

    def exchange(self, first: Path, second: Path) -> None:
        """Swap two paths in one step, so that neither is ever missing.

        Raises:
            OSError: With a number in `CANNOT_EXCHANGE` where the system has no such step.
        """
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, "this system cannot exchange two paths")
        names = (os.fsencode(first), os.fsencode(second))
        libc = ctypes.CDLL(None, use_errno=True)
        if hasattr(libc, "renameat2"):
            status = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
        elif platform.machine() in _RENAMEAT2_NUMBER:
            number = ctypes.c_long(_RENAMEAT2_NUMBER[platform.machine()])
            status = libc.syscall(
                number, _AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE
            )
        else:
            raise OSError(errno.ENOSYS, "this C library cannot exchange two paths")
        if status != 0:
            number_of_error = ctypes.get_errno()
            raise OSError(number_of_error, os.strerror(number_of_error), str(second))

    def link(self, path: Path, destination: str) -> None:
        """Create a symbolic link."""
        path.symlink_to(destination)

    def remove_file(self, path: Path) -> None:
        """Remove a file or a link; one that is gone already is no fault."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder; one that is gone already is no fault."""
        if path.exists():
            path.rmdir()

    def remove_tree(self, path: Path) -> None:
        """Remove a folder with all that is in it, following no links."""
        if path.is_symlink() or not path.is_dir():
            self.remove_file(path)
            return
        for child in sorted(path.iterdir()):
            self.remove_tree(child)
        self.remove_folder(path)

    def sync_tree(self, path: Path) -> None:
        """Flush every file of a folder, then the folders from the inside out."""
        for child in sorted(path.iterdir()):
            if child.is_dir():
                self.sync_tree(child)
            else:
                self.sync(child)
        self.sync(path)

    def lock(self, folder: Path) -> int | None:
        """Mark a folder as in use; the system forgets the mark when the process ends, however.

        Returns:
            A descriptor to close when done, or None where the file system keeps no such marks and
            where the folder is another user's.

        Raises:
            BlockingIOError: A living process uses the folder.
            FileNotFoundError: The folder is gone.
        """
        # Imported here, so that bundles can be loaded on systems that do not have it.
        import fcntl

        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            raise
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(descriptor), folder.stat()):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)
            raise
        except OSError:
            os.close(descriptor)
            return None
        return descriptor
