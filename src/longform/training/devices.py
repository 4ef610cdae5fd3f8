"""Which device trains, and in which precision: by measurement, with the reason said."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from longform.reporting import Reporter

_ROWS, _WIDTH, _REPEATS = 1_024, 768, 8


@dataclass(frozen=True, slots=True)
class Device:
    """A device and what it does well.

    Attributes:
        name: `cpu` or `cuda`.
        bf16: Whether its bf16 matrix products are clearly faster than its fp32 ones.
        reason: How that was found, in words.
    """

    name: str
    bf16: bool
    reason: str


def pick_device(reporter: Reporter) -> Device:
    """Choose the device that trains, a GPU where torch sees one, else the CPU; and say it."""
    device = _choose()
    reporter.say(f"Device: {device.name} ({device.reason}).")
    return device


def _choose() -> Device:
    if torch.cuda.is_available():
        supported = torch.cuda.is_bf16_supported()
        return Device("cuda", supported, f"{torch.cuda.get_device_name()} is present")
    ratio = _bf16_speed_ratio()
    return Device("cpu", ratio > 1.2, f"no GPU; bf16 runs at {ratio:.1f} x the speed of fp32 here")


def _bf16_speed_ratio() -> float:
    """Measure bf16 against fp32 matrix products on the CPU, interleaved: about 0.1 s.

    A CPU that lists bf16 instructions may still be slower with them (without AMX they are), so
    the flag alone decides nothing.
    """
    operands = {
        dtype: (
            torch.ones(_ROWS, _WIDTH, dtype=dtype),
            torch.ones(_WIDTH, 4 * _WIDTH, dtype=dtype),
        )
        for dtype in (torch.float32, torch.bfloat16)
    }
    best = dict.fromkeys(operands, float("inf"))
    for _ in range(_REPEATS):
        for dtype, (left, right) in operands.items():
            started = time.perf_counter()
            torch.mm(left, right)
            best[dtype] = min(best[dtype], time.perf_counter() - started)
    return best[torch.float32] / best[torch.bfloat16]
