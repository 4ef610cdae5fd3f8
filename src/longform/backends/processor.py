"""What the processor is, and which precisions it computes in."""

from __future__ import annotations

import platform
from pathlib import Path


def processor_name() -> str:
    """Return the name of the processor, as the system knows it."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith(("model name", "Model\t")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def has_bf16_units() -> bool:
    """Tell whether the CPU lists bf16 instructions; whether they pay is measured."""
    information = Path("/proc/cpuinfo")
    if not information.is_file():
        return False
    flags = information.read_text(errors="replace")
    return "bf16" in flags


def has_nvidia_gpu() -> bool:
    """Tell whether the system has the device of an NVIDIA driver."""
    return Path("/dev/nvidia0").exists() or Path("/dev/nvidiactl").exists()
