"""Which device trains, and in which precision: asked for or found, with the reason said."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch

from longform.errors import ConfigError
from longform.reporting import Reporter

_ROWS, _WIDTH, _REPEATS = 1_024, 768, 8
_HOPELESS = 4
"""Times slower than fp32 beyond which one measurement of bf16 is enough."""

DeviceName = Literal["auto", "cpu", "cuda", "npu"]


@dataclass(frozen=True, slots=True)
class Device:
    """A device and what it does well.

    Attributes:
        name: `cpu`, `cuda` or `npu`.
        bf16: Whether its bf16 matrix products are clearly faster than its fp32 ones.
        reason: How that was found, in words.
    """

    name: str
    bf16: bool
    reason: str


def pick_device(reporter: Reporter, wanted: DeviceName = "auto") -> Device:
    """Choose the device that trains, and say it.

    Args:
        reporter: Told which, and why.
        wanted: `auto` takes an NPU, else a GPU, else the CPU; a named one must be there.

    Raises:
        ConfigError: The named device is not there; it says why.
    """
    device = _choose(wanted)
    reporter.say(f"Device: {device.name} ({device.reason}).")
    return device


def _choose(wanted: DeviceName) -> Device:
    absent: dict[str, str] = {}
    if wanted in ("auto", "npu"):
        found = _npu()
        if isinstance(found, Device):
            return found
        absent["npu"] = found
    if wanted in ("auto", "cuda"):
        if torch.cuda.is_available():
            supported = torch.cuda.is_bf16_supported()
            return Device("cuda", supported, f"{torch.cuda.get_device_name()} is present")
        built = torch.version.cuda
        absent["cuda"] = "torch sees no GPU" if built else "this torch is built without CUDA"
    if wanted in absent:
        raise ConfigError(
            "The device that is asked for must be there.",
            found=f"device: {wanted}, but {absent[wanted]}",
            fix="Set device to auto to take what there is; 'longform env' shows what that is.",
        )
    ratio = _bf16_speed_ratio()
    why = "asked for" if wanted == "cpu" else "no GPU and no NPU"
    return Device("cpu", ratio > 1.2, f"{why}; bf16 runs at {ratio:.1f} x the speed of fp32 here")


def _npu() -> Device | str:
    """Return the NPU, or why there is none, with the rules of its runtime set.

    After the torch_npu documentation: no compilation for each new shape, and fp32 convolutions in
    fp32.
    """
    try:
        import torch_npu  # type: ignore[import-not-found] # noqa: F401
    except ModuleNotFoundError:
        return "torch_npu is not installed"
    # A torch_npu without its driver, or beside another torch, raises whatever its loader raised.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        return (
            f"torch_npu cannot be loaded ({reason}): the driver or CANN is missing, its set_env.sh "
            "was not sourced, or torch and torch_npu are of different versions"
        )
    npu: Any = getattr(torch, "npu", None)
    if npu is None or not npu.is_available():
        return "torch_npu sees no NPU (see 'npu-smi info' and ASCEND_RT_VISIBLE_DEVICES)"
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    npu.set_device(local_rank)
    npu.set_compile_mode(jit_compile=False)
    npu.conv.allow_hf32 = False
    name = npu.get_device_name(local_rank)
    return Device("npu", bool(npu.is_bf16_supported()), f"{name} is present")


@cache
def _bf16_speed_ratio() -> float:
    """Measure bf16 against fp32 matrix products on the CPU, interleaved, once in a process.

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
        if best[torch.bfloat16] > _HOPELESS * best[torch.float32]:
            # Emulated bf16 takes seconds, and no repetition will make it fast.
            break
    return best[torch.float32] / best[torch.bfloat16]
