"""The choice of a search: the best of its trials, written down and judged beside the defaults."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longform import __version__
from longform.config import RunConfig
from longform.errors import LongformError
from longform.reporting import Reporter, counted
from longform.search.objective import Metric
from longform.search.result import (
    BUNDLE_NAME,
    SETTINGS_NAME,
    Comparison,
    finish,
    read_comparison,
    write_settings,
)
from longform.search.trials import TrialRecord, best_trial
from longform.search.tuning import DEFAULTS, Limits, Start
from longform.types import Document

RESULT_NAME = "result.json"


def choose_trial(trials: Sequence[TrialRecord], limits: Limits) -> TrialRecord:
    """Return the best trial.

    Raises:
        LongformError: Not even the defaults were trained.
    """
    best = best_trial(trials)
    if best is not None and any(t.start == DEFAULTS and t.value is not None for t in trials):
        return best
    budget = f"{limits.seconds:,.0f} s" if limits.seconds is not None else "no limit of time"
    raise LongformError(
        "The budget of a search must be enough to train the defaults once.",
        found=f"{budget}, {counted(len(trials), 'trial')} and none of the defaults complete",
        fix="Give the same command more --budget: it goes on from here.",
    )


def config_of(trial: TrialRecord, config: RunConfig, begin: Sequence[Start]) -> RunConfig:
    """Return the whole configuration of a trial."""
    start = next((start for start in begin if start.name == trial.start), None)
    if start is not None:
        return start.config
    return RunConfig.model_validate({**config.model_dump(), **trial.settings})


def write_choice(
    folder: Path,
    configs: tuple[RunConfig, RunConfig],
    trial: TrialRecord,
    total: int,
    metric: Metric,
) -> None:
    """Write the settings of the choice into the folder of the search.

    Args:
        folder: Of the search.
        configs: The choice, and what the search began with.
        trial: Whose settings they are.
        total: Number of trials.
        metric: That it is the best of.
    """
    best, given = configs
    # What only makes trials comparable is no setting of the choice.
    kept = {"report_to": given.report_to, "validation_split": given.validation_split}
    write_settings(
        folder / SETTINGS_NAME,
        best.model_copy(update=kept),
        f"Trial {trial.number} of {total} by longform search: {metric} "
        f"{100 * (trial.value or 0):.2f} on the documents that chose it.\n"
        f"longform train {SETTINGS_NAME} --data FILE --output FOLDER",
    )


def judge_choice(
    folder: Path,
    metric: Metric,
    configs: tuple[RunConfig, RunConfig],
    parts: tuple[Sequence[Document], Sequence[Document], Sequence[Document]],
    found: tuple[TrialRecord, Sequence[TrialRecord]],
    account: dict[str, Any],
    reporter: Reporter,
) -> Comparison:
    """Judge the choice and the defaults, or tell what was found when they were judged before.

    Args:
        folder: Of the search; gets the bundle of the choice.
        metric: That chose.
        configs: The choice and the defaults.
        parts: Documents to train on, those that choose, and those that judge.
        found: The trial that was chosen, and all of them.
        account: What became of the documents, for the bundle.
        reporter: Told what is trained.

    Raises:
        ParityError: The export of the choice is not equal to the trained model.
    """
    best, trials = found
    record = folder / RESULT_NAME
    if record.is_file() and (folder / BUNDLE_NAME).is_dir():
        told = json.loads(record.read_text(encoding="utf-8"))
        if told["best"] == best.as_dict() and told["trials_total"] == len(trials):
            reporter.say("Nothing was tried since the choice was judged.")
            return read_comparison(told["test"])
    both = f"the choice, trial {best.number}, and the defaults"
    what = "the defaults, which nothing beat," if best.start == DEFAULTS else both
    reporter.say(f"Training {what} once more, to judge on the test documents.")
    search = {
        "trials": len(trials),
        "trial": best.number,
        "metric": metric,
        "value": best.value,
        "longform_version": __version__,
    }
    return finish(configs, parts, folder, {"data": account, "search": search}, reporter)
