"""How much memory training may take, and how much a token of the encoder takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from longform.training.gradient_cache import Encode

SHARE = 0.5
"""Share of the free memory that activations may take: the rest is for gradients, the optimiser's
state, the head and other processes."""
_CGROUP_FILES = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


def free_bytes(device: torch.device) -> int:
    """Return the bytes that are free on a device, within the limits of the container."""
    if device.type != "cpu":
        free, _ = getattr(torch, device.type).mem_get_info(device)
        return int(free)
    available = int(psutil.virtual_memory().available)
    for limit_file, usage_file in _CGROUP_FILES:
        if limit_file.is_file() and usage_file.is_file():
            limit = limit_file.read_text().strip()
            if limit.isdigit():
                available = min(available, int(limit) - int(usage_file.read_text()))
    return max(available, 0)


def saved_bytes_per_token(encode: Encode, model: nn.Module, batch: tuple[Tensor, Tensor]) -> float:
    """Measure what autograd keeps of an encoder's forward pass, in bytes a token.

    Args:
        encode: int64 `[segments, tokens]` twice -> float `[segments, width]`.
        model: Whose weights and buffers are not counted: they are there anyway.
        batch: Token ids and mask, int64 `[segments, tokens]` each.

    Returns:
        Bytes of the tensors that a backward pass needs, over `segments * tokens`.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in model.parameters()}
    own |= {tensor.untyped_storage().data_ptr() for tensor in model.buffers()}
    seen: dict[int, int] = {}

    def count(tensor: Tensor) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.random.fork_rng(devices=[]),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
    ):
        # The result is held, or autograd would free and reuse what was counted.
        vectors = encode(*batch)
    del vectors
    return sum(seen.values()) / max(batch[0].numel(), 1)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a device, or this machine, ran out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    texts = ("out of memory", "can't allocate memory", "cannot allocate memory")
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in texts)


def release_cached(device: torch.device) -> None:
    """Give memory that the allocator keeps back to the device; on a CPU there is none."""
    if device.type != "cpu":
        getattr(torch, device.type).empty_cache()
