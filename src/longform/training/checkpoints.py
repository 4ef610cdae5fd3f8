"""Checkpoints that are whole or do not count: marked when on disk, checked before use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from longform.bundle.filesystem import FileSystem
from longform.training.processes import everyone, rank_here, send_file

COMPLETE = "complete.json"
"""File that is written into a checkpoint folder when everything else in it is on disk: the size of
each of its files."""


class Mirror(Protocol):
    """Keeps the checkpoints elsewhere too, as `CheckpointStorage` does."""

    def mirror(self, folder: Path) -> None:
        """Begin to bring the complete checkpoints of a folder there."""

    def wait(self) -> None:
        """Wait until what was begun is done."""


class CheckpointKeeper(TrainerCallback):
    """Marks each checkpoint when it is on disk, and only then removes the oldest.

    Args:
        limit: Checkpoints that are kept; the best one is never removed.
        mirror: Where the first process brings them too; None keeps them here only.
    """

    def __init__(self, limit: int, mirror: Mirror | None = None) -> None:
        self._limit = limit
        self._mirror = mirror

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Mark the checkpoint that was just written."""
        folder = Path(str(args.output_dir))
        checkpoint = folder / f"checkpoint-{state.global_step}"
        # Every process writes its random state into the folder.
        PartialState().wait_for_everyone()
        if args.save_on_each_node:
            complete_on_each_node(checkpoint, args.should_save)
        if not args.should_save:
            return
        mark_complete(checkpoint)
        if self._mirror is not None:
            # It may still read one that is removed now.
            self._mirror.wait()
        rotate_checkpoints(
            str(folder),
            save_total_limit=self._limit,
            best_model_checkpoint=state.best_model_checkpoint,
        )
        if self._mirror is not None:
            self._mirror.mirror(folder)


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
    return max(complete_checkpoints(folder), key=step_of, default=None)


def complete_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints that were written to their end."""
    return [
        mark.parent
        for mark in folder.glob(f"checkpoint-*/{COMPLETE}")
        if mark.parent.name.removeprefix("checkpoint-").isdigit() and _is_whole(mark)
    ]


def step_of(checkpoint: Path) -> int:
    """Return the optimiser step after which a checkpoint was written."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def _is_whole(mark: Path) -> bool:
    """Tell whether all files that the mark names are there in full."""
    try:
        sizes = json.loads(mark.read_text(encoding="utf-8"))
        return all((mark.parent / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def complete_on_each_node(checkpoint: Path, writes: bool) -> None:
    """Let every node's checkpoint hold what the first process wrote, and all random states.

    transformers writes the weights in the first process alone, whatever it is told. And after a
    restart processes may be numbered in another way, and read the random states of others.

    Args:
        checkpoint: In which each process wrote its part.
        writes: Whether this process writes what its node lacks.
    """
    own = checkpoint / f"rng_state_{rank_here()}.pth"
    for rank, content in enumerate(everyone(own.read_bytes())):
        other = checkpoint / f"rng_state_{rank}.pth"
        if writes and not other.is_file():
            other.write_bytes(content)
    everyone(None)
    sizes = {path.name: path.stat().st_size for path in checkpoint.iterdir() if path.is_file()}
    first, *others = everyone(sizes)
    lacking = [name for name in first if any(name not in other for other in others)]
    for name in lacking:
        path = checkpoint / name
        send_file(path, path if writes and name not in sizes else None, 0, first[name])
