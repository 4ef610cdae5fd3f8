"""A few steps of training under the profiler: a trace to look at and a table to read.

Ranges are named where training calls them; while no profiler runs, naming one costs less than a
microsecond and wakes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function, schedule
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from longform.errors import InputError
from longform.reporting import Reporter
from longform.training.profile_events import summarize

if TYPE_CHECKING:
    from longform.training.observation import ObservedTrainer

WAIT, WARM_UP, ACTIVE = 4, 2, 5
"""Steps that are let pass, that the profiler may warm up in, and that are recorded: it holds every
event in memory, so they are few."""

TRACE, TABLE = "trace.json.gz", "profile.txt"


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
