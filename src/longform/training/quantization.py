"""Quantisation-aware training: how it begins, what each step adds, and how it ends."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from longform.errors import ConfigError
from longform.models import LongTextClassifier
from longform.models.fake_quantization import (
    QuantizedLayer,
    make_quantization_aware,
    quantization_aware_layers,
    settle,
)
from longform.reporting import Reporter


class RangeKeeper(TrainerCallback):
    """Moves the ranges of the layers' inputs, between steps and never within one.

    Args:
        model: The model in training.
    """

    def __init__(self, model: LongTextClassifier) -> None:
        self._model = model

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Take in what the step's inputs spanned."""
        for layer in quantization_aware_layers(self._model):
            layer.end_step()


def start_quantization(model: LongTextClassifier, reporter: Reporter) -> RangeKeeper:
    """Make the encoder of a model quantisation-aware, in place.

    Args:
        model: With a pretrained encoder.
        reporter: Told what is rounded.

    Returns:
        The callback that training needs.

    Raises:
        ConfigError: The encoder has no linear layers to round.
    """
    count = make_quantization_aware(model.encoder.model)
    if not count:
        raise ConfigError(
            "quantization_aware is for encoders made of linear layers.",
            found=f"an encoder of the kind '{model.config.encoder}', which has none",
            fix="Leave quantization_aware out, or take another encoder.",
        )
    reporter.say(
        f"Quantisation-aware: {count} linear layers and the token embeddings are rounded as in "
        "int8; the head stays in fp32."
    )
    return RangeKeeper(model)


def settle_quantization(model: LongTextClassifier) -> dict[str, QuantizedLayer]:
    """Put plain layers with rounded weights back, in place, and return how each one rounds."""
    return settle(model.encoder.model)
