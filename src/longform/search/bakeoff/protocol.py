"""The splits that all contenders are judged on, and the documents that only judge the choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from longform.config import RunConfig
from longform.data.labels import LabelMap
from longform.data.splits import Split, divide, find_copies, k_folds, read_field, time_split, unite
from longform.data.times import parse_times
from longform.reporting import Reporter
from longform.search.bakeoff.statistics import Truth
from longform.types import Document, Integers

FOLDS = 5
"""Parts of a cross-validation: each document is judged once before any is judged twice."""
LEAST_JUDGES = 100
"""Documents below which a part of its own to judge the choice would say too little."""

_ORIGINS = 4
"""Times that documents in order of time are divided at."""


@dataclass(frozen=True, slots=True)
class Round:
    """One split, the same for all contenders.

    Attributes:
        number: From 0.
        train: What is learnt from.
        validation: What chooses the best epoch and scales logits; no contender is judged on it.
        places: Of the judged documents among all, int64 `[judged]`.
    """

    number: int
    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    places: Integers


class Protocol:
    """Documents and how they are divided.

    By class and at random, a cross-validation of five parts is repeated as long as the budget
    lasts; by group, the same with whole groups; by time, contenders learn from the past and are
    judged on what came next, at four times.

    Args:
        documents: Labelled documents.
        config: Of the bake-off.
        judges: Documents that only judge the choice; none sets `test_split` of `documents` aside,
            where they are enough.
        test_split: That share.
        reporter: Told what was decided.

    Attributes:
        documents: That contenders are compared on.
        judges: That only judge the choice; none where the documents are too few.
        labels: The classes.
        truth: What the documents are compared on.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        config: RunConfig,
        judges: Sequence[Document],
        test_split: float,
        reporter: Reporter,
    ) -> None:
        self._config = config
        copies = find_copies(documents, config, test_split, reporter)
        for note in copies.notes:
            reporter.say(note)
        # Documents are told apart as objects, whatever their ids are.
        self._cluster_of = dict(zip(map(id, documents), copies.cluster_ids.tolist(), strict=True))
        self._all = tuple(documents)
        kept: tuple[Document, ...] = tuple(documents)
        if not judges and len(documents) * test_split >= LEAST_JUDGES:
            split = divide(documents, config, test_split, config.seed, copies.cluster_ids.tolist())
            kept, judges = split.train, split.validation
        self.documents = kept
        self.judges = tuple(judges)
        self.labels = LabelMap.from_documents(kept)
        if config.unseen_labels != "error":
            known = set(self.labels.names)
            self.judges = tuple(item for item in self.judges if _labels(item) <= known)
        self.labels.targets(self.judges)
        self._place = {id(document): place for place, document in enumerate(kept)}
        targets = self.labels.targets(kept)
        self.truth = Truth(targets, self._units(), len(self.labels))
        self._folds: dict[int, list[Split]] = {}

    @property
    def most_rounds(self) -> int | None:
        """How many rounds there can be; None for any number."""
        return _ORIGINS if self._config.time_column is not None else None

    def round(self, number: int) -> Round:
        """Return a round; the same number always gives the same."""
        config = self._config
        split = self._by_time(number) if config.time_column is not None else self._fold(number)
        known = {label for item in split.train for label in _labels(item)}
        judged = [item for item in split.validation if _labels(item) <= known]
        inner = self.hold_out(split.train, number)
        places = np.array([self._place[id(item)] for item in judged], dtype=np.int64)
        return Round(number, inner.train, inner.validation, places)

    def hold_out(self, documents: Sequence[Document], number: int = 0) -> Split:
        """Hold out the part of some of the documents that chooses the best epoch."""
        config, clusters = self._config, self._clusters(documents)
        return divide(documents, config, config.validation_split, config.seed + number, clusters)

    def everything(self) -> Split:
        """Divide all documents of the data, for the model that is kept."""
        return self.hold_out(self._all)

    def describe(self) -> dict[str, Any]:
        """Return what was decided, in counts."""
        column = self._config.group_column or self._config.time_column
        by = "group" if self._config.group_column else "time" if column else "class"
        return {
            "documents": len(self.documents),
            "judges": len(self.judges),
            "classes": len(self.labels),
            "divided_by": by,
            "folds": _ORIGINS if by == "time" else FOLDS,
            "units": len(np.unique(self.truth.units)),
        }

    def _clusters(self, documents: Sequence[Document]) -> list[int]:
        return [self._cluster_of[id(item)] for item in documents]

    def _units(self) -> Integers:
        keys: list[list[Any]] = [self._clusters(self.documents)]
        if self._config.group_column is not None:
            keys.append(read_field(self.documents, self._config.group_column, "group_column"))
        return unite(self.documents, *keys)

    def _fold(self, number: int) -> Split:
        repeat = number // FOLDS
        if repeat not in self._folds:
            seed = self._config.seed + 1_000 * repeat
            units = self.truth.units.tolist()
            self._folds = {repeat: list(k_folds(self.documents, FOLDS, seed, units))}
        return self._folds[repeat][number % FOLDS]

    def _by_time(self, number: int) -> Split:
        """Learn from the documents before a time and judge those until the next."""
        column = str(self._config.time_column)
        times = read_field(self.documents, column, "time_column")
        parsed = parse_times(times, [document.id for document in self.documents])
        order = sorted(range(len(parsed)), key=lambda place: parsed[place])
        share = (_ORIGINS + number + 1) / (2 * _ORIGINS)
        known = sorted(order[: max(2, round(share * len(order)))])
        documents = [self.documents[place] for place in known]
        clusters = self._clusters(documents)
        part = 1 / (_ORIGINS + number + 1)
        return time_split(documents, [times[place] for place in known], part, clusters)


def _labels(document: Document) -> set[str]:
    if document.labels is not None:
        return set(document.labels)
    return {document.label} if document.label is not None else set()
