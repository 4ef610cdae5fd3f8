"""What became of the trials of a search, and what can be learnt from all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

ATTRIBUTE = "longform"
"""Under which a trial of the study keeps its record."""

_LEAST_TRIALS = 8
"""Trials with a parameter below which nothing is said about its importance."""

State = Literal["complete", "pruned"]


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One set of settings that was tried.

    Attributes:
        number: Of the trial, from 0.
        state: Whether training went to its end.
        settings: The keys that it set, with their values.
        start: What kind of start it was, such as `defaults`; empty for one that was drawn.
        value: The metric on the validation documents; None when it was pruned.
        curve: Epoch -> metric on the validation documents.
        seconds: From the first to the last thing it did.
        document_ms: Milliseconds that the trained model takes to read one document here.
        reason: Why it was pruned; empty when it was not.
    """

    number: int
    state: State
    settings: dict[str, Any]
    start: str = ""
    value: float | None = None
    curve: dict[int, float] | None = None
    seconds: float = 0.0
    document_ms: float | None = None
    reason: str = ""

    @property
    def epochs(self) -> int:
        """Epochs that were validated."""
        return max(self.curve or {0: 0.0})

    def as_dict(self) -> dict[str, Any]:
        """Return all fields, the epochs as texts."""
        curve = {str(epoch): value for epoch, value in (self.curve or {}).items()}
        return {**asdict(self), "curve": curve}


def read_trials(study: optuna.Study) -> list[TrialRecord]:
    """Return the finished trials of a study, in order; those that were killed do not count."""
    return [
        _read(trial)
        for trial in study.get_trials(deepcopy=False)
        if ATTRIBUTE in trial.user_attrs and trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    ]


def _read(trial: FrozenTrial) -> TrialRecord:
    complete = trial.state == TrialState.COMPLETE
    return TrialRecord(
        number=trial.number,
        state="complete" if complete else "pruned",
        value=trial.value if complete else None,
        curve=dict(sorted(trial.intermediate_values.items())),
        **trial.user_attrs[ATTRIBUTE],
    )


def best_trial(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the complete trial with the highest value; of equal ones the first."""
    complete = [trial for trial in trials if trial.value is not None]
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def importances(study: optuna.Study) -> dict[str, float]:
    """Say how much of what trials differ in each parameter explains.

    By functional ANOVA (Hutter et al., 2014): a random forest is fitted to the trials, and the
    variance of its answers is divided among the parameters. PED-ANOVA, which needs no forest, was
    tried and misled: it compares good trials with all, and a sampler that has learnt draws the
    good values of what matters in nearly all of them. Pruned trials count with the best they had
    reached. A parameter that plays a part in some trials only is judged by these, and counts by
    their share of all variance.

    Returns:
        Name -> share of 1, the largest first; empty when there are too few trials.
    """
    known = [trial for trial in study.get_trials(deepcopy=False) if _reached(trial) is not None]
    names = {name for trial in known for name in trial.params}
    having: dict[tuple[int, ...], list[str]] = {}
    for name in sorted(names):
        numbers = tuple(trial.number for trial in known if name in trial.params)
        having.setdefault(numbers, []).append(name)
    scores: dict[str, float] = {}
    for numbers, members in having.items():
        if len(numbers) >= _LEAST_TRIALS:
            scores |= _explain([trial for trial in known if trial.number in numbers], members)
    total = sum(scores.values())
    if total <= 0:
        return {}
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    return {name: score / total for name, score in ranked}


def _explain(trials: list[FrozenTrial], names: list[str]) -> dict[str, float]:
    """Return the variance over some trials that each of `names` explains, summed over trials."""
    values = [value for trial in trials if (value := _reached(trial)) is not None]
    spread = float(np.var(values)) * len(values)
    # What all of them have stands beside `names` in the forest, or its effect would be theirs.
    shared = {
        name: distribution
        for name, distribution in trials[0].distributions.items()
        if all(name in trial.params for trial in trials)
        and len({str(trial.params[name]) for trial in trials}) > 1
    }
    if spread <= 0 or not shared:
        return {}
    alike = optuna.create_study(direction="maximize")
    alike.add_trials(
        [
            optuna.trial.create_trial(
                value=value,
                params={name: trial.params[name] for name in shared},
                distributions=shared,
            )
            for trial, value in zip(trials, values, strict=True)
        ]
    )
    shares = FanovaImportanceEvaluator(seed=0).evaluate(alike, params=list(shared))
    return {name: spread * float(shares[name]) for name in names if name in shares}


def _reached(trial: FrozenTrial) -> float | None:
    """Return what a trial came to, a pruned one until then."""
    if trial.state == TrialState.COMPLETE:
        return trial.value
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        return max(trial.intermediate_values.values())
    return None


def pareto(trials: Sequence[TrialRecord], cost: Literal["seconds", "document_ms"]) -> set[int]:
    """Return the numbers of the complete trials that no other beats in metric and cost together."""
    complete = [t for t in trials if t.value is not None and getattr(t, cost) is not None]
    chosen: set[int] = set()
    reached = float("-inf")
    for trial in sorted(complete, key=lambda t: (getattr(t, cost), -(t.value or 0.0))):
        if trial.value is not None and trial.value > reached:
            reached = trial.value
            chosen.add(trial.number)
    return chosen
