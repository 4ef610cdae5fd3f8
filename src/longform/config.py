"""One flat configuration for a run: Hugging Face's key names plus the five knobs.

Knows nothing of torch: the training room maps these fields to `transformers.TrainingArguments`.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from longform.errors import ConfigError, InputError


class SegmentSettings(BaseModel):
    """How a text becomes segments. Fixed before training and stored in the bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    segmenter: Literal["sentence", "fixed"] = "sentence"
    """`sentence` packs whole sentences up to the length; `fixed` cuts every `segment_length`."""
    segment_length: int = Field(128, ge=8)
    """Tokens of a segment, special tokens and prefix included. Short segments are faster on a CPU
    and make evidence finer; encoders take at most their own limit, often 512."""
    overlap: int = Field(0, ge=0)
    """Most tokens that a segment repeats from the one before it."""
    selection: Literal["all", "head", "tail", "head_tail"] = "all"
    """Which segments are read. Anything but `all` shows in every answer's coverage."""
    head_tokens: int = Field(512, ge=1)
    """Token budget of the leading segments for `head` and `head_tail`; at least one is read."""
    tail_tokens: int = Field(128, ge=1)
    """Token budget of the closing segments for `tail` and `head_tail`; at least one is read."""
    max_segments: int | None = Field(None, ge=1)
    """Most segments that are read, the first ones; None reads all."""
    segment_prefix: str = ""
    """Text put before each segment, for encoders that want one (`query: ` for e5)."""

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> SegmentSettings:
        if self.overlap > self.segment_length // 2:
            raise ValueError(
                f"overlap must be at most half of segment_length ({self.segment_length // 2}), "
                f"found {self.overlap}"
            )
        return self


class ModelSettings(BaseModel):
    """What reads the segments and what joins them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    encoder: str = "bag"
    """`bag` trains from nothing; otherwise a folder or name of a Hugging Face encoder."""
    token_pooling: Literal["cls", "mean"] = "mean"
    """Token vectors -> segment vector. Ignored by `bag`, whose tokens are averaged."""
    aggregator: Literal["mean", "max", "attention", "lstm"] = "attention"
    """Segment vectors -> document vector."""
    aggregator_hidden: int = Field(256, ge=1)
    """Width of the aggregator; of each direction for `lstm`."""
    lstm_layers: int = Field(1, ge=1)
    """Layers of `lstm`."""
    lstm_bidirectional: bool = True
    """Read the segments in both directions."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of features dropped in training before the aggregator and before the classifier."""
    frozen: bool = False
    """Leave a pretrained encoder as it is and train on cached segment vectors."""
    bag_dimension: int = Field(128, ge=1)
    """Width of the embeddings of `bag`."""
    bag_buckets: int = Field(65_521, ge=2)
    """Hash buckets for the token pairs of `bag`."""
    bag_vocabulary: int = Field(20_000, ge=300)
    """Most tokens of the tokenizer that `bag` trains on the corpus when none is given."""
    bag_token_dropout: float = Field(0.3, ge=0, lt=1)
    """Share of tokens and token pairs that `bag` leaves out of each training step."""


class TrainingSettings(BaseModel):
    """Names of `transformers.TrainingArguments`, with the defaults that fit long documents."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    learning_rate: float | None = Field(None, gt=0)
    """None: 2e-5 for a fine-tuned encoder, 1e-3 for a head on a frozen one, 5e-3 for `bag`."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled decay of AdamW; biases and normalisation weights are spared."""
    num_train_epochs: float | None = Field(None, gt=0)
    """None: 3 for a fine-tuned encoder, 12 for a head on a frozen one, 5 for `bag`."""
    max_steps: int = -1
    """Optimiser steps; above 0 it overrides `num_train_epochs`."""
    per_device_train_batch_size: int | None = Field(None, ge=1)
    """Documents per step. None: 32 for a head on a frozen encoder, 16 for `bag`, 8 otherwise."""
    per_device_eval_batch_size: int = Field(32, ge=1)
    """Documents per validation step."""
    gradient_accumulation_steps: int = Field(1, ge=1)
    """Batches that make one optimiser step."""
    max_grad_norm: float = Field(1.0, ge=0)
    """Length that gradients are clipped to."""
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    """How the learning rate goes after the warm-up."""
    warmup_steps: float = Field(0.1, ge=0)
    """Optimiser steps of warm-up; below 1, a share of all steps."""
    label_smoothing_factor: float = Field(0.0, ge=0, lt=1)
    """Share of the probability spread over all classes."""
    bf16: bool | None = None
    """None: on where the device multiplies bf16 faster than fp32 by a short measurement."""
    max_train_segments: int | None = Field(None, ge=1)
    """Segments sampled per document and step when the encoder is trained. None: 8 for a pretrained
    encoder, all for `bag`. Validation and serving always read the whole selection."""
    early_stopping_patience: int = Field(4, ge=1)
    """Epochs without a better validation macro-F1 before training stops."""
    save_total_limit: int = Field(2, ge=1)
    """Checkpoints kept while training; the best one is never removed."""
    logging_steps: int = Field(10, ge=1)
    """Optimiser steps between two entries of the log."""
    seed: int = 42
    """Of weights, shuffling, sampling and the validation split."""
    validation_split: float = Field(0.1, gt=0, lt=1)
    """Share of the documents held out, by class, when no validation file is given."""
    parity_documents: int | None = Field(None, ge=1)
    """Validation documents on which the export is compared with the trained model; None: as many
    as fit a short time, at least 8."""


