"""A YAML file and `key=value` settings to one validated run, all faults reported together."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from longform.config.settings import RunConfig
from longform.errors import ConfigError, InputError

ALIASES = {
    "model_name": "encoder",
    "model_name_or_path": "encoder",
    "max_seq_length": "segment_length",
    "max_length": "segment_length",
    "stride": "overlap",
    "evaluation_split": "validation_split",
    "warmup_ratio": "warmup_steps",
    "patience": "early_stopping_patience",
    "bag_vocabulary": "vocabulary_size",
    "lstm_layers": "aggregator_layers",
    "lstm_hidden": "aggregator_hidden",
    "layerwise_lr_decay": "layer_learning_rate_decay",
}
"""Well-known names of other tools -> ours."""

_ACCEPTED_TASKS = {"text_classification", "text-classification", "classify", "classification"}
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"\\]|\\.)*\"")

Settings = TypeVar("Settings", bound=BaseModel)


def load_config(path: Path | None, overrides: dict[str, Any] | None = None) -> RunConfig:
    """Read the configuration of a training run; see `load_settings`."""
    return load_settings(RunConfig, path, overrides)


def load_settings(
    model: type[Settings], path: Path | None, overrides: dict[str, Any] | None = None
) -> Settings:
    """Read a YAML file, lay `overrides` over it and validate the whole.

    Args:
        model: The settings that are wanted.
        path: YAML file, or None for the defaults.
        overrides: Values that win over the file, for example from `--set key=value`.

    Raises:
        InputError: The file is missing or is not YAML.
        ConfigError: One or more keys or values cannot be used; the message lists all of them.
    """
    values = _flatten(_read_yaml(path)) if path is not None else {}
    values.update(_flatten(overrides or {}))
    return read_settings(model, values, f"{path}" if path is not None else "the given settings")


def read_settings(
    model: type[Settings], values: dict[str, Any], where: str = "the given settings"
) -> Settings:
    """Validate settings, reporting all faults together.

    Raises:
        ConfigError: One or more keys or values cannot be used.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            f"The configuration ({where}) cannot be used.",
            found="; ".join(_describe(fault, model) for fault in error.errors()),
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
    # A prefix such as "query: " is a string, though YAML would read it as a mapping; in quotes it
    # is what stands between them, as everywhere in YAML, and not a prefix that holds quotes.
    if ALIASES.get(key, key) in {"segment_prefix", "encoder"} and not _QUOTED.fullmatch(value):
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


def _describe(fault: Any, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in fault["loc"]) or "configuration"
    if fault["type"] == "extra_forbidden":
        known = model.model_fields
        names = [*known, *(theirs for theirs, ours in ALIASES.items() if ours in known)]
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
        hint = f", did you mean '{near[0]}'?" if near else ""
        return f"unknown key '{key}'{hint}"
    if fault["type"] == "value_error":
        return str(fault["msg"]).removeprefix("Value error, ")
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return f"{key}: {message} (found {fault['input']!r})"
