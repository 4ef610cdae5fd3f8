"""The folder of long work that may be interrupted: what it is of, and one process at a time."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longform.errors import InputError

LOCK_NAME = "lock"


@dataclass(frozen=True, slots=True)
class FolderKind:
    """What a folder is of.

    Attributes:
        noun: What the work is called.
        record_name: File that says what it is of.
        marks: Further files or folders that only such a folder has.
        forget: Removes what an earlier run left.
    """

    noun: str
    record_name: str
    marks: frozenset[str]
    forget: Callable[[Path], None]


@contextmanager
def claimed_folder(
    folder: Path, identity: dict[str, dict[str, Any]], kind: FolderKind, *, restart: bool = False
) -> Iterator[bool]:
    """Hold a folder, a new one or one of the same work.

    Args:
        folder: Made where it is not there.
        identity: Name of a part -> its keys and values: what must be the same to continue. Values
            are compared as JSON.
        kind: What it is of.
        restart: Forget what is there.

    Yields:
        Whether the work begins anew.

    Raises:
        InputError: The folder belongs to something else or to different work, or another process
            is at work there.
    """
    _require_own(folder, kind)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_NAME).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"One process at a time works on the {kind.noun} of a folder.",
                found=f"another one at work in {folder}",
                fix="Wait for it, or choose another --output.",
            ) from error
        if restart:
            kind.forget(folder)
        yield _claim(folder, identity, kind)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False)
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)


def _require_own(folder: Path, kind: FolderKind) -> None:
    """Refuse a folder that holds something and is not of this kind."""
    if folder.is_dir():
        names = {item.name for item in folder.iterdir()}
        if not names - {LOCK_NAME} or names & {kind.record_name, *kind.marks}:
            return
        found = f"files and no {kind.record_name} in {folder}"
    elif folder.exists():
        found = f"a file at {folder}"
    else:
        return
    raise InputError(
        f"The output of a {kind.noun} must be a new folder, or that of an earlier {kind.noun}.",
        found=found,
        fix="Choose another --output; longform never deletes what it did not write.",
    )


def _claim(folder: Path, identity: dict[str, Any], kind: FolderKind) -> bool:
    """Write what the folder is of, or make sure that it is the same; tell whether it is new."""
    record = folder / kind.record_name
    if not record.is_file():
        write_json(record, identity)
        return True
    refuse_other(
        differing_parts(json.loads(record.read_text(encoding="utf-8")), identity),
        kind.noun,
        str(folder),
    )
    return False


def differing_parts(found: dict[str, Any], identity: dict[str, dict[str, Any]]) -> list[str]:
    """Name the parts in which what is there differs from what is wanted, and their keys."""
    wanted = json.loads(json.dumps(identity))
    return [
        f"{part} ({', '.join(_differing(found.get(part, {}), content))})"
        for part, content in wanted.items()
        if found.get(part) != content
    ]


def refuse_other(differing: list[str], noun: str, place: str) -> None:
    """Refuse to go on with other work.

    Raises:
        InputError: It differs.
    """
    if differing:
        raise InputError(
            f"A {noun} is continued only with the same settings and documents.",
            found=f"{place} is of a {noun} that differs in {'; '.join(differing)}",
            fix=f"Add --restart to forget that {noun}, or choose another --output.",
        )


def _differing(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [key for key in {**before, **now} if before.get(key) != now.get(key)]
