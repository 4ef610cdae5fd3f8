"""The manifest: what lies in a bundle, byte for byte. Parses nothing but itself."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from longform.bundle.layout import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    TAKE_ANOTHER_COPY,
    file_digest,
    parse_json_object,
    read_limited,
    refuse_newer_format,
)
from longform.errors import BundleError

_LARGEST_MANIFEST_BYTES = 16 * 2**20

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class FileRecord(BaseModel):
    """What the manifest says of one file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sha256: Digest
    bytes: int = Field(ge=0)


class Manifest(BaseModel):
    """The content of `manifest.json`.

    Attributes:
        files: Path within the bundle, with forward slashes, of every file but the manifest.
        digest: SHA-256 of the canonical JSON of the manifest without this key. It names the bundle.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format_version: int
    files: dict[str, FileRecord]
    digest: Digest


def canonical_json(content: Any) -> bytes:
    """Write `content` in the one way that hashes: sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: It holds a number or a character that JSON in UTF-8 cannot hold.
    """
    text = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def manifest_digest(content: dict[str, Any]) -> str:
    """Return the digest that belongs into a manifest. This rule holds for all format versions."""
    rest = {key: value for key, value in content.items() if key != "digest"}
    return hashlib.sha256(canonical_json(rest)).hexdigest()


def build_manifest(folder: Path) -> bytes:
    """Describe the files of a staging folder.

    Returns:
        The bytes of `manifest.json`.

    Raises:
        BundleError: The folder holds something that does not belong into a bundle.
    """
    files = {}
    for name, status in list_files(folder):
        if name != MANIFEST_FILE:
            _check_name(name, folder)
            files[name] = {"sha256": file_digest(folder / name), "bytes": status.st_size}
    content: dict[str, Any] = {"format_version": FORMAT_VERSION, "files": files}
    return canonical_json({**content, "digest": manifest_digest(content)})


def read_manifest(folder: Path) -> Manifest:
    """Read a manifest and verify it against its own digest.

    Raises:
        BundleError: It is missing, altered, of a newer format, or names a path outside the folder.
    """
    path = folder / MANIFEST_FILE
    data = read_limited(path, _LARGEST_MANIFEST_BYTES)
    content = parse_json_object(path, data)
    try:
        # The bytes too must be the canonical ones, so that no change to them is without effect.
        is_whole = (
            manifest_digest(content) == content.get("digest") and canonical_json(content) == data
        )
    except ValueError:
        is_whole = False
    if not is_whole:
        raise BundleError(
            f"{path} must agree with its own digest.",
            found="a manifest that was altered after it was written",
            fix=TAKE_ANOTHER_COPY,
        )
    refuse_newer_format(path, content)
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        raise BundleError(
            f"{path} must list the files of a bundle.",
            found=f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}",
            fix=TAKE_ANOTHER_COPY,
        ) from error
    for name in manifest.files:
        _check_name(name, folder)
    return manifest


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Compare every file of a bundle with its manifest.

    Raises:
        BundleError: A file is missing, added, altered, unreadable or a symbolic link; the first one
            found is named.
    """
    present = dict(list_files(folder))
    present.pop(MANIFEST_FILE, None)
    for name in sorted(manifest.files.keys() | present.keys()):
        path = folder / name
        if name not in present:
            raise BundleError(
                "A bundle must hold every file that its manifest lists.",
                found=f"no file {path}",
                fix=TAKE_ANOTHER_COPY,
            )
        if name not in manifest.files:
            raise BundleError(
                "A bundle must hold only the files that its manifest lists.",
                found=f"an added file {path}",
                fix="Move that file out of the bundle; nothing may be added to a saved bundle.",
            )
        _verify_file(path, present[name].st_size, manifest.files[name])


def list_files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield path within `folder` and status of every file in it; empty folders do not count.

    Raises:
        BundleError: Something is neither a folder nor a regular file, or cannot be read.
    """
    pending = [folder]
    while pending:
        current = pending.pop()
        try:
            paths = sorted(current.iterdir())
            statuses = [path.lstat() for path in paths]
        except OSError as error:
            raise _unreadable(current, error) from error
        for path, status in zip(paths, statuses, strict=True):
            if stat.S_ISDIR(status.st_mode):
                pending.append(path)
            elif stat.S_ISREG(status.st_mode):
                yield path.relative_to(folder).as_posix(), status
            else:
                kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "a special file"
                raise BundleError(
                    "A bundle must hold plain files and folders only.",
                    found=f"{kind} {path}",
                    fix="Put a copy of the file in its place before the bundle is saved; a bundle "
                    "that was saved is copied with its links followed (cp -rL).",
                )


def _verify_file(path: Path, size: int, record: FileRecord) -> None:
    rule = "Every file of a bundle must be as its manifest says."
    if size != record.bytes:
        found = f"{path} has {size} bytes instead of {record.bytes}"
        raise BundleError(rule, found=found, fix=TAKE_ANOTHER_COPY)
    try:
        digest = file_digest(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if digest != record.sha256:
        found = f"{path} was altered: SHA-256 {digest[:12]}... instead of {record.sha256[:12]}..."
        raise BundleError(rule, found=found, fix=TAKE_ANOTHER_COPY)


def _check_name(name: str, folder: Path) -> None:
    """Refuse a path that leaves the bundle or that another system would read differently."""
    path = PurePosixPath(name)
    is_plain = (
        path.as_posix() == name
        and not path.is_absolute()
        and ".." not in path.parts
        and name not in {"", ".", MANIFEST_FILE}
        and not any(character in name for character in "\\:\0")
        and _is_utf8(name)
    )
    if not is_plain:
        raise BundleError(
            "The files of a bundle must have plain relative paths within it.",
            found=f"{name!r} in {folder}",
            fix="Do not use this bundle: take one from a source that you trust.",
        )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unreadable(path: Path, error: OSError) -> BundleError:
    return BundleError(
        "Every file of a bundle must be readable.",
        found=f"{path}: {error.strerror or error}",
        fix="Check that it is still there and that this user may read it.",
    )
