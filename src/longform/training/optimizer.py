"""AdamW with a rate for each depth, and schedules of the rate, all with a warm-up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from transformers import get_scheduler

from longform.config import OptimizationSettings
from longform.reporting import Reporter

_LAYER = re.compile(r"\.(?:layers?|h|blocks?)\.(\d+)\.")
_MOST_WARM_UP = 0.5
"""Share of all steps that a warm-up may take."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Learning rates of a run.

    Attributes:
        encoder: Of the top layer of the encoder, or of all there is.
        head: Of the head, where an encoder is trained below it.
        layer_decay: Rate of a layer over the rate of the layer above it.
    """

    encoder: float
    head: float
    layer_decay: float = 1.0


def parameter_groups(model: nn.Module, rates: Rates, weight_decay: float) -> list[dict[str, Any]]:
    """Group the trained parameters by rate and decay.

    Layer-wise rates are after Howard and Ruder, "Universal Language Model Fine-tuning for Text
    Classification" (2018), section 3.2: what lies lower holds more general knowledge, and changes
    less. Biases and normalisation weights, the parameters of one dimension, do not decay.

    Args:
        model: A `LongTextClassifier`, or a head alone.
        rates: Of the run.
        weight_decay: Decoupled decay of the other parameters.

    Returns:
        Groups as torch's optimisers take them, each with its `name`; those with the encoder's rate
        come first.
    """
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    depth = 1 + max((_layer(name) for name, _ in named), default=-1)
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in named:
        part, rate = _part_and_rate(name, depth, rates)
        decays = parameter.ndim > 1
        group = groups.setdefault(
            (part, decays),
            {
                "params": [],
                "lr": rate,
                "weight_decay": weight_decay if decays else 0.0,
                "name": part if decays else f"{part}, no decay",
            },
        )
        group["params"].append(parameter)
    # The Trainer logs the rate of the first group: that which the user has set.
    return sorted(groups.values(), key=lambda group: group["lr"] != rates.encoder)


def _layer(name: str) -> int:
    """Return the number of the encoder's layer that a parameter belongs to, -1 for none."""
    found = _LAYER.search(name) if "encoder." in name else None
    return int(found.group(1)) if found else -1


def _part_and_rate(name: str, depth: int, rates: Rates) -> tuple[str, float]:
    if not name.removeprefix("module.").startswith("encoder."):
        return "head", rates.head
    layer = _layer(name)
    if layer >= 0:
        return f"layer {layer}", rates.encoder * rates.layer_decay ** (depth - 1 - layer)
    if "embed" in name or re.search(r"\.w[tp]e\.", name):
        return "embeddings", rates.encoder * rates.layer_decay**depth
    return "encoder", rates.encoder


def build_optimizer(groups: Iterable[dict[str, Any]], config: OptimizationSettings) -> Optimizer:
    """Return AdamW over parameter groups, in the fused form of the device."""
    return torch.optim.AdamW(
        list(groups),
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        fused=torch.accelerator.current_accelerator(check_available=True) is None
        or torch.cuda.is_available(),
    )


class PlateauWithWarmUp(ReduceLROnPlateau):
    """Lowers the rates when validations bring nothing better, after a linear warm-up.

    Args:
        optimizer: Whose rates.
        warm_up: Optimiser steps over which the rates rise from 0.
        **kwargs: Of `ReduceLROnPlateau`.
    """

    def __init__(self, optimizer: Optimizer, warm_up: int, **kwargs: Any) -> None:
        super().__init__(optimizer, **kwargs)
        self.warm_up = warm_up
        self.steps_done = 0
        self.peaks = [float(group["lr"]) for group in optimizer.param_groups]
        self._rise()

    def advance(self) -> None:
        """Count an optimiser step: unlike other schedules, this one is stepped by validations."""
        self.steps_done += 1
        self._rise()

    def _rise(self) -> None:
        if self.steps_done <= self.warm_up and self.warm_up:
            share = self.steps_done / self.warm_up
            for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
                group["lr"] = peak * share


def warm_up_steps(config: OptimizationSettings, steps: int, reporter: Reporter) -> int:
    """Return the steps of the warm-up, and say when the run is too short for what was asked."""
    wanted = config.warmup_steps
    asked = round(wanted * steps) if wanted < 1 else round(wanted)
    most = int(_MOST_WARM_UP * steps)
    if asked > most:
        reporter.say(
            f"Warm-up: {most:,} steps, half of the {steps:,} of this run, instead of {asked:,} "
            "(warmup_steps)."
        )
    return min(asked, most)


def build_scheduler(
    optimizer: Optimizer,
    config: OptimizationSettings,
    steps: int,
    reporter: Reporter,
    metric: str = "loss",
) -> LRScheduler | ReduceLROnPlateau:
    """Return the schedule of the rates.

    Args:
        optimizer: Whose rates.
        config: `lr_scheduler_type`, `lr_scheduler_kwargs` and `warmup_steps` are read.
        steps: Optimiser steps of the run.
        reporter: Told when the warm-up had to be shortened.
        metric: What `reduce_lr_on_plateau` watches; less is better for `loss` alone.
    """
    warm_up = warm_up_steps(config, steps, reporter)
    options = dict(config.lr_scheduler_kwargs)
    if config.lr_scheduler_type == "reduce_lr_on_plateau":
        mode = "min" if metric == "loss" else "max"
        return PlateauWithWarmUp(optimizer, warm_up, **{"mode": mode, "patience": 1, **options})
    name = config.lr_scheduler_type
    return get_scheduler(
        "constant_with_warmup" if name == "constant" else name,
        optimizer=optimizer,
        num_warmup_steps=warm_up,
        num_training_steps=steps,
        scheduler_specific_kwargs=options or None,
    )
