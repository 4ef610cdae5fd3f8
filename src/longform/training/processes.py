"""The processes of a launch: joined over the network, with values and files sent between them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState

from longform.errors import InputError
from longform.training.guard import TrainingError

_CHUNK_BYTES = 1 << 24

Value = TypeVar("Value")

_control: list[dist.ProcessGroup] = []
"""The group over which processes agree, once they have joined: gloo, which needs no device."""


def join_processes(device: str, timeout: int) -> None:
    """Join the other processes of a launch, if there are any. Every process must call it.

    Args:
        device: `cpu`, `cuda` or `npu`; it decides over what gradients are exchanged.
        timeout: Seconds that processes wait for each other.

    Raises:
        InputError: The launch would hang after a restart.
        TrainingError: The others cannot be reached.
    """
    if _control or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    _require_fresh_store()
    patience = timedelta(seconds=timeout)
    try:
        if not dist.is_initialized():
            PartialState(cpu=device == "cpu", timeout=patience)
        _control.append(dist.new_group(backend="gloo", timeout=patience))
    except RuntimeError as error:
        raise TrainingError(
            "The processes of a run must reach each other.",
            found=" ".join(str(error).split())[:400],
            fix="Look at the address and port of the launch, and name the network between the "
            "nodes in GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME or HCCL_SOCKET_IFNAME.",
        ) from error


def _require_fresh_store() -> None:
    """Refuse a launch whose restarted processes would look for each other at old addresses.

    With c10d, torchrun (seen with torch 2.13) lets all its restarts share one store, in which the
    addresses of the dead processes are left: the next ones wait for them until the timeout.
    """
    shares = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if shares and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0:
        raise InputError(
            "Processes that are started again must not meet what the dead ones left behind.",
            found="--max-restarts with --rdzv-backend c10d, whose restarts share a store",
            fix="Set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun on every node.",
        )


def rank_here() -> int:
    """Return the number of this process, 0 where it is the only one."""
    return dist.get_rank() if _control else 0


def everyone(value: Value) -> list[Value]:
    """Return the values of all processes, in their order. Every process must call it.

    Args:
        value: Anything that pickle takes.

    Raises:
        TrainingError: A process is gone, or later than the timeout.
    """
    if not _control:
        return [value]
    values: list[Value] = [value] * dist.get_world_size()
    try:
        dist.all_gather_object(values, value, group=_control[0])
    except RuntimeError as error:
        raise lost_process(error) from error
    return values


def send_file(source: Path | None, target: Path | None, sender: int, size: int) -> None:
    """Send a file from one process to all. Every process must call it.

    Args:
        source: The file, on the sender.
        target: Where to write it; None where it is not wanted.
        sender: Rank of the process that has it.
        size: Bytes of the file.

    Raises:
        TrainingError: A process is gone, or later than the timeout.
    """
    reading = source.open("rb") if source is not None and dist.get_rank() == sender else None
    writing = target.open("wb") if target is not None else None
    try:
        for begin in range(0, size, _CHUNK_BYTES):
            count = min(_CHUNK_BYTES, size - begin)
            chunk = torch.empty(count, dtype=torch.uint8)
            if reading is not None:
                reading.readinto(chunk.numpy().data)
            dist.broadcast(chunk, src=sender, group=_control[0])
            if writing is not None:
                writing.write(chunk.numpy().data)
    except RuntimeError as error:
        raise lost_process(error) from error
    finally:
        for stream in (reading, writing):
            if stream is not None:
                stream.close()


@contextmanager
def lost_processes_told() -> Iterator[None]:
    """Turn the errors of exchanges that libraries make into one for the user.

    Raises:
        TrainingError: A process is gone, or later than the timeout.
    """
    try:
        yield
    except RuntimeError as error:
        # gloo has no class of errors of its own.
        if _control and (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise lost_process(error) from error
        raise


def leave_processes() -> None:
    """Part from the other processes of a run, if there are any: what follows is done alone."""
    _control.clear()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def lost_process(error: RuntimeError) -> TrainingError:
    """Return what to tell of an exchange that failed because a process is late or gone."""
    return TrainingError(
        f"Every process must keep up with the others (this is process {dist.get_rank()} of "
        f"{dist.get_world_size()}).",
        found=" ".join(str(error).split())[:400],
        fix="Look at the output of that process. The last complete checkpoint is kept, and the "
        "same command continues from it; ddp_timeout sets how long the others wait.",
    )
