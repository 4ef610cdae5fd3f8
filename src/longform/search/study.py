"""The folder of a search: what it is a search of, and all that was tried so far.

A process killed at any moment loses the trial that it was at. Knows nothing of training.
"""

from __future__ import annotations

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

from longform.search.folder import FolderKind, claimed_folder

RECORD_NAME = "search.json"
JOURNAL_NAME = "study.journal"
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
    with claimed_folder(folder, identity, _OWN, restart=restart) as is_new:
        if is_new:
            (folder / JOURNAL_NAME).unlink(missing_ok=True)
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


def _forget(folder: Path) -> None:
    (folder / RECORD_NAME).unlink(missing_ok=True)
    for name in (JOURNAL_NAME, "result.json", "costs.json", "trials.log"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "trial", ignore_errors=True)


_OWN = FolderKind("search", RECORD_NAME, frozenset({JOURNAL_NAME}), _forget)
