"""The settings of a run as `transformers.TrainingArguments`, with defaults by what is trained."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from longform.config import LOOK_UP_ENCODERS, SCRATCH_ENCODERS, RunConfig
from longform.errors import ConfigError
from longform.training.devices import Device
from longform.training.optimizer import Rates


@dataclass(frozen=True, slots=True)
class Recipe:
    """The defaults that depend on what is trained."""

    learning_rate: float
    epochs: float
    batch_size: int


RECIPES = {
    "bag": Recipe(learning_rate=5e-3, epochs=5, batch_size=16),
    "static": Recipe(learning_rate=5e-3, epochs=5, batch_size=16),
    "scratch": Recipe(learning_rate=1e-3, epochs=5, batch_size=16),
    "frozen": Recipe(learning_rate=1e-3, epochs=12, batch_size=32),
    "fine-tuning": Recipe(learning_rate=5e-5, epochs=3, batch_size=8),
    "lora": Recipe(learning_rate=5e-4, epochs=3, batch_size=8),
}
_HEAD_RATE = 1e-3


def kind_of_training(config: RunConfig) -> str:
    """Return the key of `RECIPES` that a configuration falls under."""
    if config.frozen:
        return "frozen"
    if config.encoder in LOOK_UP_ENCODERS:
        return config.encoder
    if config.encoder in SCRATCH_ENCODERS:
        return "scratch"
    return "lora" if config.lora else "fine-tuning"


def trains_pretrained(config: RunConfig) -> bool:
    """Tell whether a pretrained encoder is changed by the run."""
    return kind_of_training(config) in ("fine-tuning", "lora")


def learning_rates(config: RunConfig) -> Rates:
    """Return the rates of a run: one for all, or one for each depth below a head with its own."""
    rate = config.learning_rate or RECIPES[kind_of_training(config)].learning_rate
    if not trains_pretrained(config):
        return Rates(rate, rate)
    decay = 1.0 if config.lora else config.layer_learning_rate_decay
    return Rates(rate, config.head_learning_rate or max(rate, _HEAD_RATE), decay)


def training_arguments(
    config: RunConfig, folder: Path, device: Device, *, on_each_node: bool = False
) -> TrainingArguments:
    """Translate the settings; rates, schedule and checkpoints' limit are kept by our Trainer.

    Args:
        config: The run.
        folder: For checkpoints.
        device: Decides the precision where the settings leave it open.
        on_each_node: Whether each node writes the checkpoints to a folder of its own.

    Raises:
        ConfigError: A precision that the device does not have, or `fsdp` on one device.
    """
    if config.fp16 and device.name == "cpu":
        raise ConfigError(
            "fp16 needs a GPU or an NPU.",
            found="fp16: true on a CPU",
            fix="Leave it out, or set bf16=true: CPUs compute in fp32 or bf16.",
        )
    if config.fsdp and (device.name == "cpu" or int(os.environ.get("WORLD_SIZE", "1")) == 1):
        raise ConfigError(
            "fsdp divides the weights over several GPUs or NPUs.",
            found=f"{os.environ.get('WORLD_SIZE', '1')} processes on {device.name}",
            fix="Launch with 'torchrun --nproc-per-node N -m longform train ...', or leave it out.",
        )
    recipe = RECIPES[kind_of_training(config)]
    epochs = config.num_train_epochs if config.num_train_epochs is not None else recipe.epochs
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        max_steps=config.max_steps,
        per_device_train_batch_size=config.per_device_train_batch_size or recipe.batch_size,
        per_device_eval_batch_size=config.per_device_eval_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        max_grad_norm=config.max_grad_norm,
        bf16=_use_bf16(config, device),
        fp16=config.fp16,
        use_cpu=device.name == "cpu",
        seed=config.seed,
        **_rhythm(config),
        **_processes(config),
        logging_steps=config.logging_steps,
        # The filter would read the loss from the device for every batch.
        logging_nan_inf_filter=False,
        save_on_each_node=on_each_node,
        load_best_model_at_end=True,
        metric_for_best_model=config.metric_for_best_model,
        greater_is_better=config.metric_for_best_model != "loss",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=device.name == "cuda",
        log_level="error",
    )


def _rhythm(config: RunConfig) -> dict[str, Any]:
    """Say when to validate and save: together, since the best checkpoint is chosen by both."""
    if config.save_steps is None:
        return {"eval_strategy": "epoch", "save_strategy": "epoch"}
    return {
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "eval_steps": config.save_steps,
        "save_steps": config.save_steps,
    }


def _processes(config: RunConfig) -> dict[str, Any]:
    # Batches are planned for all processes, and nothing but gradients is exchanged.
    arguments: dict[str, Any] = {
        "ddp_timeout": config.ddp_timeout,
        "ddp_find_unused_parameters": False,
    }
    if config.fsdp:
        arguments["fsdp"] = True
        arguments["fsdp_config"] = {"version": 2, "state_dict_type": "FULL_STATE_DICT"}
    return arguments


def _use_bf16(config: RunConfig, device: Device) -> bool:
    if config.bf16 is not None:
        return config.bf16
    # Small models gain nothing: their time goes into memory, not into matrix products.
    return device.bf16 and not config.fp16 and trains_pretrained(config)
