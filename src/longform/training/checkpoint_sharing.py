"""Checkpoints on several nodes: the same on each, and brought to a node that lost its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from longform.errors import InputError
from longform.training.checkpoint_moves import best_checkpoint, settle
from longform.training.checkpoints import COMPLETE, complete_checkpoints, step_of
from longform.training.nodes import is_first_of_node, node_name
from longform.training.processes import everyone, rank_here, send_file
from longform.training.storage import CheckpointStorage


@dataclass(frozen=True, slots=True)
class _Holding:
    """What a process can give: the steps of the complete checkpoints in the folder it owns."""

    node: str
    owns: bool
    steps: tuple[int, ...]


def writes_on_each_node(owner: int, divided: bool) -> bool:
    """Tell whether the nodes have folders of their own, so that each keeps the checkpoints.

    Every process must call it.

    Args:
        owner: As `folder_owner` gave it to this process.
        divided: Whether no process has the whole weights (`fsdp`).

    Raises:
        InputError: Some nodes share a folder and others do not, or must share one.
    """
    owners = everyone(owner)
    firsts = everyone(is_first_of_node())
    if len(set(owners)) == 1:
        return False
    if divided:
        raise InputError(
            "With fsdp all nodes must share the folder of --output.",
            found=f"{len(set(owners))} separate folders",
            fix="Put it on a file system that all nodes share.",
        )
    if set(owners) != {rank for rank, first in enumerate(firsts) if first}:
        raise InputError(
            "All nodes must share the folder of --output, or each must have its own.",
            found=f"{len(firsts)} processes see {len(set(owners))} folders on {sum(firsts)} nodes",
            fix="Put it on a file system that all nodes share, or on the disk of each.",
        )
    return True


def share_last_checkpoint(
    checkpoints: Path, owner: int, storage: CheckpointStorage | None
) -> str | None:
    """Bring the newest checkpoint that any node has, or the storage, to every node.

    Every process must call it.

    Args:
        checkpoints: The folder of this process's node.
        owner: As `folder_owner` gave it.
        storage: Asked by the first process; None where there is none.

    Returns:
        What was brought where, in words; None where every node had it.

    Raises:
        InputError: The storage cannot be read.
        TrainingError: A process is gone.
    """
    told = []
    holdings = _holdings(checkpoints, owner)
    if storage is not None:
        newest = max((step for holding in holdings for step in holding.steps), default=-1)
        fetched = storage.fetch_newer(checkpoints, newest) if rank_here() == 0 else None
        if fetched is not None:
            told.append(f"{fetched} was fetched from {storage.url}")
        holdings = _holdings(checkpoints, owner)
    newest = max((step for holding in holdings for step in holding.steps), default=-1)
    lacking = [holding for holding in holdings if holding.owns and newest not in holding.steps]
    if newest >= 0 and lacking:
        sender = next(rank for rank, each in enumerate(holdings) if newest in each.steps)
        wants = holdings[rank_here()] in lacking
        _send_checkpoint(checkpoints, f"checkpoint-{newest}", sender, wants)
        there = ", ".join(holding.node for holding in lacking)
        told.append(f"checkpoint-{newest} was sent from {holdings[sender].node} to {there}")
    return "; ".join(told) or None


def _holdings(checkpoints: Path, owner: int) -> list[_Holding]:
    owns = rank_here() == owner
    steps = tuple(map(step_of, complete_checkpoints(checkpoints))) if owns else ()
    return everyone(_Holding(node_name(), owns, steps))


def _send_checkpoint(checkpoints: Path, name: str, sender: int, wants: bool) -> None:
    """Send a checkpoint, and the best one before it, to the processes that want it."""
    rank = rank_here()
    best = best_checkpoint(checkpoints / name, name) if rank == sender else None
    names: list[str] = everyone([*([best] if best else []), name])[sender]
    for each in names:
        source = checkpoints / each
        present = (source / COMPLETE).is_file()
        listing = (
            {
                path.relative_to(source).as_posix(): path.stat().st_size
                for path in sorted(source.rglob("*"))
                if path.is_file() and path.name != COMPLETE
            }
            if rank == sender
            else {}
        )
        into = checkpoints / f"{each}.part" if wants and not present else None
        for file, size in everyone(listing)[sender].items():
            target = None if into is None else into / file
            if target is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
            send_file(source / file, target, sender, size)
        if into is not None:
            settle(into, source)
