"""The folder of a search: what it is a search of, and all that was tried so far.

A process killed at any moment loses the trial that it was at. Knows nothing of training.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import MedianPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from longform.errors import InputError

RECORD_NAME = "search.json"
JOURNAL_NAME = "study.journal"
LOCK_NAME = "lock"
KILLED = "killed"
"""Attribute of a trial whose process ended without a word."""

_STUDY = "longform"


class _LockedElsewhere:
    """Optuna's own locks outlive a killed process by half a minute; the folder is locked anyway."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


@contextmanager
def open_study(
    folder: Path, identity: dict[str, dict[str, Any]], *, restart: bool = False
) -> Iterator[optuna.Study]:
    """Open the study in a folder, or begin one there.

    Pruning is by the median of the earlier trials at the same epoch, from the second epoch and the
    fifth trial on. Successive halving (Hyperband) spreads a few dozen trials over several brackets
    of which each is too small, and the Wilcoxon test compares scores over problem instances, not
    along a curve of learning.

    Args:
        folder: Made where it is not there.
        identity: Name of a part -> its keys and values: what must be the same to continue. Values
            are compared as JSON.
        restart: Forget what is there.

    Raises:
        InputError: The folder belongs to something else or to a different search, or another
            process is searching there.
    """
    _require_own(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_NAME).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                "One process at a time searches in a folder.",
                found=f"another one at work in {folder}",
                fix="Wait for it, or choose another --output.",
            ) from error
        if restart:
            _forget(folder)
        _claim(folder, json.loads(json.dumps(identity)))
        yield _open(folder / JOURNAL_NAME)


def _open(journal: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _drop_torn_line(journal)
    backend = JournalFileBackend(str(journal), lock_obj=_LockedElsewhere())
    study = optuna.create_study(
        storage=JournalStorage(backend),
        study_name=_STUDY,
        direction="maximize",
        load_if_exists=True,
        pruner=MedianPruner(n_startup_trials=4, n_warmup_steps=1, n_min_trials=3),
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        # Whoever ran it is gone: the folder is ours.
        optuna.Trial(study, trial._trial_id).set_user_attr(KILLED, True)
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def _drop_torn_line(journal: Path) -> None:
    """Cut off what a killed process wrote of its last line."""
    if not journal.is_file():
        return
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with journal.open("r+b") as file:
            file.truncate(whole)


def _require_own(folder: Path) -> None:
    """Refuse a folder that holds something and is not that of a search."""
    if folder.is_dir():
        names = {item.name for item in folder.iterdir()}
        if not names - {LOCK_NAME} or names & {RECORD_NAME, JOURNAL_NAME}:
            return
        found = f"files and no {RECORD_NAME} in {folder}"
    elif folder.exists():
        found = f"a file at {folder}"
    else:
        return
    raise InputError(
        "The output of a search must be a new folder, or that of an earlier search.",
        found=found,
        fix="Choose another --output; longform never deletes what it did not write.",
    )


def _forget(folder: Path) -> None:
    (folder / RECORD_NAME).unlink(missing_ok=True)
    for name in (JOURNAL_NAME, "result.json", "costs.json", "trials.log"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "trial", ignore_errors=True)


def _claim(folder: Path, identity: dict[str, Any]) -> None:
    """Write what the search is of, or make sure that it is the same."""
    record = folder / RECORD_NAME
    if not record.is_file():
        (folder / JOURNAL_NAME).unlink(missing_ok=True)
        text = json.dumps(identity, ensure_ascii=False, indent=2)
        temporary = folder / f"{RECORD_NAME}.new"
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(record)
        return
    found = json.loads(record.read_text(encoding="utf-8"))
    differing = [
        f"{part} ({', '.join(_differing(found.get(part, {}), content))})"
        for part, content in identity.items()
        if found.get(part) != content
    ]
    if differing:
        raise InputError(
            "A search is continued only with the same settings, space and documents.",
            found=f"{folder} is of a search that differs in {'; '.join(differing)}",
            fix="Add --restart to forget that search, or choose another --output.",
        )


def _differing(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [key for key in {**before, **now} if before.get(key) != now.get(key)]
