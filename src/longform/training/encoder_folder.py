"""An encoder as a plain Hugging Face folder, which its path holds whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from longform.bundle import check_output
from longform.bundle.filesystem import CANNOT_EXCHANGE, FileSystem
from longform.bundle.output import DISK_IS_FULL, explaining
from longform.bundle.places import resolve_target
from longform.errors import InputError, LongformError

RECORD = "pretraining.json"
"""How the encoder came about, and which files are of it; nothing that loads it reads this."""


def check_encoder_output(target: Path, *, overwrite: bool = False) -> None:
    """Refuse an output path at once rather than after hours of training. Leaves nothing behind.

    Raises:
        InputError: Something else than such an encoder stands at `target`, or one does and
            `overwrite` is not set, or the folder above it cannot be written.
    """
    place = resolve_target(target)
    if not place.is_dir() or not any(place.iterdir()):
        check_output(target)
        return
    added = sorted({item.name for item in place.iterdir()} - _own_files(place))
    if added:
        raise InputError(
            "The output folder must be empty or hold nothing but an encoder that 'longform "
            "pretrain' wrote.",
            found=f"{place / added[0]}",
            fix="Choose another output folder; longform never deletes what it did not write.",
        )
    if not overwrite:
        raise InputError(
            "The output folder must not hold an encoder already.",
            found=f"an encoder at {place}",
            fix="Choose another output folder, or replace the encoder with --overwrite.",
        )
    # Whether the folder beside it can be written is found out where nothing stands yet.
    check_output(place.with_name(f"{place.name}.new"))


def write_encoder(
    target: Path,
    work: Path,
    model: Any,
    tokenizer: Any,
    record: dict[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write an encoder into a folder beside the target and swap it in.

    Args:
        target: Path of the encoder.
        work: Folder of the run, on the same disk as the target.
        model: A transformers model.
        tokenizer: Its transformers tokenizer.
        record: How it came about, in values that JSON has.
        overwrite: Replace an encoder that stands there.

    Raises:
        InputError: As `check_encoder_output`.
        LongformError: The file system refused a step, for example because the disk is full.
    """
    steps = FileSystem()
    staging = work / "encoder"
    steps.remove_tree(staging)
    with explaining(target, LongformError, only=DISK_IS_FULL):
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        files = sorted({*(item.name for item in staging.iterdir()), RECORD})
        content = json.dumps({**record, "files": files}, ensure_ascii=False, indent=2)
        (staging / RECORD).write_text(content + "\n", encoding="utf-8")
    # Hours may have passed since the first look.
    check_encoder_output(target, overwrite=overwrite)
    place = resolve_target(target)
    with explaining(target, LongformError):
        steps.sync_tree(staging)
        _swap(staging, place, work / "previous", steps)
        steps.sync(place.parent)


def _swap(staging: Path, place: Path, previous: Path, steps: FileSystem) -> None:
    if not place.is_dir() or not any(place.iterdir()):
        steps.rename(staging, place)
        return
    try:
        # What was replaced then lies in the folder of the run, and goes with it.
        steps.exchange(staging, place)
    except OSError as error:
        if error.errno not in CANNOT_EXCHANGE:
            raise
        steps.remove_tree(previous)
        steps.rename(place, previous)
        steps.rename(staging, place)


def _own_files(folder: Path) -> set[str]:
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return {str(name) for name in content["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