class RunConfig(SegmentSettings, ModelSettings, TrainingSettings):
    """Everything that decides a training run, but for the paths of the data."""

    data: str | None = None
    """Training file; the `--data` flag overrides it."""
    validation: str | None = None
    """Validation file; without one, `validation_split` of the documents is held out."""
    output_dir: str | None = None
    """Folder of the bundle; the `--output` flag overrides it."""
    text_column: str = "text"
    """Column, or key, of the text."""
    label_column: str = "label"
    """Column, or key, of the label name."""

    @model_validator(mode="after")
    def _frozen_needs_weights(self) -> RunConfig:
        if self.frozen and self.encoder == "bag":
            raise ValueError("frozen needs a pretrained encoder, found encoder 'bag'")
        return self

    def segment_settings(self) -> SegmentSettings:
        """Return the part that the bundle stores and the segmenter reads."""
        return SegmentSettings.model_validate(
            {name: getattr(self, name) for name in SegmentSettings.model_fields}
        )


ALIASES = {
    "model_name": "encoder",
    "model_name_or_path": "encoder",
    "max_seq_length": "segment_length",
    "max_length": "segment_length",
    "stride": "overlap",
    "evaluation_split": "validation_split",
    "warmup_ratio": "warmup_steps",
    "patience": "early_stopping_patience",
}
"""Well-known names of other tools -> ours."""

_ACCEPTED_TASKS = {"text_classification", "text-classification", "classify", "classification"}


def load_config(path: Path | None, overrides: dict[str, Any] | None = None) -> RunConfig:
    """Read a YAML file, lay `overrides` over it and validate the whole.

    Args:
        path: YAML file, or None for the defaults.
        overrides: Values that win over the file, for example from `--set key=value`.

    Raises:
        InputError: The file is missing or is not YAML.
        ConfigError: One or more keys or values cannot be used; the message lists all of them.
    """
    values = _flatten(_read_yaml(path)) if path is not None else {}
    values.update(_flatten(overrides or {}))
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        where = f"{path}" if path is not None else "the given settings"
        raise ConfigError(
            f"The configuration ({where}) cannot be used.",
            found="; ".join(_describe(fault) for fault in error.errors()),
            fix="Correct these keys; 'longform train --help' and docs/configuration.md list all.",
        ) from error


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """Turn `["key=value", ...]` into a mapping, reading each value as YAML reads it.

    Raises:
        InputError: An assignment has no `=`, or its value is not YAML.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key:
            raise InputError(
                "A setting is written key=value.",
                found=f"'{assignment}'",
                fix="For example: --set aggregator=lstm frozen=true",
            )
        values[key.strip()] = _read_value(key.strip(), value)
    return values


def _read_value(key: str, value: str) -> Any:
    # A prefix such as "query: " is a string, though YAML would read it as a mapping.
    if ALIASES.get(key, key) in {"segment_prefix", "encoder"}:
        return value
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(
            "The value of a setting is written as in YAML.",
            found=f"'{key}={value}': {' '.join(str(error).split())}",
            fix="Put quotes around a text with special characters: --set \"key='value'\"",
        ) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(
            "The configuration file must exist.",
            found=f"no file at {path}",
            fix="Give the path of a YAML file, or leave it out to use the defaults.",
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(
            "The configuration file must be plain YAML in UTF-8.",
            found=f"{path}: {' '.join(str(error).split())}",
            fix="Correct the line named above; tags such as !!python are never executed.",
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(
            "The configuration file must hold one mapping of keys to values.",
            found=f"{path} holds a {type(content).__name__}",
            fix="Write one 'key: value' a line.",
        )
    return {str(key): value for key, value in content.items()}


def _flatten(values: dict[str, Any]) -> dict[str, Any]:
    """Lift a nested `training_args:` block, drop `task:` and apply the aliases."""
    nested = values.get("training_args")
    if not isinstance(nested, dict | None):
        raise ConfigError(
            "training_args must be a block of keys and values.",
            found=f"a {type(nested).__name__}",
            fix="Write its keys below it, or without it: the configuration is flat.",
        )
    flat: dict[str, Any] = {}
    for key, value in (*(nested or {}).items(), *values.items()):
        name = ALIASES.get(str(key), str(key))
        if flat.setdefault(name, value) != value:
            raise ConfigError(
                "A setting must have one value.",
                found=f"'{key}: {value}' and, nested or by another name, '{flat[name]}'",
                fix=f"Keep one of them, best as '{name}'.",
            )
    flat.pop("training_args", None)
    task = flat.pop("task", None)
    if task is not None and str(task) not in _ACCEPTED_TASKS:
        raise ConfigError(
            "The task must be text classification.",
            found=f"task: {task}",
            fix="Write 'task: text_classification', or leave the key out.",
        )
    return flat


def _describe(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"]) or "configuration"
    if fault["type"] == "extra_forbidden":
        names = [*RunConfig.model_fields, *ALIASES]
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
        hint = f", did you mean '{near[0]}'?" if near else ""
        return f"unknown key '{key}'{hint}"
    if fault["type"] == "value_error":
        return str(fault["msg"]).removeprefix("Value error, ")
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return f"{key}: {message} (found {fault['input']!r})"
