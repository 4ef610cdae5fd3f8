"""`transformers.Trainer` with our loss, metrics and manners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.trainer_callback import ProgressCallback as TqdmCallback
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import PredictionOutput

from longform.config import RunConfig
from longform.data.sampling import class_weights
from longform.decision.probabilities import sigmoid
from longform.decision.thresholds import tune_thresholds
from longform.evaluation.metrics import accuracy, macro_f1
from longform.models.classifier import Head, mean_loss
from longform.reporting import Reporter
from longform.training.devices import Device
from longform.training.losses import LossFunction, build_loss
from longform.training.progress import ProgressCallback, last_complete_checkpoint
from longform.training.sampling import (
    INDICES,
    DocumentLosses,
    LossKeeper,
    PlannedBatches,
    plan_batches,
    planned_loader,
)
from longform.types import Floats, Targets


@dataclass(frozen=True, slots=True)
class Recipe:
    """The defaults that depend on what is trained."""

    learning_rate: float
    epochs: float
    batch_size: int


RECIPES = {
    "bag": Recipe(learning_rate=5e-3, epochs=5, batch_size=16),
    "frozen": Recipe(learning_rate=1e-3, epochs=12, batch_size=32),
    "fine-tuning": Recipe(learning_rate=2e-5, epochs=3, batch_size=8),
}


def kind_of_training(config: RunConfig) -> str:
    """Return the key of `RECIPES` that a configuration falls under."""
    if config.encoder == "bag":
        return "bag"
    return "frozen" if config.frozen else "fine-tuning"


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """What the validation documents say of a trained model.

    Attributes:
        metrics: Accuracy and macro-F1.
        thresholds: float32 `[classes]`, least probabilities of each label, where a document may
            have several; they were tuned on the same documents that the metrics are of.
    """

    metrics: dict[str, float]
    thresholds: Floats | None = None


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
    ) -> SequenceClassifierOutput:
        """Score documents; shapes as in `Head.forward`. The loss is the Trainer's."""
        logits = self.head(segment_vectors, segment_mask, segment_positions)
        loss = None if labels is None else mean_loss(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class LongTextTrainer(Trainer):
    """Trains a `LongTextClassifier`, or its head alone.

    Args:
        model: What to train.
        config: The run.
        folder: Where checkpoints go.
        device: Decides the precision.
        reporter: Told how training goes.
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
        soften: Callable[[LossFunction], LossFunction] | None = None,
        **kwargs: Any,
    ) -> None:
        self._loss = _loss(config, kwargs["train_dataset"].labels, reporter)
        if soften is not None:
            self._loss = soften(self._loss)
        super().__init__(
            model=model,
            args=_arguments(config, folder, device),
            compute_loss_func=self._loss,
            compute_metrics=_metrics,
            callbacks=[
                EarlyStoppingCallback(config.early_stopping_patience),
                ProgressCallback(reporter),
            ],
            **kwargs,
        )
        # Their lines go to standard output, which belongs to --json.
        self.remove_callback(PrinterCallback)
        self.remove_callback(TqdmCallback)
        self._losses: DocumentLosses | None = None
        if config.hard_example_share > 0:
            self._losses = DocumentLosses(len(kwargs["train_dataset"]), self.args.device)
            # Before the progress, which marks a checkpoint as complete.
            self.callback_handler.callbacks.insert(0, LossKeeper(self._losses))
        self._plan = plan_batches(config, kwargs["train_dataset"], self.args)
        if self._plan is not None:
            reporter.say(self._plan.describe())

    def fit(self, reporter: Reporter) -> None:
        """Train, from the last complete checkpoint where there is one, and keep the best model."""
        checkpoint = last_complete_checkpoint(Path(str(self.args.output_dir)))
        if checkpoint is not None:
            reporter.say(f"Continuing from {checkpoint.name} of an interrupted run.")
            if self._losses is not None:
                self._losses.load(checkpoint)
        self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return batches by plan where the settings ask for one, else those of transformers."""
        if self._plan is None:
            return super().get_train_dataloader()
        sampler = PlannedBatches(self._plan, self.args.process_index, self._losses)
        return planned_loader(self.train_dataset, sampler, self.data_collator, self.args)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Compute the loss as transformers does, and note that of each training document."""
        indices = inputs.pop(INDICES, None)
        labels = inputs["labels"]
        loss, outputs = super().compute_loss(
            model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        if indices is not None and self._losses is not None:
            losses = self._loss.per_document(outputs.logits.detach(), labels)
            self._losses.record(indices, losses)
        return (loss, outputs) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        lengths = getattr(self.train_dataset, "lengths", None)
        if lengths is None:
            return super()._get_train_sampler(train_dataset)
        return LengthGroupedSampler(self.args.train_batch_size, lengths=lengths)

    def validate(self) -> Validation:
        """Judge the model on the validation documents, and find its thresholds on them."""
        output = self.predict(self.eval_dataset, metric_key_prefix="eval")
        metrics = {name: float(output.metrics[f"eval_{name}"]) for name in ("accuracy", "macro_f1")}
        targets = np.asarray(output.label_ids)
        if targets.ndim == 1:
            return Validation(metrics)
        return Validation(metrics, tune_thresholds(sigmoid(_logits(output)), targets > 0.5))

    def account(self) -> dict[str, float]:
        """Return the steps and epochs done, those before a resumption included."""
        return {
            "steps": int(self.state.global_step),
            "epochs": round(float(self.state.epoch or 0), 2),
        }


def _arguments(config: RunConfig, folder: Path, device: Device) -> TrainingArguments:
    recipe = RECIPES[kind_of_training(config)]
    epochs = config.num_train_epochs if config.num_train_epochs is not None else recipe.epochs
    return TrainingArguments(
        output_dir=str(folder),
        learning_rate=config.learning_rate or recipe.learning_rate,
        num_train_epochs=epochs,
        max_steps=config.max_steps,
        per_device_train_batch_size=config.per_device_train_batch_size or recipe.batch_size,
        per_device_eval_batch_size=config.per_device_eval_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        max_grad_norm=config.max_grad_norm,
        weight_decay=config.weight_decay,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_steps,
        bf16=_use_bf16(config, device),
        use_cpu=device.name == "cpu",
        seed=config.seed,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_steps=config.logging_steps,
        save_total_limit=config.save_total_limit,
        load_best_model_at_end=True,
        metric_for_best_model="macro_f1",
        greater_is_better=True,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=device.name == "cuda",
        log_level="error",
    )


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


def _use_bf16(config: RunConfig, device: Device) -> bool:
    if config.bf16 is not None:
        return config.bf16
    # Small models gain nothing: their time goes into memory, not into matrix products.
    return device.bf16 and kind_of_training(config) == "fine-tuning"


def _metrics(prediction: EvalPrediction) -> dict[str, float]:
    logits = _logits(prediction)
    labels = np.asarray(prediction.label_ids)
    if labels.ndim == 2:
        # Judged as it will be served: at the thresholds that suit these documents.
        targets, probabilities = labels > 0.5, sigmoid(logits)
        chosen = probabilities >= tune_thresholds(probabilities, targets)
        return _judge(targets, chosen, logits.shape[-1])
    return _judge(labels.astype(np.int64), logits.argmax(axis=-1), logits.shape[-1])


def _judge(labels: Targets, predicted: Targets, classes: int) -> dict[str, float]:
    return {
        "accuracy": accuracy(labels, predicted),
        "macro_f1": macro_f1(labels, predicted, classes),
    }


def _logits(output: EvalPrediction | PredictionOutput) -> Floats:
    logits = output.predictions
    return np.asarray(logits[0] if isinstance(logits, tuple) else logits, dtype=np.float32)
