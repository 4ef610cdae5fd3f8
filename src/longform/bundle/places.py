"""Where the folders of a save lie: the target and its hidden neighbours in the same folder.

For a target `model` these are `.model.staging-*` (being written, or old and being removed),
`.model.version-*` (what a symbolic link `model` points to where the file system cannot exchange
folders) and `.model.previous` (a target on its way out, for the moment before the link stands).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Literal

Kind = Literal["staging", "version"]


def resolve_target(target: Path) -> Path:
    """Return the absolute path at which a bundle is put.

    A symbolic link that a save did not make is followed, so that the link stays and the folder
    behind it is replaced.
    """
    if target.name in {"", ".."}:
        return Path(os.path.realpath(target))
    place = Path(os.path.realpath(target.parent)) / target.name
    if place.is_symlink() and linked_version(place) is None:
        return Path(os.path.realpath(place))
    return place


def current_folder(target: Path) -> Path:
    """Return what stands for `target`: itself, or the previous folder of an interrupted swap."""
    if target.name and not os.path.lexists(target) and previous_folder(target).is_dir():
        return previous_folder(target)
    return target


def previous_folder(target: Path) -> Path:
    """Return where a folder waits while a link takes its place."""
    return target.with_name(f".{target.name}.previous")


def linked_version(target: Path) -> Path | None:
    """Return the version folder that `target` links to, or None where it is no such link."""
    if not target.is_symlink():
        return None
    destination = target.readlink()
    is_ours = destination.name.startswith(_prefix(target, "version"))
    return target.with_name(destination.name) if is_ours and destination.parent == Path() else None


def new_neighbour(target: Path, kind: Kind) -> Path:
    """Return a path beside `target` that nothing else uses."""
    return target.with_name(_prefix(target, kind) + secrets.token_hex(6))


def neighbours(target: Path) -> list[Path]:
    """Return the staging and version folders that lie beside `target`."""
    prefixes = (_prefix(target, "staging"), _prefix(target, "version"))
    return sorted(path for path in target.parent.iterdir() if path.name.startswith(prefixes))


def outside_staging(path: Path) -> Path:
    """Return the folder that a staging folder lies in for a path in one, else `path` itself."""
    for depth, part in enumerate(path.parts):
        if part.startswith(".") and ".staging-" in part:
            return Path(*path.parts[:depth])
    return path


def _prefix(target: Path, kind: Kind) -> str:
    return f".{target.name}.{kind}-"
