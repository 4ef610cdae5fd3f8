"""Gears: the shapes that a compiled model has, and which of them a batch is run in.

The compiler makes one version of the model for each gear, and the memory of the largest one is
held always; a shape that is no gear cannot be run.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from longform.errors import BundleError
from longform.shapes import ShapePlan
from longform.types import Floats, Integers, SegmentBatch

FEWEST_GEARS, MOST_GEARS = 2, 100
"""What the compiler takes on the chips of the 910B series."""
GEARS_FILE = "ascend/gears.json"
_PRECISIONS = {"origin": "fp32", "mixed_bfloat16": "bf16"}
"""The compiler's precision modes -> the precision of a backend; the others compute in fp16."""


@dataclass(frozen=True, slots=True, order=True)
class Gear:
    """One compiled shape.

    Attributes:
        length: Tokens of a row.
        rows: Rows.
    """

    length: int
    rows: int


Run = Callable[[Gear, Integers, Integers], Floats]
"""Encodes rows that fill a gear: the gear, input ids and attention mask -> segment vectors."""


@dataclass(frozen=True, slots=True)
class CompiledEncoder:
    """What `gears.json` says of a compiled encoder.

    Attributes:
        file: Within the bundle.
        soc_version: The chip that it is made for.
        precision_mode: In which it computes, by the compiler's names.
        gears: Its shapes, shortest first.
        sha256: Of the ONNX file that it is made of.
        command: What made it.
    """

    file: str
    soc_version: str
    precision_mode: str
    gears: tuple[Gear, ...]
    sha256: str
    command: tuple[str, ...]

    @property
    def precision(self) -> str:
        """How strictly its answers are held: `fp32`, `bf16` or `fp16`."""
        return _PRECISIONS.get(self.precision_mode, "fp16")

    def command_for(self, soc_version: str) -> str:
        """Return the compiler's command line for another chip, to be run in the bundle's folder."""
        option = "--soc_version="
        return shlex.join(
            f"{option}{soc_version}" if word.startswith(option) else word for word in self.command
        )

    def as_json(self) -> str:
        """Return the content of `gears.json`."""
        content: dict[str, Any] = {
            "encoder": {
                "file": self.file,
                "soc_version": self.soc_version,
                "precision_mode": self.precision_mode,
                "gears": [[gear.rows, gear.length] for gear in self.gears],
                "onnx_sha256": self.sha256,
                "command": list(self.command),
            },
            "head": "onnx/head.onnx on the CPU",
        }
        return json.dumps(content, indent=2) + "\n"


def read_compiled(text: str) -> CompiledEncoder:
    """Read `gears.json`.

    Raises:
        BundleError: It is not what `CompiledEncoder.as_json` writes.
    """
    try:
        content = json.loads(text)["encoder"]
        gears = tuple(sorted(Gear(int(length), int(rows)) for rows, length in content["gears"]))
        compiled = CompiledEncoder(
            str(content["file"]),
            str(content["soc_version"]),
            str(content["precision_mode"]),
            gears,
            str(content["onnx_sha256"]),
            tuple(map(str, content["command"])),
        )
    except (ValueError, KeyError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
    else:
        if gears and all(gear.rows > 0 and gear.length > 0 for gear in gears):
            return compiled
        found = "no gears, or one without rows or tokens"
    raise BundleError(
        "gears.json must describe the compiled encoder.", found=found, fix="Export it again."
    )


def plan_gears(plan: ShapePlan) -> tuple[Gear, ...]:
    """Choose gears for the buckets of a plan: of each length one row, a quarter, and all of them.

    A batch of few rows is then padded to four times as many at most.
    """
    gears = {
        Gear(bucket.length, rows)
        for bucket in plan.buckets
        for rows in (1, max(bucket.rows // 4, 1), bucket.rows)
    }
    if len(gears) < FEWEST_GEARS:
        # One length and one row: the compiler wants two gears.
        gears.add(Gear(plan.longest, 2))
    return tuple(sorted(gears))


def choose_gears(
    gears: tuple[Gear, ...], rows: int, length: int
) -> Iterator[tuple[Gear, int, int]]:
    """Split the rows of a batch over gears.

    Args:
        gears: What there is.
        rows: Of the batch.
        length: Tokens of its longest row.

    Yields:
        A gear with the first row that it takes and the one after its last.

    Raises:
        ValueError: The rows are longer than any gear.
    """
    fitting = [gear for gear in gears if gear.length >= length]
    if not fitting:
        raise ValueError(f"rows of {length} tokens are longer than any gear of {gears}")
    shortest = min(gear.length for gear in fitting)
    own = sorted(gear for gear in fitting if gear.length == shortest)
    first = 0
    while first < rows:
        left = rows - first
        gear = next((one for one in own if one.rows >= left), own[-1])
        last = min(first + gear.rows, rows)
        yield gear, first, last
        first = last


def encode_in_gears(gears: tuple[Gear, ...], batch: SegmentBatch, run: Run) -> Floats:
    """Encode a batch by gears: it is split and padded, and nothing is compiled for it.

    Args:
        gears: What there is.
        batch: int64 `[segments, tokens]`.
        run: Encodes rows that fill a gear.

    Returns:
        float32 `[segments, vector size]`.
    """
    rows, length = batch.input_ids.shape
    parts = []
    for gear, first, last in choose_gears(gears, rows, length):
        ids, mask = _pad(batch, gear, first, last)
        parts.append(run(gear, ids, mask)[: last - first])
    return np.concatenate(parts)


def warm_up_gears(gears: tuple[Gear, ...], run: Run) -> None:
    """Run every gear once, the largest first: it needs the most memory."""
    for gear in sorted(gears, key=lambda gear: gear.rows * gear.length, reverse=True):
        ones = np.ones((gear.rows, gear.length), dtype=np.int64)
        run(gear, ones, ones)


def _pad(
    batch: SegmentBatch, gear: Gear, first: int, last: int
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.int64]], ...]:
    """Put rows into arrays of a gear's shape. Padded rows have one token that counts.

    A row without any would divide by zero where token vectors are averaged.
    """
    ids = np.zeros((gear.rows, gear.length), dtype=np.int64)
    mask = np.zeros((gear.rows, gear.length), dtype=np.int64)
    width = batch.input_ids.shape[1]
    ids[: last - first, :width] = batch.input_ids[first:last]
    mask[: last - first, :width] = batch.attention_mask[first:last]
    mask[last - first :, 0] = 1
    return ids, mask
