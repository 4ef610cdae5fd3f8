"""What the steps under the profiler were spent on, and the table that says so."""

from __future__ import annotations

from dataclasses import dataclass

RANGES = (
    "data",
    "encode",
    "aggregate",
    "loss",
    "backward",
    "exchange",
    "optimizer",
    "validation",
    "saving",
)
"""What a step is divided into. `encode` and `aggregate` are the forward passes of the encoder and
the head, `loss` what computing the loss takes beside them; `exchange` is between processes."""

WHOLE = frozenset({"validation", "saving"})
"""Ranges that keep what runs inside them."""


@dataclass(frozen=True, slots=True)
class Operator:
    """The time that one kind of operator took by itself, in milliseconds, and its memory."""

    name: str
    milliseconds: float
    calls: int
    memory: int


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """What the recorded steps were spent on.

    Attributes:
        steps: Optimiser steps that were recorded.
        seconds: Their wall time.
        documents: Documents that they read.
        flops: Floating-point operations of their matrix products, as the profiler counts them
            from shapes; fused attention and recurrent kernels are not among them.
        ranges: Seconds of each range by itself, without what runs inside it.
        operators: Those that took most time by themselves, first the most.
        clock: Whose time the operators' is.
    """

    steps: int
    seconds: float
    documents: int
    flops: float
    ranges: dict[str, float]
    operators: tuple[Operator, ...]
    clock: str

    def describe(self) -> str:
        """Return the figures as a table of text."""
        whole = self.seconds or 1.0
        # Validation and checkpoints between the recorded steps say nothing about the steps.
        stepping = whole - sum(self.ranges.get(name, 0.0) for name in WHOLE) or 1.0
        named = sum(self.ranges.values())
        lines = [
            f"{self.steps} steps in {self.seconds:.3f} s, {self.documents:,} documents: "
            f"{self.documents / stepping:,.1f} documents/s, "
            f"{self.flops / stepping / 1e9:,.1f} GFLOP/s in matrix products; "
            f"{100 * self.ranges.get('data', 0.0) / stepping:.1f} % of the steps' time is waiting "
            "for data",
            "",
            f"{'range':<44}{'ms':>12}{'share':>9}",
        ]
        rows = [*self.ranges.items(), ("between the ranges", max(whole - named, 0.0))]
        lines += [
            f"{name:<44}{1e3 * seconds:>12.1f}{100 * seconds / whole:>8.1f}%"
            for name, seconds in rows
        ]
        lines += ["", f"{f'operator, own {self.clock} time':<44}{'ms':>12}{'calls':>9}{'MB':>10}"]
        lines += [
            f"{operator.name[:43]:<44}{operator.milliseconds:>12.1f}{operator.calls:>9,}"
            f"{operator.memory / 1e6 + 0.0:>10.1f}"
            for operator in self.operators
        ]
        return "\n".join(lines)
