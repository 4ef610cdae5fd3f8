"""How a model learns: Hugging Face's names for its `TrainingArguments`, and what they lack."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class OptimizationSettings(BaseModel):
    """What is minimised, and by which steps."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    learning_rate: float | None = Field(None, gt=0)
    """Of the encoder, or of what is trained alone. None: 5e-5 for a fine-tuned encoder, 5e-4 with
    `lora`, 1e-3 for a head on a frozen encoder and for `lstm` and `linformer`, 5e-3 for `bag` and
    `static`."""
    head_learning_rate: float | None = Field(None, gt=0)
    """Of the head, when a pretrained encoder is trained below it. None: 1e-3."""
    layer_learning_rate_decay: float = Field(0.9, gt=0, le=1)
    """Each layer of a pretrained encoder learns at this share of the rate of the layer above it,
    the embeddings at the lowest; 1 gives all the same rate, as `lora` always has it."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled decay of AdamW; biases and normalisation weights are spared."""
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of AdamW's mean of gradients."""
    adam_beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of AdamW's mean of squared gradients."""
    adam_epsilon: float = Field(1e-8, gt=0)
    """Added to the denominator of AdamW."""
    lr_scheduler_type: Literal[
        "linear", "cosine", "constant", "constant_with_warmup", "reduce_lr_on_plateau"
    ] = "linear"
    """How the learning rate goes after the warm-up, which all of them have. `reduce_lr_on_plateau`
    lowers it when a validation brought nothing better."""
    lr_scheduler_kwargs: dict[str, Any] = {}
    """Of `reduce_lr_on_plateau`: `factor` (0.1), `patience` (1 validation), `min_lr`; of `cosine`:
    `num_cycles` (0.5)."""
    warmup_steps: float = Field(0.1, ge=0)
    """Optimiser steps of warm-up; below 1, a share of all steps. At most half of all steps."""
    max_grad_norm: float = Field(1.0, ge=0)
    """Length that gradients are clipped to."""
    attention_dropout: float | None = Field(0.0, ge=0, lt=1)
    """Share of attention probabilities dropped when a pretrained encoder is trained: any keeps the
    device from its fast kernels. None: as the encoder was pretrained, often 0.1."""
    encoder_dropout: float | None = Field(None, ge=0, lt=1)
    """Share of the other features dropped within a pretrained encoder that is trained. None: as it
    was pretrained, often 0.1. On a CPU 0 trains a third faster."""
    label_smoothing_factor: float = Field(0.0, ge=0, lt=1)
    """Share of the probability spread over all classes."""
    class_weights: Literal["none", "auto"] = "none"
    """`auto` weighs each class in the loss by the inverse of its share of the documents."""
    class_balance: Literal["none", "weighted_sampler"] = "none"
    """`weighted_sampler` draws documents, with replacement, so that all classes come equally
    often. Use it or `class_weights`: their effects multiply."""
    focal_gamma: float = Field(0.0, ge=0)
    """Above 0, the focal loss: easy documents count for less (Lin et al., 2017)."""
    rdrop_alpha: float = Field(0.0, ge=0)
    """Above 0, R-Drop: each document is read twice with other dropout, and the symmetric
    Kullback-Leibler divergence of the two answers counts so much (Liang et al., 2021). Twice the
    cost."""
    fgm_epsilon: float = Field(0.0, ge=0)
    """Above 0, adversarial training: each batch is read again with the token embeddings moved so
    far in the direction that hurts most (Miyato et al., 2017). Twice the cost."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Above 0, an exponential moving average of the weights is validated, kept and exported, such
    as 0.999."""


