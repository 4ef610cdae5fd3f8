"""`transformers.Trainer` for masked language models, whose head reads the masked tokens alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import prepare_data_loader
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ProgressCallback as TqdmCallback

from longform.config import PretrainingSettings
from longform.data.batching import BatchPlan
from longform.inference.packing import pack_segments
from longform.reporting import Reporter
from longform.training.checkpoints import CheckpointKeeper, last_complete_checkpoint
from longform.training.devices import Device
from longform.training.interruption import Interruption
from longform.training.masked_arguments import parameter_groups, training_arguments
from longform.training.masked_rows import MaskedRows
from longform.training.masked_segments import EpochBatches
from longform.training.optimizer import build_optimizer, build_scheduler
from longform.training.progress import ProgressCallback

_JUDGED = 2**31
"""The epoch whose masks all measurements share, so that their losses can be compared."""

_CHECKPOINTS = 2


class MaskedTrainer(Trainer):
    """Trains a masked language model.

    Args:
        model: Of `AutoModelForMaskedLM`.
        settings: The run.
        head_rate: Learning rate of the layers that guess.
        folder: Where checkpoints go.
        device: Decides the precision.
        reporter: Told how training goes.
        **kwargs: `train_dataset` and `eval_dataset`, `MaskedSegments` both, and `data_collator`.
    """

    # As transformers sets them, which mypy cannot see.
    control: Any
    optimizer: Any
    lr_scheduler: Any

    def __init__(
        self,
        model: Any,
        settings: PretrainingSettings,
        head_rate: float,
        folder: Path,
        device: Device,
        reporter: Reporter,
        **kwargs: Any,
    ) -> None:
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        self._interruption = Interruption(reporter)
        super().__init__(
            model=model,
            args=training_arguments(settings, folder, device),
            callbacks=[
                _MaskedProgress(reporter),
                self._interruption,
                CheckpointKeeper(_CHECKPOINTS),
            ],
            **kwargs,
        )
        # Their lines go to standard output, which belongs to --json.
        self.remove_callback(PrinterCallback)
        self.remove_callback(TqdmCallback)
        # The loss is a sum over the masked tokens of all batches of a step: none counts for more.
        self.model_accepts_loss_kwargs = True
        self._measured: tuple[int, dict[str, float]] | None = None
        self._settings = settings
        self._head_rate = head_rate
        self._reporter = reporter
        self._rows = MaskedRows(model)
        self._plan = BatchPlan(
            sizes=np.array([(1, length) for length in self.train_dataset.lengths], dtype=np.int64),
            seed=settings.seed,
            batch_size=1,
            token_budget=settings.train_batch_tokens,
            processes=self.args.world_size,
        )

    def fit(self) -> None:
        """Train, from the last complete checkpoint where there is one.

        Raises:
            SystemExit: A signal ended it; a checkpoint was kept.
        """
        checkpoint = last_complete_checkpoint(Path(str(self.args.output_dir)))
        if checkpoint is not None:
            self._reporter.say(f"Continuing from {checkpoint.name} of an interrupted run.")
        with self._interruption:
            self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        self._interruption.end()

    def measure(self) -> dict[str, float]:
        """Return the masked loss, its perplexity and the accuracy on the held-out segments.

        The same words are masked each time.
        """
        data, losses, right, count = self.eval_dataset, 0.0, 0, 0
        self.model.eval()
        with self._reporter.track("Measuring", len(data), unit="segments") as advance:
            for indices in pack_segments(data.lengths, self._settings.train_batch_tokens):
                batch = self.data_collator([data[_JUDGED, index] for index in indices])
                batch = {name: value.to(self.args.device) for name, value in batch.items()}
                with torch.no_grad(), self.accelerator.autocast():
                    scores, targets = self._rows.score(self.model, batch)
                losses += float(nn.functional.cross_entropy(scores, targets, reduction="sum"))
                right += int((scores.argmax(dim=-1) == targets).sum())
                count += len(targets)
                advance(len(indices))
        loss = losses / max(count, 1)
        # A perplexity beyond the vocabulary says no more, and JSON has no infinity.
        return {
            "loss": loss,
            "perplexity": math.exp(min(loss, 700.0)),
            "accuracy": right / max(count, 1),
        }

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure, and tell the log and the callbacks as transformers does."""
        if self._interruption.received is not None:
            # Whoever stops a run does not wait for figures of half an epoch.
            return {}
        measured = self.measure()
        self._measured = self.state.global_step, measured
        metrics = {f"eval_{name}": value for name, value in measured.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def result(self) -> dict[str, float]:
        """Return what `measure` gives after the last step."""
        if self._measured is not None and self._measured[0] == self.state.global_step:
            return self._measured[1]
        return self.measure()

    def account(self) -> dict[str, Any]:
        """Return what was done, that before a resumption included."""
        return {
            "segments": len(self.train_dataset),
            "tokens": sum(self.train_dataset.lengths),
            "validation_segments": len(self.eval_dataset),
            "history": self.history(),
            "steps": int(self.state.global_step),
            "epochs": round(float(self.state.epoch or 0), 2),
            "precision": "bf16" if self.args.bf16 else "fp32",
        }

    def history(self) -> list[dict[str, float]]:
        """Return what was measured after each epoch, those before a resumption included."""
        names = ("loss", "perplexity", "accuracy")
        return [
            {"epoch": round(entry["epoch"], 2)}
            | {name: round(entry[f"eval_{name}"], 6) for name in names}
            for entry in self.state.log_history
            if "eval_loss" in entry
        ]

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return batches of segments of like length, filled to the token budget."""
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=EpochBatches(self._plan, self.args.process_index),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return prepare_data_loader(
            loader, self.args.device, num_processes=1, process_index=0, put_on_device=True
        )

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Compute the cross-entropy of the masked tokens, as a share of all those of the step."""
        scores, targets = self._rows.score(model, inputs)
        total = nn.functional.cross_entropy(scores, targets, reduction="sum")
        count = len(targets) if num_items_in_batch is None else num_items_in_batch
        loss = total / count
        if self.args.world_size > 1 and num_items_in_batch is not None:
            # Processes average their gradients, and the count is of all of them.
            loss = loss * self.args.world_size
        return (loss, {"logits": scores}) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> Optimizer:
        """Build AdamW with a rate for the encoder and one for the head."""
        if self.optimizer is None:
            groups = parameter_groups(
                self.model if model is None else model, self._settings, self._head_rate
            )
            self.optimizer = build_optimizer(groups, self._settings.optimization_settings())
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        """Build the schedule, with a warm-up of at most half of all steps."""
        if self.lr_scheduler is None:
            self.lr_scheduler = build_scheduler(
                optimizer or self.optimizer,
                self._settings.optimization_settings(),
                num_training_steps,
                self._reporter,
            )
        return self.lr_scheduler


class _MaskedProgress(ProgressCallback):
    """A bar over the optimiser steps, and one line per measurement."""

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Say how well words are guessed."""
        if metrics is None:
            return
        loss = "" if self._loss is None else f"training loss {self._loss:.4f}   "
        self._reporter.say(f"  epoch {state.epoch or 0:5.1f}   {loss}{describe(metrics, 'eval_')}")


def describe(metrics: dict[str, float], prefix: str = "") -> str:
    """Return a measurement in words."""
    return (
        f"masked loss {metrics[f'{prefix}loss']:.4f}   "
        f"perplexity {metrics[f'{prefix}perplexity']:,.1f}   "
        f"guessed right {100 * metrics[f'{prefix}accuracy']:.1f} %"
    )
