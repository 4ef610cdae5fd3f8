"""What a search may change: keys of the configuration, each with its values or its range.

Knows nothing of training and of Optuna's storage; a trial is only asked for values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from longform.config import RunConfig

Scalar = None | bool | int | float | str


class Suggester(Protocol):
    """What a trial of Optuna offers; a name has one distribution in all trials."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Choose one of some values."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Choose a number."""

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Choose a whole number."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Some values of a key; lists stand in the study as JSON, which Optuna can store."""

    values: tuple[Any, ...]

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Let a trial choose a value."""
        stored = trial.suggest_categorical(name, [_store(value) for value in self.values])
        return next(value for value in self.values if _store(value) == stored)

    def stored(self, value: Any) -> Scalar:
        """Return a value as the study holds it."""
        return _store(value)

    def holds(self, value: Any) -> bool:
        """Tell whether a value is one of them; `true` is not 1."""
        return any(type(value) is type(own) and value == own for own in self.values)

    def examples(self) -> tuple[Any, ...]:
        """Return all values."""
        return self.values

    def as_yaml(self) -> Any:
        """Return what a space file says."""
        return list(self.values)


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        step: Distance of the numbers; None is 1 for whole numbers and none for others.
        log: Draw the logarithm evenly: for rates.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant: when all that was given is whole."""
        given = (self.low, self.high, self.step)
        return all(isinstance(number, int) for number in given if number is not None)

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Let a trial choose a number."""
        if self.is_whole:
            step = int(self.step or 1)
            return trial.suggest_int(name, int(self.low), int(self.high), step=step, log=self.log)
        drawn = trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)
        # More figures than anyone would write into a file decide nothing.
        return min(max(float(f"{drawn:.4g}"), self.low), self.high)

    def stored(self, value: Any) -> Scalar:
        """Return a value as the study holds it."""
        return int(value) if self.is_whole else float(value)

    def holds(self, value: Any) -> bool:
        """Tell whether a number is one that could be drawn."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not self.low <= value <= self.high or (self.is_whole and value != int(value)):
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    def examples(self) -> tuple[Any, ...]:
        """Return both ends."""
        return (self.low, self.high)

    def as_yaml(self) -> Any:
        """Return what a space file says."""
        said: dict[str, Any] = {"low": self.low, "high": self.high}
        said |= {"step": self.step} if self.step else {}
        return said | ({"log": True} if self.log else {})


@dataclass(frozen=True, slots=True)
class Parameter:
    """A key that the search changes.

    Attributes:
        key: Of the configuration.
        domain: Its values.
        when: Other keys -> the values at which this one counts; nothing: it always does.
        note: Tells several parameters of one key apart, such as the rates of two encoders.
    """

    key: str
    domain: Choices | Range
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    note: str = ""

    @property
    def name(self) -> str:
        """Of the parameter in the study."""
        return f"{self.key} ({self.note})" if self.note else self.key

    def counts(self, settings: Mapping[str, Any]) -> bool:
        """Tell whether it plays a part, given the settings chosen so far."""
        return all(settings.get(key) in values for key, values in self.when.items())


@dataclass(frozen=True, slots=True)
class Space:
    """All parameters, those that others depend on before these."""

    parameters: tuple[Parameter, ...]

    def draw(self, trial: Suggester, config: RunConfig) -> dict[str, Any]:
        """Let a trial choose a value for every key that counts.

        Args:
            trial: Chooses.
            config: Has the values of the keys that are not searched.
        """
        settings = config.model_dump()
        drawn: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.counts(settings):
                value = parameter.domain.suggest(trial, parameter.name)
                drawn[parameter.key] = settings[parameter.key] = value
        return drawn

    def fixed(self, settings: Mapping[str, Any]) -> dict[str, tuple[Parameter, Any]]:
        """Return the parameters whose value in `settings` the space holds, by name."""
        return {
            parameter.name: (parameter, settings[parameter.key])
            for parameter in self.parameters
            if parameter.counts(settings) and parameter.domain.holds(settings.get(parameter.key))
        }

    def values_of(self, key: str) -> tuple[Any, ...]:
        """Return the values that are listed for a key; none where it is not searched."""
        found = (item.domain.examples() for item in self.parameters if item.key == key)
        return tuple(value for values in found for value in values)

    def as_dict(self) -> dict[str, Any]:
        """Return names, domains and conditions, for the record of a search and its page."""
        return {parameter.name: _describe(parameter) for parameter in self.parameters}


def _store(value: Any) -> Scalar:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _describe(parameter: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {"values": parameter.domain.as_yaml()}
    if parameter.when:
        described["when"] = {key: list(values) for key, values in parameter.when.items()}
    return described