class TrainingSettings(OptimizationSettings):
    """How long, on what, in which pieces, and what is kept."""

    num_train_epochs: float | None = Field(None, gt=0)
    """None: 3 for a fine-tuned encoder, 12 for a head on a frozen one, 5 for one trained from
    nothing."""
    max_steps: int = -1
    """Optimiser steps; above 0 it overrides `num_train_epochs`."""
    per_device_train_batch_size: int | None = Field(None, ge=1)
    """Documents per step. None: 32 for a head on a frozen encoder, 16 for an encoder trained from
    nothing, 8 otherwise."""
    per_device_eval_batch_size: int = Field(32, ge=1)
    """Documents per validation step."""
    gradient_accumulation_steps: int = Field(1, ge=1)
    """Batches that make one optimiser step."""
    train_batch_tokens: int | None = Field(None, ge=1)
    """Most padded tokens (segments, for a head on cached vectors) of a training batch, whose
    documents are of like length; None makes batches of `per_device_train_batch_size` documents."""
    hard_example_share: float = Field(0.0, ge=0, lt=1)
    """Share of each epoch after the first that is drawn by the current loss of the documents; the
    rest is drawn evenly."""
    max_train_segments: int | None = Field(None, ge=1)
    """Segments of a document that a step reads when the encoder is trained: the first, and others
    drawn anew. None: 8 for a pretrained encoder, all for one trained from nothing, with `two_pass`
    and for `concat`. Validation and serving always read the whole selection."""
    two_pass: bool | None = None
    """Encode the segments of a batch piece by piece, and once more for their gradients: memory does
    not grow with the document, gradients are the same, a third more computing. None: for what does
    not fit the memory."""
    micro_batch_tokens: int = Field(2_048, ge=1)
    """Most padded tokens that an encoder reads at once in training; halved when memory runs out."""
    gradient_checkpointing: bool = False
    """Keep only the inputs of each encoder layer and compute the rest again for the gradients."""
    device: Literal["auto", "cpu", "cuda", "npu"] = "auto"
    """Where to train. `auto` takes an NPU or a GPU where there is one and says what it took; a
    device that is named must be there."""
    bf16: bool | None = None
    """None: on where the device multiplies bf16 faster than fp32 by a short measurement."""
    fp16: bool = False
    """fp16 with a scaled loss, on a GPU or NPU without bf16."""
    fsdp: bool = False
    """Divide the weights of a large encoder over the processes of a `torchrun` launch, by
    accelerate."""
    ddp_timeout: int = Field(1_800, ge=1)
    """Seconds that processes wait for each other before the run ends and names the slow one."""
    early_stopping_patience: int = Field(4, ge=1)
    """Validations without a better figure before training stops."""
    early_stopping_threshold: float = Field(0.0, ge=0)
    """By how much a figure must be better to count."""
    metric_for_best_model: Literal["macro_f1", "accuracy", "loss"] = "macro_f1"
    """Figure of the validation documents that chooses the best checkpoint."""
    save_steps: int | None = Field(None, ge=1)
    """Optimiser steps between two validations, each with a checkpoint; None: one an epoch."""
    save_total_limit: int = Field(2, ge=1)
    """Checkpoints kept while training; the best one is never removed."""
    checkpoint_storage: str | None = None
    """URL under which checkpoints are kept too, such as `s3://bucket/run`: a machine without them
    continues from there. Any that fsspec opens; its library must be installed."""
    max_skipped_steps: int = Field(3, ge=1)
    """Steps in a row whose loss or gradient is not finite before the run goes back to its last
    good state and ends."""
    logging_steps: int = Field(10, ge=1)
    """Optimiser steps between two entries of the log."""
    report_to: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ("tensorboard",)
    """Where the log goes beside the screen; `[]` nowhere."""
    run_name: str | None = None
    """Name of the run in MLflow and Weights & Biases."""
    seed: int = 42
    """Of weights, shuffling, sampling and the validation split."""
    validation_split: float = Field(0.1, gt=0, lt=1)
    """Share of the documents held out, by class, when no validation file is given."""
    try_segment_lengths: tuple[int, ...] = ()
    """Lengths, such as [128, 256, 512], to try before the run, with a frozen encoder on a part of
    the training documents; the cheapest of the good ones becomes segment_length."""
    parity_documents: int | None = Field(None, ge=1)
    """Validation documents on which the export is compared with the trained model; None: as many
    as fit a short time, at least 8."""
