"""What `npu-smi info` says of the cards, in the layouts that it has had.

A chip has two lines of the upper table, a process one line of the lower one. Columns are told by
the bars between them, never by their places, which change with the version. What cannot be read
is None; a table of another kind gives no cards.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

_SECONDS = 10.0
_MEBIBYTE = 2**20
_HEALTH = {"OK", "Warning", "Alarm", "Critical", "UNKNOWN", "Offline"}
_PAIR = re.compile(r"(\d+)\s*/\s*(\d+)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Npu:
    """One chip.

    Attributes:
        card: Number of the card, by the system's count.
        chip: Number of the chip on it.
        name: `910B2`.
        health: One of npu-smi's words.
        power_watts: It draws.
        temperature_celsius: It has.
        utilization_ratio: Of its AI cores.
        memory_used_bytes: Of its high-bandwidth memory, or of what it has instead.
        memory_total_bytes: The same.
    """

    card: int
    chip: int
    name: str
    health: str
    power_watts: float | None
    temperature_celsius: float | None
    utilization_ratio: float | None
    memory_used_bytes: float | None
    memory_total_bytes: float | None


@dataclass(frozen=True, slots=True)
class NpuProcess:
    """A process on a chip; `name` may be empty."""

    card: int
    chip: int
    process_id: int
    name: str
    memory_bytes: float


def parse_npus(text: str) -> list[Npu]:
    """Read the upper table of `npu-smi info`."""
    found: list[Npu] = []
    first: list[str] | None = None
    for cells in _rows(text):
        if first is None:
            if len(cells) == 3 and cells[1] in _HEALTH:
                first = cells
            continue
        npu = _read_pair(first, cells)
        if npu is not None:
            found.append(npu)
        first = None
    return found


def parse_processes(text: str) -> list[NpuProcess]:
    """Read the lower table of `npu-smi info`."""
    found = []
    for cells in _rows(text):
        # A newer layout adds a fifth column, the number of the process in its container.
        if len(cells) not in {4, 5}:
            continue
        place = cells[0].split()
        numbers = cells[1], cells[3]
        if len(place) == 2 and all(part.isdigit() for part in (*place, *numbers)):
            card, chip = map(int, place)
            memory = float(numbers[1]) * _MEBIBYTE
            found.append(NpuProcess(card, chip, int(numbers[0]), cells[2], memory))
    return found


class UnknownLayoutError(Exception):
    """npu-smi failed, did not answer in time, or said something that is no table of cards."""


def read_npus() -> list[Npu]:
    """Ask npu-smi; no cards where it is not installed.

    Raises:
        UnknownLayoutError: It is installed, and what it says cannot be read.
    """
    if shutil.which("npu-smi") is None:
        return []
    try:
        done = subprocess.run(
            ["npu-smi", "info"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnknownLayoutError(f"npu-smi gave no answer: {error}") from error
    found = parse_npus(done.stdout)
    if not found:
        said = " ".join((done.stdout + done.stderr).split())[:200]
        raise UnknownLayoutError(f"npu-smi (exit status {done.returncode}) said: {said!r}")
    return found


def _rows(text: str) -> list[list[str]]:
    lines = [line.strip() for line in text.splitlines()]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("|") and line.endswith("|") and len(line) > 2
    ]


def _read_pair(first: list[str], second: list[str]) -> Npu | None:
    """Read the two lines of a chip."""
    names, places = first[0].split(), second[0].split()
    if len(names) < 2 or not names[0].isdigit() or not places or not places[0].isdigit():
        return None
    power, temperature, *_ = [*first[2].split(), "", ""]
    usage = second[-1]
    pairs = [(float(used), float(total)) for used, total in _PAIR.findall(usage)]
    # The last pair that has a total: HBM where there is some, else the memory of the chip.
    used, total = next(((u, t) for u, t in reversed(pairs) if t), (None, None))
    core = _NUMBER.match(_PAIR.sub(" ", usage).strip())
    return Npu(
        card=int(names[0]),
        chip=int(places[0]),
        name=names[1],
        health=first[1],
        power_watts=_number(power),
        temperature_celsius=_number(temperature),
        utilization_ratio=None if core is None else float(core[0]) / 100,
        memory_used_bytes=None if used is None else used * _MEBIBYTE,
        memory_total_bytes=None if total is None else total * _MEBIBYTE,
    )


def _number(written: str) -> float | None:
    """Read a number; None for what stands where there is none, such as `NA`."""
    return float(written) if _NUMBER.fullmatch(written) else None
