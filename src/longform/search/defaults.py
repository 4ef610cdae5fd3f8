"""What is searched when the user names no space, and what a search begins with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longform.config import RunConfig
from longform.config.model import LOOK_UP_ENCODERS, SCRATCH_ENCODERS, STATIC
from longform.models.aggregators import AGGREGATORS
from longform.search.costs import EncoderCost
from longform.search.space import Choices, Parameter, Range, Space
from longform.search.tuning import DEFAULTS, Start
from longform.training.arguments import RECIPES, kind_of_training

_JOINING = tuple(name for name in ("attention", "mean", "max", *AGGREGATORS) if name != "concat")
_WIDE = tuple(name for name in AGGREGATORS if name not in ("mean", "max", "concat"))
"""Aggregators that have a width."""


def default_space(
    config: RunConfig, encoders: Sequence[str], costs: Sequence[EncoderCost]
) -> Space:
    """Return what is searched by default: the knobs that matter for the encoders at hand.

    A key that the configuration sets is left as it is set.

    Args:
        config: As the user gave it.
        encoders: Folders or names of pretrained encoders to choose among, beside the one of the
            configuration.
        costs: What these were estimated to cost; those that may be fine-tuned, or read with other
            segments and pooling, are searched in these too.
    """
    candidates = list(dict.fromkeys([config.encoder, *encoders]))
    pretrained = [name for name in candidates if name not in SCRATCH_ENCODERS]
    scratch = [name for name in candidates if name in SCRATCH_ENCODERS]
    parameters: list[Parameter] = []
    if len(candidates) > 1:
        parameters.append(Parameter("encoder", Choices(tuple(candidates))))
    parameters += _pretrained(pretrained, costs)
    parameters += [
        Parameter("aggregator", Choices(tuple(dict.fromkeys(_JOINING)))),
        Parameter("aggregator_hidden", Choices((64, 128, 256)), {"aggregator": _WIDE}),
        Parameter("dropout", Range(0.0, 0.5, 0.1)),
        Parameter("label_smoothing_factor", Choices((0.0, 0.1))),
    ]
    if scratch:
        when = {"encoder": tuple(scratch)}
        parameters += [
            Parameter("segment_length", Choices((64, 128, 256)), when),
            Parameter("per_device_train_batch_size", Choices((8, 16, 32)), when),
            Parameter("num_train_epochs", Range(3, 12), when, "from nothing"),
        ]
    if "bag" in scratch:
        when = {"encoder": ("bag",)}
        parameters += [
            Parameter("learning_rate", Range(1e-3, 3e-2, log=True), when, "bag"),
            Parameter("bag_dimension", Choices((64, 128, 256)), when),
            Parameter("bag_token_dropout", Range(0.0, 0.6, 0.1), when),
        ]
    if STATIC in scratch:
        when = {"encoder": (STATIC,)}
        parameters += [
            Parameter("learning_rate", Range(1e-3, 3e-2, log=True), when, STATIC),
            Parameter("static_token_dropout", Range(0.0, 0.6, 0.1), when),
        ]
    others = tuple(name for name in scratch if name not in LOOK_UP_ENCODERS)
    if others:
        when = {"encoder": others}
        parameters.append(Parameter("learning_rate", Range(2e-4, 5e-3, log=True), when, "scratch"))
    kept = config.model_fields_set - {"encoder"}
    searched = [parameter for parameter in parameters if parameter.key not in kept]
    if config.frozen and len(candidates) > 1 and scratch:
        # What the configuration asks of a pretrained encoder makes no sense for these.
        when = {"encoder": tuple(scratch)}
        searched.insert(1, Parameter("frozen", Choices((False,)), when, "from nothing"))
    return Space(tuple(searched))


def _pretrained(encoders: Sequence[str], costs: Sequence[EncoderCost]) -> list[Parameter]:
    """Return what is searched of pretrained encoders."""
    if not encoders:
        return []
    tunable = tuple(cost.encoder for cost in costs if cost.may_be_tuned)
    variable = tuple(cost.encoder for cost in costs if cost.may_be_varied)
    fixed = tuple(name for name in encoders if name not in tunable)
    parameters: list[Parameter] = []
    if tunable:
        parameters.append(Parameter("frozen", Choices((True, False)), {"encoder": tunable}))
    if fixed:
        parameters.append(Parameter("frozen", Choices((True,)), {"encoder": fixed}, "given"))
    if variable:
        when = {"encoder": variable}
        parameters += [
            Parameter("token_pooling", Choices(("mean", "cls", "max")), when),
            Parameter("segment_length", Choices((128, 256)), when, "encoder"),
        ]
    frozen = {"encoder": tuple(encoders), "frozen": (True,)}
    parameters += [
        Parameter("learning_rate", Range(2e-4, 1e-2, log=True), frozen, "frozen"),
        Parameter("num_train_epochs", Range(6, 24), frozen, "frozen"),
    ]
    if tunable:
        tuned = {"encoder": tunable, "frozen": (False,)}
        parameters += [
            Parameter("learning_rate", Range(1e-5, 2e-4, log=True), tuned, "fine-tuning"),
            Parameter("num_train_epochs", Range(1, 4), tuned, "fine-tuning"),
        ]
    return parameters


def starts(config: RunConfig, encoders: Sequence[str]) -> list[Start]:
    """Return what a search begins with: the defaults, and each encoder, frozen, with its own."""
    given = [Start(DEFAULTS, config, filled_in(config))]
    for name in encoders:
        if name == config.encoder and config.frozen:
            continue
        other = RunConfig.model_validate(
            {**config.model_dump(), "encoder": name, "frozen": True, "lora": False}
        )
        given.append(Start(f"{name}, frozen", other, filled_in(other)))
    return given


def filled_in(config: RunConfig) -> dict[str, Any]:
    """Return the values of a configuration, those that depend on what is trained filled in."""
    recipe = RECIPES[kind_of_training(config)]
    unset = {
        "learning_rate": recipe.learning_rate,
        "num_train_epochs": recipe.epochs,
        "per_device_train_batch_size": recipe.batch_size,
        "token_pooling": "mean",
    }
    values = config.model_dump()
    return values | {key: value for key, value in unset.items() if values[key] is None}
