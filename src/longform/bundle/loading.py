"""A saved bundle, read after every byte of it was verified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from longform.bundle.layout import (
    DESCRIPTION_FILE,
    MANIFEST_FILE,
    BundleDescription,
    read_description,
)
from longform.bundle.manifest import read_manifest, verify_files
from longform.bundle.places import current_folder
from longform.errors import BundleError, InputError

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle.

    Attributes:
        folder: Absolute path; where a symbolic link was given, the folder that it points to.
        description: The content of `longform.json`.
        digest: SHA-256 that stands for every byte of the bundle, in hexadecimal.
        files: Paths within the folder of all files but the manifest, with forward slashes.
    """

    folder: Path
    description: BundleDescription
    digest: str
    files: frozenset[str]

    def has(self, name: str) -> bool:
        """Tell whether the bundle holds the file `name`, a path within it."""
        return name in self.files

    def path(self, name: str) -> Path:
        """Return the absolute path of the file `name`.

        Raises:
            InputError: The bundle holds no such file, for example a target that was not exported.
        """
        if name not in self.files:
            raise InputError(
                f"This needs the file '{name}' in the bundle.",
                found=f"{self.folder} holds {', '.join(sorted(self.files))}",
                fix="Add the target with 'longform export', or choose another backend.",
            )
        return self.folder / name


def load_bundle(folder: Path) -> Bundle:
    """Verify a bundle and read its description. Nothing is parsed before it is verified.

    A bundle that is replaced while it is read is read again, so that the answer is always one whole
    bundle.

    Args:
        folder: A folder, or a symbolic link to one.

    Raises:
        InputError: There is no bundle at `folder`.
        BundleError: The bundle is damaged, incomplete, altered, or of a newer format.
    """
    for _ in range(_ATTEMPTS):
        location = _locate(folder)
        identity = _identity(location)
        try:
            bundle = _load_verified(location)
        except BundleError:
            if _identity(_locate(folder)) == identity:
                raise
        else:
            if _identity(_locate(folder)) == identity:
                return bundle
    raise BundleError(
        "A bundle must stay in place while it is read.",
        found=f"{folder} was replaced {_ATTEMPTS} times in a row",
        fix="Let the process that saves it finish, then load it again.",
    )


def _load_verified(folder: Path) -> Bundle:
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    return Bundle(
        folder=folder,
        description=read_description(folder),
        digest=manifest.digest,
        files=frozenset(manifest.files),
    )


def _locate(folder: Path) -> Path:
    """Return the real folder of a bundle, or say that there is none."""
    location = current_folder(folder)
    try:
        names = {path.name for path in location.iterdir()}
    except OSError as error:
        found = f"{folder}: {error.strerror or error}"
    else:
        if names & {MANIFEST_FILE, DESCRIPTION_FILE}:
            return location.resolve()
        found = f"{folder} has neither {MANIFEST_FILE} nor {DESCRIPTION_FILE}"
    raise InputError(
        "A bundle is a folder that 'longform train' or 'longform export' wrote.",
        found=found,
        fix="Give the path of such a folder.",
    )


def _identity(folder: Path) -> tuple[Path, int, int] | None:
    try:
        status = folder.stat()
    except FileNotFoundError:
        return None
    return folder, status.st_ino, status.st_mtime_ns
