"""`transformers.Trainer` with our loss, rates, memory and manners."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    TrainerCallback,
)
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.trainer_callback import ProgressCallback as TqdmCallback

from longform.config import RunConfig
from longform.data.sampling import class_weights
from longform.models.classifier import Head, mean_loss
from longform.reporting import Reporter
from longform.training.arguments import learning_rates, training_arguments
from longform.training.averaging import WeightAverage
from longform.training.checkpoint_sharing import writes_on_each_node
from longform.training.checkpoints import CheckpointKeeper, last_complete_checkpoint
from longform.training.devices import Device
from longform.training.distributed import GradientExchange, anyone
from longform.training.features import INDICES
from longform.training.guard import FiniteGuard, LossScaleGuard, TrainingError
from longform.training.interruption import Interruption
from longform.training.judging import Validation, judge, measure
from longform.training.losses import LossFunction, build_loss
from longform.training.nodes import folder_owner
from longform.training.observation import EXCHANGE, ObservedTrainer, RunWatch, peak_memory
from longform.training.optimizer import (
    PlateauWithWarmUp,
    build_optimizer,
    build_scheduler,
    parameter_groups,
)
from longform.training.processes import join_processes, lost_processes_told
from longform.training.profiling import ProfileCallback, named_range
from longform.training.progress import ProgressCallback
from longform.training.recovery import MemoryRecovery
from longform.training.regularization import Adversary, consistent_loss, token_embeddings
from longform.training.sampling import (
    DocumentLosses,
    LossKeeper,
    PlannedBatches,
    is_special,
    plan_batches,
    planned_loader,
)
from longform.training.storage import CheckpointStorage
from longform.types import Targets


class HeadModel(nn.Module):
    """The head alone, for training on vectors that a frozen encoder gave.

    Args:
        head: Trained in place.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(
        self,
        segment_vectors: Tensor,
        segment_mask: Tensor,
        segment_positions: Tensor,
        labels: Tensor | None = None,
        linear_logits: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Score documents; shapes as in `Head.forward`. The loss is the Trainer's."""
        logits = self.head(segment_vectors, segment_mask, segment_positions)
        if linear_logits is not None:
            logits = logits + linear_logits
        loss = None if labels is None else mean_loss(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class LongTextTrainer(ObservedTrainer):
    """Trains a `LongTextClassifier`, or its head alone.

    Args:
        model: What to train.
        config: The run.
        folder: Where checkpoints go.
        device: Decides the precision.
        reporter: Told how training goes.
        document_ids: Of the training documents; None names them by their numbers.
        callbacks: Further callbacks of the Trainer.
        soften: Makes the loss of a student out of that of its labels.
        **kwargs: Datasets and collator, as `transformers.Trainer` takes them.
    """

    def __init__(
        self,
        model: nn.Module,
        config: RunConfig,
        folder: Path,
        device: Device,
        reporter: Reporter,
        *,
        document_ids: Sequence[str] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        soften: Callable[[LossFunction], LossFunction] = lambda loss: loss,
        **kwargs: Any,
    ) -> None:
        documents = kwargs["train_dataset"]
        self._config, self._reporter = config, reporter
        self._loss = soften(_loss(config, documents.labels, reporter))
        self._interruption = Interruption(reporter)
        join_processes(device.name, config.ddp_timeout)
        on_each_node = writes_on_each_node(folder_owner(folder), config.fsdp)
        arguments = training_arguments(config, folder, device, on_each_node=on_each_node)
        watch = RunWatch()
        super().__init__(
            watch,
            model=model,
            args=arguments,
            # Its presence makes the Trainer count the documents of an accumulation group.
            compute_loss_func=self._loss,
            compute_metrics=measure,
            callbacks=[
                EarlyStoppingCallback(
                    config.early_stopping_patience, config.early_stopping_threshold
                ),
                ProgressCallback(reporter, watch),
                *callbacks,
                self._interruption,
                # Last: what the others add to a checkpoint belongs to it.
                CheckpointKeeper(config.save_total_limit, _storage_among(callbacks)),
            ],
            **kwargs,
        )
        for callback in callbacks:
            if isinstance(callback, ProfileCallback):
                callback.attach(self)
        # Their lines go to standard output, which belongs to --json.
        self.remove_callback(PrinterCallback)
        self.remove_callback(TqdmCallback)
        self._watch_documents(documents, document_ids)
        self._choose_steps(model, documents)

    def _watch_documents(self, documents: Any, ids: Sequence[str] | None) -> None:
        """Build what keeps an eye on losses and gradients."""
        config = self._config
        self._losses: DocumentLosses | None = None
        if config.hard_example_share > 0:
            self._losses = DocumentLosses(len(documents), self.args.device)
            self.callback_handler.callbacks.insert(0, LossKeeper(self._losses))
        numbered = ids or [str(number) for number in range(len(documents))]
        self._guard = FiniteGuard(numbered, config.max_skipped_steps, self._reporter)
        self._scale_guard = LossScaleGuard(config.max_skipped_steps)

    def _choose_steps(self, model: nn.Module, documents: Any) -> None:
        """Build what decides how a step is taken, and on which documents."""
        config = self._config
        self._average: WeightAverage | None = None
        if config.ema_decay > 0:
            self._average = WeightAverage(self.model, config.ema_decay)
            self.callback_handler.callbacks.insert(0, self._average)
        self._adversary: Adversary | None = None
        if config.fgm_epsilon > 0:
            self._adversary = Adversary(token_embeddings(self.model), config.fgm_epsilon)
        by_length = isinstance(model, HeadModel) and config.aggregator in ("lstm", "gru")
        self._plan = plan_batches(config, documents, self.args, by_length)
        if is_special(config):
            self._reporter.say(self._plan.describe())
        self._memory = MemoryRecovery(model, config, self.args.device, self._reporter)
        self._exchange: GradientExchange | None = None

    # What a run begins with

    def fit(self) -> None:
        """Train, from the last complete checkpoint where there is one, and keep the best model.

        Raises:
            TrainingError: Training cannot go on.
            SystemExit: A signal ended it; a checkpoint was kept.
        """
        self._join_processes()
        checkpoint = last_complete_checkpoint(Path(str(self.args.output_dir)))
        if checkpoint is not None:
            self._reporter.say(f"Continuing from {checkpoint.name} of an interrupted run.")
            if self._losses is not None:
                self._losses.load(checkpoint)
            if self._average is not None:
                self._average.load(checkpoint)
        largest = self._plan.batches(0)[: self._plan.processes]
        self._memory.plan(self.train_dataset, largest, self.compute_loss_context_manager)
        with self._interruption, lost_processes_told():
            self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        self._interruption.end()
        if self._average is not None:
            best = self.state.best_model_checkpoint
            self._average.finish(Path(best) if best else None)
        self.watch.warn(self._reporter)

    def _join_processes(self) -> None:
        processes = self.args.world_size
        if processes == 1:
            return
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        self._reporter.say(
            f"{processes} processes, each {self.args.train_batch_size} documents a batch: "
            f"{batch * processes} documents a step."
        )
        if self.accelerator.distributed_type != DistributedType.FSDP:
            self._exchange = GradientExchange(self._config.ddp_timeout)
            self._exchange.wait()

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """Return AdamW with a rate for each depth of the encoder, and one for the head."""
        if self.optimizer is None:  # type: ignore[has-type]
            groups = parameter_groups(
                model or self.model, learning_rates(self._config), self._config.weight_decay
            )
            self.optimizer = build_optimizer(groups, self._config)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule of the rates."""
        if self.lr_scheduler is None:  # type: ignore[has-type]
            self.lr_scheduler = build_scheduler(
                optimizer or self.optimizer,
                self._config,
                num_training_steps,
                self._reporter,
                self._config.metric_for_best_model,
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the planned batches of this process."""
        sampler = PlannedBatches(self._plan, self.args.process_index, self._losses)
        return planned_loader(self.train_dataset, sampler, self.data_collator, self.args)

    # What a step does

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Compute the gradients of a batch, again in smaller pieces where memory runs out."""
        step = super().training_step

        def compute() -> Tensor:
            return step(model, dict(inputs), num_items_in_batch)

        attacked = compute if self._adversary is None else partial(self._adversary.step, compute)
        alone = contextlib.nullcontext if self._exchange is None else model.no_sync
        with alone():  # type: ignore[operator]
            loss = self._memory.gradients(
                attacked,
                restartable=self.accelerator.distributed_type != DistributedType.FSDP,
            )
        if self.args.world_size > 1 and self.accelerator.sync_gradients:
            wish = self._interruption.received is not None
            with self.watch.phase(EXCHANGE), named_range("exchange"):
                if self._exchange is not None:
                    self._exchange(model)
                self._interruption.stops = anyone(wish, self.args.device)
        if isinstance(self.lr_scheduler, PlateauWithWarmUp) and self.accelerator.sync_gradients:
            self.lr_scheduler.advance()
        # A loss that is not finite is told by the guard; the log goes on.
        return torch.nan_to_num(loss, nan=0.0, posinf=0.0, neginf=0.0)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Compute the loss of a batch: a sum over its documents, over those of the whole step."""
        indices, labels = inputs.pop(INDICES), inputs.pop("labels")
        outputs = model(**inputs)
        alpha = self._config.rdrop_alpha if model.training else 0.0
        if alpha > 0:
            passes = (outputs.logits, model(**inputs).logits)
            losses = consistent_loss(self._loss, alpha, passes, labels)
        else:
            losses = self._loss.per_document(outputs.logits, labels)
        loss = self._loss.mean(losses, labels, num_items_in_batch)
        if model.training:
            self._guard.record(indices, losses)
            if self._losses is not None:
                self._losses.record(indices, losses)
            if num_items_in_batch is not None:
                # Gradients are averaged over the processes, and the count is that of all.
                loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Validate the weights, or their average where one is kept."""
        with contextlib.nullcontext() if self._average is None else self._average.applied():
            return super().evaluate(*args, **kwargs)

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        """Score a batch, again in smaller pieces where memory runs out."""
        step = super().prediction_step
        return self._memory.run(lambda: step(*args, **kwargs))

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        scaler = self.accelerator.scaler
        if scaler is None:
            self._guard.inspect(norm, model, self.state.global_step + 1)
        else:
            self._guard.forget()
            overflow = not bool(torch.isfinite(torch.as_tensor(norm)))
            self._scale_guard.inspect(float(scaler.get_scale()), overflow)
        return norm

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint, or leave those that are there as they are.

        Raises:
            TrainingError: The weights are not finite, or the disk takes no more.
        """
        if not all(bool(torch.isfinite(value).all()) for value in self.model.parameters()):
            raise TrainingError(
                "Weights must be finite to be kept.",
                found=f"weights with NaN or infinity after step {self.state.global_step:,}",
                fix="Lower learning_rate; the same command continues from the last checkpoint.",
            )
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
        # torch and safetensors turn a full disk into errors of their own.
        except Exception as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise TrainingError(
                "A checkpoint must be written.",
                found=f"{folder}: {' '.join(str(error).split())[:300]}",
                fix="Free space on that disk; the same command continues from the last complete "
                "checkpoint.",
            ) from error

    # What a run ends with

    def validate(self) -> Validation:
        """Judge the model on the validation documents, and find its thresholds on them."""
        return judge(self.predict(self.eval_dataset, metric_key_prefix="eval"))

    def account(self) -> dict[str, Any]:
        """Return the steps and epochs done, those before a resumption included, and the time."""
        return {
            "steps": int(self.state.global_step),
            "epochs": round(float(self.state.epoch or 0), 2),
            "processes": self.args.world_size,
            "skipped_steps": self._guard.skipped,
            **self.watch.account(),
            "peak_memory": peak_memory(self.args.device),
        }


def _storage_among(callbacks: Sequence[TrainerCallback]) -> CheckpointStorage | None:
    return next((item for item in callbacks if isinstance(item, CheckpointStorage)), None)


def _loss(config: RunConfig, labels: Targets, reporter: Reporter) -> LossFunction:
    weights = None
    if config.class_weights == "auto":
        weights = class_weights(labels)
        reporter.say(
            f"Class weights: {weights.min():.3g} for the most frequent class to "
            f"{weights.max():.3g} for the rarest."
        )
    if labels.ndim == 2:
        return build_loss(config, "multi_label_classification", weights)
    return build_loss(config, "single_label_classification", weights)
