"""A few steps of training under the profiler: a trace to look at and a table to read.

Ranges are named where training calls them; while no profiler runs, naming one costs less than a
microsecond and wakes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function, schedule
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from longform.errors import InputError
from longform.reporting import Reporter

if TYPE_CHECKING:
    from longform.training.observation import ObservedTrainer

WAIT, WARM_UP, ACTIVE = 4, 2, 5
"""Steps that are let pass, that the profiler may warm up in, and that are recorded: it holds every
event in memory, so they are few."""

TRACE, TABLE = "trace.json.gz", "profile.txt"

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

_WHOLE = frozenset({"validation", "saving"})
"""Ranges that keep what runs inside them."""

_OPERATORS = 10


class _State:
    is_on = False


_NOTHING: AbstractContextManager[None] = nullcontext()


def named_range(name: str) -> AbstractContextManager[None]:
    """Mark what runs inside for the profiler, and as an NVTX range on an NVIDIA GPU."""
    return _marked(name) if _State.is_on else _NOTHING


@contextmanager
def _marked(name: str) -> Iterator[None]:
    with record_function(name):
        if not torch.cuda.is_available():
            yield
            return
        # Looked up here: torch without CUDA has the module, but not what it calls.
        with torch.cuda.nvtx.range(name):
            yield


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
        stepping = whole - sum(self.ranges.get(name, 0.0) for name in _WHOLE) or 1.0
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


class ProfileCallback(TrainerCallback):
    """Records a few steps and writes them into a folder.

    Args:
        folder: Gets the trace, for chrome://tracing or Perfetto, and the table.
        reporter: Told the table.

    Raises:
        InputError: The folder cannot be written.
    """

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        self._folder = folder
        self._reporter = reporter
        self._trainer: ObservedTrainer | None = None
        self._profiler: Any = None
        self._stack = ExitStack()
        self._documents = [0]
        self._active = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                "The profile must be written into a folder.",
                found=f"{folder}: {error.strerror or error}",
                fix="Choose another --output, or move away what is there.",
            ) from error

    def attach(self, trainer: ObservedTrainer) -> None:
        """Tell which trainer is recorded; before it trains."""
        self._trainer = trainer

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        """Start the profiler, whose schedule a short run shortens."""
        if self._trainer is None or not state.is_world_process_zero:
            return
        steps = state.max_steps - state.global_step
        # A run of one step still gets its warm-up: without one the profiler shows its own start.
        self._active = max(1, min(ACTIVE, steps - 1))
        warm_up = min(WARM_UP, max(steps - self._active, 0))
        wait = min(WAIT, max(steps - self._active - warm_up, 0))
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self._name_ranges(model, optimizer)
        self._profiler = profile(
            activities=activities,
            schedule=schedule(wait=wait, warmup=warm_up, active=self._active, repeat=1),
            on_trace_ready=self._write,
            record_shapes=True,
            profile_memory=True,
            with_flops=True,
        )
        self._profiler.start()
        self._documents = [self._trainer.watch.documents]

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Tell the profiler that a step is over."""
        if self._profiler is not None and self._trainer is not None:
            self._documents.append(self._trainer.watch.documents)
            self._profiler.step()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop the profiler, where training ended before its schedule."""
        if self._profiler is not None:
            self._profiler.stop()
            self._finish()

    def _name_ranges(self, model: nn.Module | None, optimizer: Any) -> None:
        _State.is_on = True
        self._stack.callback(setattr, _State, "is_on", False)
        for part, name in (("encoder", "encode"), ("head", "aggregate")):
            # Whatever wraps the model for several processes keeps the names of its parts.
            for path, module in (model or nn.Module()).named_modules():
                if path.rpartition(".")[2] == part and path.count(".") <= 1:
                    self._surround(module, name)
                    break
        if self._trainer is not None:
            self._wrap(self._trainer, "compute_loss", "loss")
            self._wrap(self._trainer.accelerator, "backward", "backward")
        inner = getattr(optimizer, "optimizer", optimizer)
        if isinstance(inner, torch.optim.Optimizer):
            open_ranges: list[AbstractContextManager[None]] = []
            for handle in (
                inner.register_step_pre_hook(lambda *_: _enter(open_ranges, "optimizer")),
                inner.register_step_post_hook(lambda *_: _leave(open_ranges)),
            ):
                self._stack.callback(handle.remove)

    def _wrap(self, owner: Any, method: str, name: str) -> None:
        inner = getattr(owner, method)

        def marked(*args: Any, **kwargs: Any) -> Any:
            with named_range(name):
                return inner(*args, **kwargs)

        setattr(owner, method, marked)
        self._stack.callback(delattr, owner, method)

    def _surround(self, module: nn.Module, name: str) -> None:
        open_ranges: list[AbstractContextManager[None]] = []
        for handle in (
            module.register_forward_pre_hook(lambda *_: _enter(open_ranges, name)),
            module.register_forward_hook(lambda *_: _leave(open_ranges), always_call=True),
        ):
            self._stack.callback(handle.remove)

    def _write(self, profiler: Any) -> None:
        documents = self._documents[-1] - self._documents[-1 - self._active]
        summary = summarize(profiler, documents)
        profiler.export_chrome_trace(str(self._folder / TRACE))
        text = summary.describe()
        (self._folder / TABLE).write_text(text + "\n", encoding="utf-8")
        self._reporter.say(
            f"Profile of {summary.steps} steps: {self._folder / TRACE} (for ui.perfetto.dev or "
            f"chrome://tracing) and {TABLE} beside it.\n{text}"
        )
        self._finish()

    def _finish(self) -> None:
        self._profiler = None
        self._stack.close()


def _enter(open_ranges: list[AbstractContextManager[None]], name: str) -> None:
    opened = named_range(name)
    opened.__enter__()
    open_ranges.append(opened)


def _leave(open_ranges: list[AbstractContextManager[None]]) -> None:
    if open_ranges:
        open_ranges.pop().__exit__(None, None, None)


def summarize(profiler: Any, documents: int) -> ProfileSummary:
    """Reduce what a profiler recorded to a table.

    Args:
        profiler: A `torch.profiler.profile` that has recorded steps with the names of `RANGES`.
        documents: Read in those steps.
    """
    events = profiler.events()
    marks = [event for event in events if event.name.startswith("ProfilerStep")]
    on_host = [mark for mark in marks if str(mark.device_type).endswith("CPU")] or marks
    averages = profiler.key_averages()
    has_device = any(item.self_device_time_total > 0 for item in averages)
    kind = "device" if has_device else "cpu"
    operators = [
        Operator(
            item.key,
            getattr(item, f"self_{kind}_time_total") / 1e3,
            int(item.count),
            int(getattr(item, f"self_{kind}_memory_usage")),
        )
        for item in averages
        if item.key not in RANGES and not item.key.startswith(("ProfilerStep", "Optimizer."))
    ]
    operators.sort(key=lambda operator: -operator.milliseconds)
    return ProfileSummary(
        steps=len(on_host),
        seconds=sum(mark.time_range.elapsed_us() for mark in on_host) / 1e6,
        documents=documents,
        flops=float(sum(item.flops for item in averages)),
        ranges=_own_seconds([event for event in events if event.name in RANGES]),
        operators=tuple(operators[:_OPERATORS]),
        clock="device" if has_device else "CPU",
    )


def _own_seconds(events: Sequence[Any]) -> dict[str, float]:
    """Return the seconds of each range on the host, less those of the ranges inside it."""
    own: dict[str, float] = {}
    open_events: list[Any] = []
    hosted = [event for event in events if str(event.device_type).endswith("CPU")]
    # Of two that begin together, the longer one is around the other.
    hosted.sort(key=lambda event: (event.thread, event.time_range.start, -event.time_range.end))
    for event in hosted:
        while open_events and (
            open_events[-1].thread != event.thread
            or open_events[-1].time_range.end <= event.time_range.start
        ):
            open_events.pop()
        if any(around.name in _WHOLE for around in open_events):
            continue
        seconds = event.time_range.elapsed_us() / 1e6
        own[event.name] = own.get(event.name, 0.0) + seconds
        if open_events:
            own[open_events[-1].name] -= seconds
        open_events.append(event)
    return {name: own[name] for name in RANGES if name in own}
