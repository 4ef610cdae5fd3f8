"""Trial after trial within a budget: drawn by what was learnt so far, stopped early when hopeless.

Knows nothing of how a trial is trained: that is handed in.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler
from optuna.trial import TrialState
from pydantic import ValidationError

from longform.config import RunConfig
from longform.errors import LongformError
from longform.reporting import Advance, Reporter
from longform.search.space import Space
from longform.search.study import KILLED
from longform.search.trials import ATTRIBUTE, TrialRecord, best_trial, read_trials
from longform.search.watch import BUDGET_SPENT, Measured, Stopped, Watch

DEFAULTS = "defaults"
"""Start that is the configuration as it was given: what every other trial has to beat."""

_RANDOM_TRIALS = 8
"""Trials before the sampler begins to learn."""
_FRUITLESS_DRAWS = 25
"""Draws in a row that were tried before, after which the space counts as used up."""
_FAILURES = 5
"""Trials in a row that may fail before it is no longer a matter of settings."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a search may take, what it took in earlier runs included.

    Attributes:
        seconds: Of trials; None for no limit.
        trials: Finished ones; None for no limit.
    """

    seconds: float | None = None
    trials: int | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Settings to begin with.

    Attributes:
        name: Of the start, for people.
        config: What is trained.
        settings: Its values, with those filled in that depend on what is trained.
    """

    name: str
    config: RunConfig
    settings: Mapping[str, Any] = field(default_factory=dict)


TrainTrial = Callable[[RunConfig, Watch], Measured]


