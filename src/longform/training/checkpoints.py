"""Checkpoints that are whole or do not count: marked when on disk, checked before use."""

from __future__ import annotations

import json
from pathlib import Path

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from longform.bundle.filesystem import FileSystem

COMPLETE = "complete.json"
"""File that is written into a checkpoint folder when everything else in it is on disk: the size of
each of its files."""


class CheckpointKeeper(TrainerCallback):
    """Marks each checkpoint when it is on disk, and only then removes the oldest.

    Args:
        limit: Checkpoints that are kept; the best one is never removed.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Mark the checkpoint that was just written."""
        # Every process writes its random state into the folder.
        PartialState().wait_for_everyone()
        if not args.should_save:
            return
        mark_complete(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")
        rotate_checkpoints(
            str(args.output_dir),
            save_total_limit=self._limit,
            best_model_checkpoint=state.best_model_checkpoint,
        )


def mark_complete(folder: Path) -> None:
    """Bring a checkpoint to the disk and say so in it, in this order."""
    disk = FileSystem()
    sizes = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        disk.sync(path)
        sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    temporary = folder / f"{COMPLETE}.part"
    temporary.write_text(json.dumps(sizes, indent=2), encoding="utf-8")
    disk.sync(temporary)
    disk.rename(temporary, folder / COMPLETE)
    disk.sync(folder)


def last_complete_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, if there is one."""
    complete = [
        path.parent
        for path in folder.glob(f"checkpoint-*/{COMPLETE}")
        if path.parent.name.removeprefix("checkpoint-").isdigit() and _is_whole(path)
    ]
    return max(complete, key=lambda path: int(path.name.removeprefix("checkpoint-")), default=None)


def _is_whole(mark: Path) -> bool:
    """Tell whether all files that the mark names are there in full."""
    try:
        sizes = json.loads(mark.read_text(encoding="utf-8"))
        return all((mark.parent / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False
