"""What the figures of a benchmark depend on besides the code.

python benchmarks/machine.py
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import tokenizers

from longform.backends.threads import granted_threads


def describe_machine() -> dict[str, str | int]:
    """Return processor, cores, system and versions."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "processor": model,
        "cores": os.cpu_count() or 1,
        "threads": granted_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "tokenizers": tokenizers.__version__,
    }


def print_machine(machine: dict[str, str | int]) -> None:
    """Print the description as one line."""
    print(", ".join(f"{key} {value}" for key, value in machine.items()))


if __name__ == "__main__":
    print_machine(describe_machine())
