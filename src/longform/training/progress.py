"""What a training run shows while it runs."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from longform.reporting import Advance, Reporter
from longform.training.observation import RunWatch

_AVERAGED = 5
"""Entries of the log that the loss beside the bar is the mean of."""


class ProgressCallback(TrainerCallback):
    """A bar over the optimiser steps with loss, rate and speed, and one line per validation.

    It shows what the Trainer logs, every `logging_steps`: to ask for a loss at each step would make
    the host wait for the device each time.

    Args:
        reporter: Where to say it.
        watch: Counts the documents; without it no speed is shown.
    """

    def __init__(self, reporter: Reporter, watch: RunWatch | None = None) -> None:
        self._reporter = reporter
        self._watch = watch
        self._stack = ExitStack()
        self._advance: Advance | None = None
        self._loss: float | None = None
        self._losses: deque[float] = deque(maxlen=_AVERAGED)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open the bar."""
        self._advance = self._stack.enter_context(
            self._reporter.track("Training", state.max_steps, unit="steps", done=state.global_step)
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Move the bar."""
        if self._advance is not None:
            self._advance(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Show the figures of the log beside the bar."""
        if logs is None or "loss" not in logs or self._advance is None:
            return
        self._loss = logs["loss"]
        self._losses.append(self._loss)
        details = {"loss": f"{sum(self._losses) / len(self._losses):.4f}"}
        if "learning_rate" in logs:
            details["rate"] = f"{logs['learning_rate']:.2e}"
        if self._watch is not None:
            details["documents/s"] = f"{self._watch.documents_per_second():.3g}"
            busy = self._watch.sample_utilization(args.device)
            if busy is not None:
                details["busy"] = f"{100 * busy:.0f} %"
        self._advance(0, **details)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Say how the model does on the validation documents."""
        if metrics is None or self._advance is None:
            return
        # Short epochs end before the first entry of the log.
        loss = "" if self._loss is None else f"training loss {self._loss:.4f}   "
        self._reporter.say(
            f"  epoch {state.epoch or 0:5.1f}   {loss}"
            f"validation loss {metrics['eval_loss']:.4f}   "
            f"accuracy {100 * metrics['eval_accuracy']:.2f}   "
            f"macro-F1 {100 * metrics['eval_macro_f1']:.2f}"
        )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Close the bar."""
        self._stack.close()
        self._advance = None