class Tuning:
    """A search.

    Args:
        study: Where trials are kept.
        space: What may be changed.
        starts: Tried first, in this order; the first is the defaults.
        limits: When to end.
        reporter: Told each trial, and shows how much of the budget is spent.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        starts: Sequence[Start],
        limits: Limits,
        reporter: Reporter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._study = study
        self._space = space
        self._starts = starts
        self._config = starts[0].config
        self._limits = limits
        self._reporter = reporter or Reporter()
        self._clock = clock
        self._failures = 0

    def run(self, train: TrainTrial) -> list[TrialRecord]:
        """Try settings until a limit is reached; return all trials, earlier ones included.

        Raises:
            LongformError: The defaults cannot be trained, or too many trials failed in a row.
        """
        trials = read_trials(self._study)
        limits = self._limits
        total = limits.seconds if limits.seconds is not None else limits.trials or 0
        unit = "s" if limits.seconds is not None else "trials"
        fruitless = 0
        with self._reporter.track("Searching", total, unit) as advance:
            advance(self._spent(trials) if limits.seconds is not None else len(trials))
            while fruitless < _FRUITLESS_DRAWS and not self._is_over(trials):
                trial, start, settings = self._ask(trials)
                twin = _find(trials, settings) if start is None else None
                if twin is not None:
                    self._study.tell(trial, state=TrialState.FAIL)
                    fruitless += 1
                    continue
                fruitless = 0
                self._try(trial, start, settings, train, advance)
                trials = read_trials(self._study)
                best = best_trial(trials)
                self._reporter.say(describe_trial(trials[-1], best))
                named = f"Searching, best {100 * (best.value or 0):.2f}" if best else None
                advance(0 if limits.seconds is not None else 1, named)
        if fruitless:
            self._reporter.say("All combinations of the space have been tried.")
        return trials

    def _spent(self, trials: Sequence[TrialRecord]) -> float:
        return sum(trial.seconds for trial in trials)

    def _is_over(self, trials: Sequence[TrialRecord]) -> bool:
        limits = self._limits
        if limits.trials is not None and len(trials) >= limits.trials:
            return True
        return limits.seconds is not None and self._spent(trials) >= limits.seconds

    def _ask(
        self, trials: Sequence[TrialRecord]
    ) -> tuple[optuna.Trial, Start | None, dict[str, Any]]:
        """Begin a trial: a start that was not tried yet, or settings that are drawn."""
        begun = {trial.start for trial in trials if not _is_cut(trial)}
        start = next((start for start in self._starts if start.name not in begun), None)
        if start is not None:
            fixed = self._space.fixed(start.settings)
            values = {name: item.domain.stored(value) for name, (item, value) in fixed.items()}
            self._study.sampler = _sampler(self._config.seed, values)
            trial = self._study.ask()
            for name, (parameter, _) in fixed.items():
                parameter.domain.suggest(trial, name)
            return trial, start, {parameter.key: value for parameter, value in fixed.values()}
        # Seeded by what came before: a search that was interrupted goes on as it would have.
        known = self._study.get_trials(deepcopy=False)
        number = sum(not trial.user_attrs.get(KILLED) for trial in known)
        self._study.sampler = _sampler(self._config.seed + 1_000 * number)
        trial = self._study.ask()
        return trial, None, self._space.draw(trial, self._config)

    def _try(
        self,
        trial: optuna.Trial,
        start: Start | None,
        settings: dict[str, Any],
        train: TrainTrial,
        advance: Advance,
    ) -> None:
        by_time = self._limits.seconds is not None
        spent = self._spent(read_trials(self._study))
        deadline = None
        if self._limits.seconds is not None:
            deadline = self._clock() + self._limits.seconds - spent
        watch = Watch(trial, start is None, deadline, self._clock, advance if by_time else _ignore)
        record: dict[str, Any] = {
            "settings": settings,
            "start": start.name if start is not None else "",
        }
        measured, reason = None, ""
        try:
            config = start.config if start is not None else self._configure(settings)
            measured = train(config, watch)
            self._failures = 0
        except Stopped as stop:
            reason = str(stop)
        except (LongformError, RuntimeError, MemoryError) as error:
            # What the user gave does not work at all: no search will help.
            self._failures += 1
            is_given = start is not None and start.name == DEFAULTS
            if is_given or (self._failures >= _FAILURES and not isinstance(error, LongformError)):
                trial.set_user_attr(KILLED, True)
                self._study.tell(trial, state=TrialState.FAIL)
                raise
            reason = _first_line(error)
        record |= {
            "seconds": round(self._clock() - watch.begun, 3),
            "document_ms": measured.document_ms if measured is not None else None,
            "reason": reason,
        }
        trial.set_user_attr(ATTRIBUTE, record)
        if measured is not None:
            self._study.tell(trial, measured.value)
        else:
            self._study.tell(trial, state=TrialState.PRUNED)

    def _configure(self, settings: Mapping[str, Any]) -> RunConfig:
        """Lay drawn settings over the configuration.

        Raises:
            Stopped: They do not fit each other.
        """
        try:
            return RunConfig.model_validate({**self._config.model_dump(), **settings})
        except ValidationError as error:
            told = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
            raise Stopped(told) from error


def describe_trial(trial: TrialRecord, best: TrialRecord | None) -> str:
    """Tell a finished trial in one line."""
    shown = ", ".join(f"{key}={show_value(value)}" for key, value in trial.settings.items())
    name = f"trial {trial.number:>3}"
    what = trial.start or shown
    if trial.value is None:
        reached = f" at {100 * max(trial.curve.values()):.2f}" if trial.curve else ""
        return f"{name}   pruned{reached}   {trial.seconds:6.1f} s   {trial.reason}   [{what}]"
    mark = "*" if best is not None and best.number == trial.number else " "
    return f"{name} {mark} {100 * trial.value:6.2f}   {trial.seconds:6.1f} s   {what}"


def show_value(value: Any) -> str:
    """Write a value as people do: rates with three figures, folders by their name."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, str):
        return value.rstrip("/").rpartition("/")[2] or value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sampler(seed: int, fixed: dict[str, Any] | None = None) -> BaseSampler:
    with warnings.catch_warnings():
        # Grouping parameters that depend on others has been "experimental" since 2021.
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = TPESampler(
            multivariate=True,
            group=True,
            seed=seed,
            n_startup_trials=_RANDOM_TRIALS,
            constant_liar=False,
        )
        return sampler if fixed is None else PartialFixedSampler(fixed, sampler)


def _is_cut(trial: TrialRecord) -> bool:
    """Tell whether a trial ended for want of time alone: more time may try it again."""
    return trial.reason == BUDGET_SPENT


def _find(trials: Sequence[TrialRecord], settings: Mapping[str, Any]) -> TrialRecord | None:
    tried = (trial for trial in trials if trial.settings == settings and not _is_cut(trial))
    return next(tried, None)


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


def _ignore(seconds: float) -> None:
    """Show nothing: the bar counts trials."""
