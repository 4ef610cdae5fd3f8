"""What a machine with Ascend cards is asked before it is trusted; each question by itself.

A question that cannot be put (no compiler, no second card) is skipped and says so; one that fails
does not keep the others from being asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from longform.backends.ascend.backend import AscendBackend
from longform.backends.ascend.card import Card
from longform.backends.ascend.gears import GEARS_FILE, CompiledEncoder, Gear, read_compiled
from longform.backends.ascend.npu_smi import UnknownLayoutError, read_npus
from longform.backends.ascend.versions import installed_stack
from longform.backends.onnx import OnnxBackend
from longform.bundle import ENCODER_FILE, HEAD_FILE, Bundle
from longform.errors import LongformError
from longform.types import SegmentBatch

Verdict = Literal["passed", "failed", "skipped"]
TOLERANCES = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.05}
"""Largest difference of a segment vector's element to ONNX Runtime's, for vectors of norm 1 or a
few; by the precision of the compiled encoder."""
_REPEATS = 5


class Skipped(Exception):
    """A question that cannot be put on this machine."""


@dataclass(slots=True)
class Step:
    """One question and what came of it.

    Attributes:
        name: What was asked.
        verdict: What came of it.
        detail: In words.
        seconds: It took.
        figures: What was measured.
    """

    name: str
    verdict: Verdict
    detail: str
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return what a report keeps."""
        return asdict(self)


def ask(name: str, question: Callable[[], tuple[str, dict[str, Any]]]) -> Step:
    """Put one question.

    Args:
        name: What is asked.
        question: Returns the answer in words and in figures; raises `Skipped`, or what is wrong.
    """
    began = time.monotonic()
    figures: dict[str, Any] = {}
    verdict: Verdict = "passed"
    try:
        detail, figures = question()
    except Skipped as reason:
        verdict, detail = "skipped", str(reason)
    except LongformError as error:
        verdict, detail = "failed", str(error)
    except Exception as error:
        # The report must hold whatever a driver raises.
        verdict, detail = "failed", f"{type(error).__name__}: {error}"
    return Step(name, verdict, detail, round(time.monotonic() - began, 2), figures)


def ask_versions() -> tuple[str, dict[str, Any]]:
    """Ask whether torch, torch_npu and CANN belong together."""
    stack = installed_stack()
    return stack.judge(), asdict(stack)


def ask_cards() -> tuple[str, dict[str, Any]]:
    """Ask npu-smi which cards there are and how they are."""
    try:
        npus = read_npus()
    except UnknownLayoutError as error:
        raise LongformError("npu-smi must say which cards there are.", found=str(error)) from error
    if not npus:
        raise Skipped("npu-smi is not installed")
    unwell = [f"card {npu.card}: {npu.health}" for npu in npus if npu.health != "OK"]
    if unwell:
        raise LongformError("Every card must be well.", found=", ".join(unwell))
    return f"{len(npus)} chips, all well", {"cards": [asdict(npu) for npu in npus]}


def ask_card(number: int) -> tuple[str, dict[str, Any]]:
    """Ask pyACL for a card: its name and its memory."""
    with Card(number) as card:
        free, total = card.memory()
        name = card.soc_name
    figures = {"soc_name": name, "free_bytes": free, "total_bytes": total}
    return f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free", figures


def ask_gears(bundle: Bundle, number: int) -> tuple[str, dict[str, Any]]:
    """Ask a card to encode at every gear, and hold it against ONNX Runtime on the CPU."""
    compiled = require_compiled(bundle)
    reference = OnnxBackend(bundle.path(ENCODER_FILE), bundle.path(HEAD_FILE))
    backend = AscendBackend(compiled, bundle.folder, bundle.path(HEAD_FILE), number)
    try:
        rows = [_compare(backend, reference, gear) for gear in compiled.gears]
    finally:
        backend.close()
        reference.close()
    worst = max(row["largest_difference"] for row in rows)
    tolerance = TOLERANCES[compiled.precision]
    figures = {"gears": rows, "tolerance": tolerance, "precision_mode": compiled.precision_mode}
    if not worst <= tolerance:
        bad = max(rows, key=lambda row: row["largest_difference"])
        raise LongformError(
            f"Every gear must give ONNX Runtime's vectors within {tolerance}.",
            found=f"{worst:.4g} at {bad['rows']} rows of {bad['length']} tokens",
            fix="Compile with --precision-mode mixed_bfloat16 or origin.",
        )
    best = max(row["tokens_per_second"] for row in rows)
    return f"{len(rows)} gears within {worst:.2g}; up to {best:,.0f} tokens/s", figures


def require_compiled(bundle: Bundle) -> CompiledEncoder:
    """Return the compiled encoder of a bundle.

    Raises:
        Skipped: It has none.
    """
    if not bundle.has(GEARS_FILE):
        raise Skipped("the bundle has no encoder for Ascend: longform export --target ascend")
    compiled = read_compiled(bundle.path(GEARS_FILE).read_text(encoding="utf-8"))
    if not bundle.has(compiled.file):
        raise Skipped(f"{compiled.file} was not compiled yet: run ascend/build.sh and export again")
    return compiled


def random_batch(gear: Gear, seed: int = 0) -> SegmentBatch:
    """Return rows of a gear's shape, of ids that every vocabulary has, some of them padded."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(5, 60, (gear.rows, gear.length))
    lengths = generator.integers(1, gear.length + 1, gear.rows)
    lengths[0] = gear.length
    mask = (np.arange(gear.length) < lengths[:, None]).astype(np.int64)
    return SegmentBatch(ids * mask, mask)


def summarize(steps: Iterable[Step]) -> Verdict:
    """Return what came of all: failed where one has, skipped where nothing could be asked."""
    verdicts = {step.verdict for step in steps}
    if "failed" in verdicts:
        return "failed"
    return "passed" if "passed" in verdicts else "skipped"


def _compare(backend: AscendBackend, reference: OnnxBackend, gear: Gear) -> dict[str, Any]:
    batch = random_batch(gear)
    difference = float(np.abs(backend.encode(batch) - reference.encode(batch)).max())
    seconds = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        backend.encode(batch)
        seconds.append(time.perf_counter() - began)
    tokens = gear.rows * gear.length
    return {
        "rows": gear.rows,
        "length": gear.length,
        "largest_difference": difference,
        "milliseconds": round(1_000 * min(seconds), 3),
        "tokens_per_second": round(tokens / min(seconds)),
    }
