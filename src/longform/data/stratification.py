"""Which units of documents go to which side, so that every class is on all of them if it can be.

A unit is a set of documents that must not be parted: copies of one text, a group. The rarest class
is dealt out first (iterative stratification: Sechidis, Tsoumakas and Vlahavas, 2011), which serves
documents of several labels too. scikit-learn's splitters know one label a document, refuse classes
smaller than the number of folds, and may leave a class off a side where units are large.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from longform.types import Document, Integers

WITHOUT_LABEL = ""
"""Stands for the class of documents that have no label."""


def labels_of(document: Document) -> tuple[str, ...]:
    """Return the classes that a document counts for, at least one."""
    return document.labels or (document.label or WITHOUT_LABEL,)


class Units:
    """Documents, united where they must not be parted.

    Args:
        documents: Labelled documents.
        ids: Unit of each document, any integers, int64 `[documents]`.

    Attributes:
        members: Indices of the documents of each unit, in order of first appearance.
        classes: Documents of each class in each unit.
        units_of_class: Units that each class occurs in.
    """

    def __init__(self, documents: Sequence[Document], ids: Integers) -> None:
        places: dict[int, list[int]] = {}
        for index, unit in enumerate(ids.tolist()):
            places.setdefault(unit, []).append(index)
        self.members: tuple[list[int], ...] = tuple(places.values())
        self.classes: tuple[Counter[str], ...] = tuple(
            Counter(label for index in members for label in labels_of(documents[index]))
            for members in self.members
        )
        self.units_of_class: dict[str, list[int]] = {}
        for unit, classes in enumerate(self.classes):
            for label in classes:
                self.units_of_class.setdefault(label, []).append(unit)

    def rarest_first(self) -> list[str]:
        """Return the classes, those of the fewest units first."""
        return sorted(
            self.units_of_class, key=lambda label: (len(self.units_of_class[label]), label)
        )

    def documents(self, units: Iterable[int]) -> list[int]:
        """Return the indices of the documents of some units, in ascending order."""
        return sorted(index for unit in units for index in self.members[unit])


def choose_held_out(units: Units, fraction: float, seed: int) -> set[int]:
    """Choose units that hold about a share of the documents of every class.

    No class is held out as a whole. A class of two or more units is held out in part, with at
    least one document, unless other classes stand in the way.
    """
    rng = np.random.default_rng(seed)
    held: set[int] = set()
    held_of_class: Counter[str] = Counter()
    units_left = {label: len(places) for label, places in units.units_of_class.items()}

    def try_to_hold(unit: int) -> bool:
        classes = units.classes[unit]
        if any(units_left[label] < 2 for label in classes):
            return False
        held.add(unit)
        held_of_class.update(classes)
        for label in classes:
            units_left[label] -= 1
        return True

    decided: set[int] = set()
    for label in units.rarest_first():
        places = rng.permutation(units.units_of_class[label]).tolist()
        goal = max(round(fraction * sum(units.classes[unit][label] for unit in places)), 1)
        for unit in places:
            fits = held_of_class[label] + units.classes[unit][label] <= goal
            if unit not in decided and fits:
                try_to_hold(unit)
        decided.update(places)
        if not held_of_class[label]:
            # Every unit is larger than the share, or was spoken for by a rarer class.
            by_size = sorted(places, key=lambda unit: len(units.members[unit]))
            next(filter(try_to_hold, by_size), None)
    return held


def deal_folds(units: Units, folds: int, seed: int) -> list[set[int]]:
    """Deal units to folds that are alike in size and classes.

    Units of a class that is in no other unit are dealt to none: such a class could be learnt only
    where it is not judged.
    """
    rng = np.random.default_rng(seed)
    dealt: list[set[int]] = [set() for _ in range(folds)]
    sizes = [0] * folds
    of_class: list[Counter[str]] = [Counter() for _ in range(folds)]
    done: set[int] = set()
    for label in units.rarest_first():
        places = rng.permutation(units.units_of_class[label]).tolist()
        if len(places) < 2:
            done.update(places)
            continue
        # Large ones first, while the small ones can still even them out.
        for unit in sorted(places, key=lambda unit: -units.classes[unit][label]):
            if unit in done:
                continue
            fold = min(range(folds), key=lambda fold: (of_class[fold][label], sizes[fold]))
            dealt[fold].add(unit)
            sizes[fold] += len(units.members[unit])
            of_class[fold].update(units.classes[unit])
            done.add(unit)
    return dealt
