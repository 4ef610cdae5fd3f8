"""What a training run shows while it runs."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from longform.reporting import Advance, Reporter


class ProgressCallback(TrainerCallback):
    """A bar over the optimiser steps, and one line per validation.

    Args:
        reporter: Where to say it.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._stack = ExitStack()
        self._advance: Advance | None = None
        self._loss: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open the bar."""
        self._advance = self._stack.enter_context(
            self._reporter.track("Training", state.max_steps, unit="steps")
        )
        self._advance(state.global_step)

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
        """Remember the loss for the next line."""
        self._loss = (logs or {}).get("loss", self._loss)

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
