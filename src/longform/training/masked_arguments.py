"""The settings of pretraining as transformers takes them: arguments, and groups of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from longform.config import PretrainingSettings
from longform.training.devices import Device


def training_arguments(
    settings: PretrainingSettings, folder: Path, device: Device
) -> TrainingArguments:
    """Return the arguments of a run that keeps its checkpoints in a folder."""
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        max_grad_norm=settings.max_grad_norm,
        bf16=device.bf16 if settings.bf16 is None else settings.bf16,
        use_cpu=device.name == "cpu",
        seed=settings.seed,
        eval_strategy="epoch",
        save_strategy="steps",
        save_steps=settings.save_steps or 0.1,
        logging_steps=settings.logging_steps,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=device.name == "cuda",
        log_level="error",
    )


def parameter_groups(
    model: Any, settings: PretrainingSettings, head_rate: float
) -> list[dict[str, Any]]:
    """Tell encoder and head apart, and what decays from what does not.

    The table that words are looked up in and guessed by is one; it learns with the encoder.
    """
    of_encoder = {id(parameter) for parameter in model.base_model.parameters()}
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for parameter in model.parameters():
        key = id(parameter) in of_encoder, parameter.ndim > 1
        in_encoder, decays = key
        group = groups.setdefault(
            key,
            {
                "params": [],
                "lr": settings.learning_rate if in_encoder else head_rate,
                "weight_decay": settings.weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())
