"""Numerics of an NPU in training, run as `python -m longform.training.npu_checks` on the machine.

Prints one JSON object: attention with a boolean mask against the same by hand at lengths around
and beyond those of kernels, an LSTM against the CPU, and under torchrun a sum over all cards.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

LENGTHS = (64, 513, 1_024, 4_096)
TOLERANCE = 2e-2
"""Largest difference in fp16 or bf16 to fp32 on the CPU; outputs are averages of numbers near 1."""


def check_attention(device: str, length: int) -> float:
    """Return the largest difference of fused attention to attention by hand in fp32."""
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, 1, 2, length, 32)
    mask = torch.ones(1, 1, 1, length, dtype=torch.bool)
    mask[..., length * 3 // 4 :] = False
    weights = (queries @ keys.transpose(-1, -2) / 32**0.5).masked_fill(~mask, float("-inf"))
    expected = weights.softmax(-1) @ values
    moved = torch.stack([queries, keys, values]).to(device, torch.bfloat16)
    found = scaled_dot_product_attention(moved[0], moved[1], moved[2], attn_mask=mask.to(device))
    return float((found.float().cpu() - expected).abs().max())


def check_lstm(device: str) -> float:
    """Return the largest difference of an fp32 LSTM to the CPU's."""
    torch.manual_seed(0)
    layer, vectors = nn.LSTM(16, 8, batch_first=True), torch.randn(3, 40, 16)
    expected = layer(vectors)[0]
    found = layer.to(device)(vectors.to(device))[0]
    return float((found.cpu() - expected).abs().max().detach())


def check_sum(device: str) -> float:
    """Return how far the sum over all processes is from what it must be; 0 for one process."""
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if count == 1:
        return 0.0
    torch.distributed.init_process_group("hccl" if device.startswith("npu") else "gloo")
    value = torch.full((4,), float(rank + 1), device=device)
    torch.distributed.all_reduce(value)
    torch.distributed.destroy_process_group()
    return float((value.cpu() - count * (count + 1) / 2).abs().max())


def run_checks(device: str) -> dict[str, Any]:
    """Run all checks on a device."""
    attention = {str(length): check_attention(device, length) for length in LENGTHS}
    lstm, total = check_lstm(device), check_sum(device)
    passed = max(attention.values()) <= TOLERANCE and lstm <= 1e-3 and total == 0
    return {
        "device": device,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "attention": attention,
        "lstm": lstm,
        "sum": total,
        "passed": passed,
    }


def main(device: str = "npu") -> None:
    """Run the checks and print what they gave, from the first process alone."""
    if device == "npu":
        import torch_npu  # type: ignore[import-not-found] # noqa: F401

        number = int(os.environ.get("LOCAL_RANK", "0"))
        torch.npu.set_device(number)  # type: ignore[attr-defined]
        device = f"npu:{number}"
    found = run_checks(device)
    if os.environ.get("RANK", "0") == "0":
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:2])
