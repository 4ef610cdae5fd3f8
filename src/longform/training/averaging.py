"""An exponential moving average of the weights, which is validated, kept and exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from longform.errors import InputError

_FILE = "average.safetensors"


class WeightAverage(TrainerCallback):
    """Averages the trained weights after each optimiser step, and lends the average to the model.

    The first averages would be mostly the untrained weights: as in TensorFlow, step n decays by
    `min(decay, (1 + n) / (10 + n))`. Buffers are not averaged: none of ours is learnt. What a
    checkpoint holds as the model are the weights that training goes on with; the average is a file
    of its own beside it.

    Args:
        model: On its device; which parameters are trained must be settled.
        decay: Share that is kept of the average at each step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._updates = 0
        self._weights = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        self._average = {name: item.detach().clone() for name, item in self._weights.items()}

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Follow the weights."""
        # fp16 leaves out a step whose gradients overflowed.
        if not getattr(kwargs.get("optimizer"), "step_was_skipped", False):
            self.update()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Write the average into the checkpoint."""
        if args.should_save:
            self.save(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")

    def update(self) -> None:
        """Move the average towards the weights."""
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        weights = [parameter.detach() for parameter in self._weights.values()]
        get_ema_multi_avg_fn(decay)(list(self._average.values()), weights, self._updates)
        self._updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the average, then its own weights again, bit for bit."""
        own = {name: parameter.detach().clone() for name, parameter in self._weights.items()}
        self._assign(self._average)
        try:
            yield
        finally:
            self._assign(own)

    def finish(self, best: Path | None) -> None:
        """Give the model the average for good.

        Args:
            best: Checkpoint whose average to take; None takes the last one.

        Raises:
            InputError: The checkpoint has none.
        """
        if best is not None:
            self.load(best)
        self._assign(self._average)

    def save(self, folder: Path) -> None:
        """Write the average into a checkpoint's folder."""
        content = {name: item.contiguous() for name, item in self._average.items()}
        save_file(content, folder / _FILE, metadata={"updates": str(self._updates)})

    def load(self, folder: Path) -> None:
        """Continue from the average of a checkpoint.

        Raises:
            InputError: The checkpoint has none, or one of other weights.
        """
        path = folder / _FILE
        if not path.is_file():
            raise _other_run(f"{folder} has no {_FILE}")
        with safe_open(path, framework="pt") as stored:
            if set(stored.keys()) != set(self._average):
                raise _other_run(f"{path} is of other weights than are trained here")
            for name, average in self._average.items():
                average.copy_(stored.get_tensor(name))
            self._updates = int(stored.metadata()["updates"])

    @torch.no_grad()
    def _assign(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self._weights.items():
            parameter.copy_(values[name])


def _other_run(found: str) -> InputError:
    return InputError(
        "A run with ema_decay must continue with the settings that it began with.",
        found=found,
        fix="Remove the folder to start anew, or restore the settings of the run.",
    )
