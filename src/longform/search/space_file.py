"""A user's own space: a YAML file of keys with values or ranges, all faults reported together."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from longform.config import ALIASES, RunConfig
from longform.errors import ConfigError, InputError
from longform.search.space import Choices, Parameter, Range, Space

FIXED_KEYS = frozenset(
    {
        "data",
        "validation",
        "output_dir",
        "checkpoint_storage",
        "seed",
        "validation_split",
        "metric_for_best_model",
    }
)
"""Keys that decide what is compared: they are the same in every trial."""

_RANGE = {"low", "high", "step", "log"}


def read_space(path: Path, config: RunConfig) -> Space:
    """Read a space from a file.

    Each key of the configuration has a list of values, or a mapping of `low`, `high`, `step` and
    `log`, or of `choices`; both mappings may have `when`: other keys with the values at which the
    key counts.

    Args:
        path: YAML file.
        config: The run that the space changes.

    Raises:
        InputError: There is no such file, or it is not YAML.
        ConfigError: A key or value cannot be used; the message lists all faults.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise InputError(
            "A search space is a YAML file that can be read.",
            found=f"{path}: {' '.join(str(error).split())}",
            fix="Write one key a line, such as 'aggregator: [mean, lstm]'.",
        ) from error
    return parse_space(content, config, str(path))


def parse_space(content: Any, config: RunConfig, where: str = "the given space") -> Space:
    """Turn what a space file holds into a space; see `read_space`."""
    if not isinstance(content, dict) or not content:
        raise ConfigError(
            "A search space must map keys to values or ranges.",
            found=f"{where} holds {'nothing' if not content else f'a {type(content).__name__}'}",
            fix="Write one key a line, such as 'aggregator: [mean, lstm]'.",
        )
    faults: list[str] = []
    parameters: list[Parameter] = []
    for written, value in content.items():
        key = ALIASES.get(str(written), str(written))
        earlier = {parameter.key for parameter in parameters}
        found = _check_key(str(written), key, earlier)
        parameter = None if found else _read_parameter(key, value, found)
        if parameter is not None:
            found += _check_values(parameter, config)
            found += _check_conditions(parameter, parameters, config)
            parameters.append(parameter)
        faults += found
    if faults:
        raise ConfigError(
            f"The search space ({where}) cannot be used.",
            found="; ".join(faults),
            fix="Correct these keys; docs/search.md shows how a space is written, "
            "docs/configuration.md lists all keys.",
        )
    return Space(tuple(parameters))


def _check_key(written: str, key: str, earlier: set[str]) -> list[str]:
    if key in FIXED_KEYS:
        return [f"{key} must be the same in all trials"]
    if key in earlier:
        return [f"'{written}' stands twice, once by another name"]
    if key not in RunConfig.model_fields:
        names = [*RunConfig.model_fields, *ALIASES]
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
        return [f"unknown key '{written}'{f', did you mean {near[0]!r}?' if near else ''}"]
    return []


def _read_parameter(key: str, value: Any, faults: list[str]) -> Parameter | None:
    """Read one key; what is wrong with it goes into `faults`."""
    if isinstance(value, list):
        return _read_choices(key, value, {}, faults)
    if not isinstance(value, dict):
        faults.append(f"{key}: a list of values or a range is needed (found {value!r})")
        return None
    when = value.get("when", {})
    if not isinstance(when, dict):
        faults.append(f"{key}: when maps other keys to their values (found {when!r})")
        return None
    conditions = {
        ALIASES.get(str(name), str(name)): tuple(items) if isinstance(items, list) else (items,)
        for name, items in when.items()
    }
    rest = {name: item for name, item in value.items() if name != "when"}
    if set(rest) == {"choices"}:
        return _read_choices(key, rest["choices"], conditions, faults)
    unknown = sorted(str(name) for name in set(rest) - _RANGE)
    if unknown:
        known = "choices, low, high, step, log, when"
        faults.append(f"{key}: unknown part '{unknown[0]}' of a range (known: {known})")
        return None
    return _read_range(key, rest, conditions, faults)


def _read_choices(
    key: str, values: Any, when: Mapping[str, tuple[Any, ...]], faults: list[str]
) -> Parameter | None:
    if not isinstance(values, list) or not values:
        faults.append(f"{key}: at least one value is needed (found {values!r})")
        return None
    # YAML 1.1 reads 5e-5 as a text.
    read = [_as_number(value) for value in values]
    if any(first == second for place, first in enumerate(read) for second in read[:place]):
        faults.append(f"{key}: a value stands twice in {values!r}")
        return None
    return Parameter(key, Choices(tuple(read)), when)


def _read_range(
    key: str, given: Mapping[str, Any], when: Mapping[str, tuple[Any, ...]], faults: list[str]
) -> Parameter | None:
    numbers = {name: _as_number(given[name]) for name in ("low", "high", "step") if name in given}
    before = len(faults)
    for name in ("low", "high"):
        if name not in numbers:
            faults.append(f"{key}: a range needs {name}")
    for name, number in numbers.items():
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not math.isfinite(number):
            faults.append(f"{key}: {name} must be a number (found {number!r})")
    log = given.get("log", False)
    if not isinstance(log, bool):
        faults.append(f"{key}: log must be true or false (found {log!r})")
    if len(faults) > before:
        return None
    low, high, step = numbers["low"], numbers["high"], numbers.get("step")
    if low >= high:
        faults.append(f"{key}: low must be less than high (found {low} and {high})")
    if log and (low <= 0 or step is not None):
        faults.append(f"{key}: with log, low is above 0 and there is no step")
    if step is not None and not 0 < step <= high - low:
        faults.append(f"{key}: step must be above 0 and at most high - low (found {step})")
    return None if len(faults) > before else Parameter(key, Range(low, high, step, log), when)


def _check_values(parameter: Parameter, config: RunConfig) -> list[str]:
    """Validate each value by itself; combinations that do not fit are for the trials to meet."""
    faults = []
    for value in parameter.domain.examples():
        try:
            RunConfig.model_validate({**config.model_dump(), parameter.key: value})
        except ValidationError as error:
            own = [fault for fault in error.errors() if fault["loc"][:1] == (parameter.key,)]
            for fault in own:
                faults.append(f"{parameter.key}: {fault['msg'].lower()} (found {value!r})")
    return faults


def _check_conditions(
    parameter: Parameter, earlier: list[Parameter], config: RunConfig
) -> list[str]:
    faults = []
    domains = {item.key: item.domain for item in earlier}
    for key, values in parameter.when.items():
        if key not in RunConfig.model_fields or key == parameter.key:
            faults.append(f"{parameter.key}: when names '{key}', which is no other key")
            continue
        possible = domains.get(key, Choices((getattr(config, key),)))
        faults += [
            f"{parameter.key}: when asks for {key} {value!r}, which no key above it gives"
            for value in values
            if not possible.holds(value)
        ]
    return faults


def _as_number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value
