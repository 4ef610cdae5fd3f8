"""One set of documents into training and validation, every class on both sides where it can be.

Documents with one text always stay on one side, or the validation figures would be those of texts
learnt by heart; so do near-copies, where their clusters are handed in.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from longform.config import RunConfig
from longform.data.duplicates import Duplicates, find_duplicates, join
from longform.data.stratification import (
    WITHOUT_LABEL,
    Units,
    choose_held_out,
    deal_folds,
    labels_of,
)
from longform.data.times import parse_times
from longform.errors import InputError
from longform.reporting import Reporter
from longform.types import Document, Integers

_NAMED = 10
_TOLERANCE = 0.5
"""Share by which the part held out may differ from the one asked for before it is said."""


@dataclass(frozen=True, slots=True)
class Split:
    """Documents for training and for validation, each in the order given.

    Attributes:
        train: What the model learns from.
        validation: What it is judged on; shares no text with `train`.
        notes: Classes that could not be on both sides, and what else the user should know.
    """

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    notes: tuple[str, ...] = ()


def hold_out(
    documents: Sequence[Document], config: RunConfig, reporter: Reporter | None = None
) -> Split:
    """Hold out `validation_split` of the documents in the way that the configuration asks for.

    By `group_column`, by `time_column`, or else at random within each class; with
    `near_duplicates: together`, near-copies stay on one side in each of them.

    Args:
        documents: Labelled documents, with the group or time among their fields.
        config: Of the run.
        reporter: Told about progress.

    Raises:
        InputError: A document lacks its group or time, or a side would be empty.
        MissingExtraError: datasketch is not installed and near-copies are to be kept together.
    """
    duplicates = find_copies(documents, config, config.validation_split, reporter)
    clusters = duplicates.cluster_ids.tolist()
    split = divide(documents, config, config.validation_split, config.seed, clusters)
    return replace(split, notes=(*duplicates.notes, *split.notes))


def find_copies(
    documents: Sequence[Document], config: RunConfig, fraction: float, reporter: Reporter | None
) -> Duplicates:
    """Find the documents that are to stay on one side of a split.

    Args:
        documents: Labelled documents.
        config: Of the run; `near_duplicates` says whether near-copies count.
        fraction: Share of the documents that is to be held out.
        reporter: Told about progress.

    Raises:
        MissingExtraError: datasketch is not installed and near-copies are to be kept together.
    """
    duplicates = find_duplicates(documents, reporter, near=config.near_duplicates == "together")
    largest = max((len(cluster) for cluster in duplicates.clusters), default=0)
    if largest > (1 - fraction) * len(documents):
        # A small set made from a template: kept together, nothing could be held out.
        note = (
            f"{largest:,} of {len(documents):,} documents are near-copies of one another, so that "
            "only equal texts are kept on one side: the validation figures will be too good"
        )
        duplicates = replace(find_duplicates(documents, near=False), notes=(note,))
    return duplicates


def divide(
    documents: Sequence[Document],
    config: RunConfig,
    fraction: float,
    seed: int,
    clusters: Sequence[int],
) -> Split:
    """Hold out a share of the documents by `group_column`, by `time_column`, or by class.

    Args:
        documents: Labelled documents, with the group or time among their fields.
        config: Of the run.
        fraction: Share to hold out, between 0 and 1.
        seed: The same seed and documents give the same split.
        clusters: Cluster of each document, as `Duplicates.cluster_ids`.

    Raises:
        InputError: A document lacks its group or time, or a side would be empty.
    """
    if config.group_column is not None:
        groups = read_field(documents, config.group_column, "group_column")
        return grouped_split(documents, groups, fraction, seed, clusters)
    if config.time_column is not None:
        times = read_field(documents, config.time_column, "time_column")
        return time_split(documents, times, fraction, clusters)
    return stratified_split(documents, fraction, seed, clusters)


def stratified_split(
    documents: Sequence[Document],
    fraction: float = 0.1,
    seed: int = 42,
    clusters: Sequence[int] | None = None,
) -> Split:
    """Hold out a share of the documents of every class.

    A class with two or more texts gives at least one to each side, so that no class goes unjudged;
    a class with one text goes to training.

    Args:
        documents: Labelled documents, of one label or of several.
        fraction: Share of the documents of each class to hold out, between 0 and 1.
        seed: The same seed and documents give the same split.
        clusters: Cluster of each document, as `Duplicates.cluster_ids`: near-copies to be kept on
            one side.

    Raises:
        InputError: The fraction is not a share, or a side would be empty.
    """
    _require_share(fraction)
    texts = unite(documents)
    units = Units(documents, texts if clusters is None else unite(documents, clusters))
    held = choose_held_out(units, fraction, seed)
    notes = _describe_copies(documents, texts, len(units.members))
    return _part(documents, units, held, "text", notes)


def grouped_split(
    documents: Sequence[Document],
    groups: Sequence[Hashable],
    fraction: float = 0.1,
    seed: int = 42,
    clusters: Sequence[int] | None = None,
) -> Split:
    """Hold out whole groups, with about a share of the documents of every class.

    Args:
        documents: Labelled documents.
        groups: Group of each document. Groups that share a text or a cluster stay together.
        fraction: Share of the documents to hold out, between 0 and 1.
        seed: The same seed and documents give the same split.
        clusters: As for `stratified_split`.

    Raises:
        InputError: The fraction is not a share, or a side would be empty.
    """
    _require_share(fraction)
    ids = unite(documents, groups) if clusters is None else unite(documents, groups, clusters)
    units = Units(documents, ids)
    held = choose_held_out(units, fraction, seed)
    notes = []
    joined = len(set(groups)) - len(units.members)
    if joined:
        notes.append(f"{joined:,} groups share texts with another group and stay on its side")
    share = len(units.documents(held)) / max(len(documents), 1)
    if abs(share - fraction) > _TOLERANCE * fraction:
        notes.append(
            f"{100 * share:.1f} % of the documents held out instead of {100 * fraction:g} %: "
            f"whole groups come no closer"
        )
    return _part(documents, units, held, "group", notes)


def time_split(
    documents: Sequence[Document],
    times: Sequence[str],
    fraction: float = 0.1,
    clusters: Sequence[int] | None = None,
) -> Split:
    """Hold out the latest documents; those of one time stay together.

    A late document that repeats an early one stays in training: it is no news.

    Args:
        documents: Labelled documents.
        times: Time of each, as `parse_times` takes them.
        fraction: Share of the documents to hold out, between 0 and 1; met as nearly as equal times
            allow.
        clusters: As for `stratified_split`.

    Raises:
        InputError: A time cannot be read, the fraction is not a share, or a side would be empty.
    """
    _require_share(fraction)
    parsed = parse_times(times, [document.id for document in documents])
    numbers = {time: number for number, time in enumerate(sorted(set(parsed)))}
    ranks = np.array([numbers[time] for time in parsed], dtype=np.int64)
    late = np.zeros(len(documents), dtype=bool)
    if len(numbers) > 1:
        # Documents held out when the cut is before the time of each rank but the first.
        held = np.cumsum(np.bincount(ranks)[::-1])[::-1][1:]
        cut = 1 + int(np.argmin(np.abs(held - fraction * len(documents))[::-1]))
        late = ranks >= len(numbers) - cut
    units = Units(documents, unite(documents) if clusters is None else unite(documents, clusters))
    whole = {unit for unit, members in enumerate(units.members) if late[members].all()}
    copies = int(late.sum()) - len(units.documents(whole))
    if not whole:
        raise InputError(
            "A split by time needs documents of two times or more, and late ones that repeat no "
            "early one.",
            found=f"{len(documents):,} documents of {len(numbers):,} times; {copies:,} late ones "
            "repeat early ones",
            fix="Unset time_column to hold out random documents, or give a file with --validation.",
        )
    earliest = min(np.flatnonzero(late).tolist(), key=lambda index: ranks[index])
    notes = [f"held out: the documents from {times[earliest].strip()} on"]
    if copies:
        notes.append(f"{copies:,} late documents repeat an early one and stay in training")
    return _part(documents, units, whole, "text", notes)


def k_folds(
    documents: Sequence[Document],
    folds: int = 5,
    seed: int = 42,
    groups: Sequence[Hashable] | None = None,
) -> Iterator[Split]:
    """Yield the splits of a cross-validation: each document is held out once, with its copies.

    Documents of a class with one text (or group) are trained on every time and never held out.

    Args:
        documents: Labelled documents.
        folds: How many splits, at least 2.
        seed: The same seed and documents give the same folds; other seeds repeat the
            cross-validation.
        groups: Of each document, to be held out together; `Duplicates.cluster_ids` for near-copies.

    Raises:
        InputError: There are fewer than two folds, or fewer units of documents than folds.
    """
    units = Units(documents, unite(documents) if groups is None else unite(documents, groups))
    dealt = deal_folds(units, folds, seed) if folds > 1 else []
    if not dealt or not all(dealt):
        kinds = "different texts" if groups is None else "groups"
        raise InputError(
            "Cross-validation needs two folds or more, and a text for each that is not the only "
            "one of its class.",
            found=f"{folds} folds for {len(documents):,} documents with {len(units.members):,} "
            f"{kinds} in {len(units.units_of_class):,} classes",
            fix="Ask for fewer folds, or add documents.",
        )
    for held in dealt:
        yield _part(documents, units, held, "text" if groups is None else "group", [])


def read_field(documents: Sequence[Document], column: str, setting: str) -> list[str]:
    """Return the value of a column for each document.

    Args:
        documents: With the column among their fields.
        column: Its name.
        setting: The setting that named it, for errors.

    Raises:
        InputError: A document has no value there.
    """
    missing = [document.id for document in documents if not document.fields.get(column, "").strip()]
    if missing:
        more = ", ..." if len(missing) > _NAMED else ""
        raise InputError(
            f"Every document must have a value in the column '{column}' ({setting}).",
            found=f"none in {len(missing):,} of {len(documents):,} documents, "
            f"ids {', '.join(missing[:_NAMED])}{more}",
            fix=f"Fill in the column, leave these documents out, or unset {setting}.",
        )
    return [document.fields[column] for document in documents]


def _require_share(fraction: float) -> None:
    if not 0 < fraction < 1:
        raise InputError(
            "The share of documents held out for validation must lie between 0 and 1.",
            found=f"{fraction}",
            fix="Set validation_split, for example to 0.1.",
        )


def unite(documents: Sequence[Document], *keys: Sequence[Hashable]) -> Integers:
    """Return the unit of each document: those with one text or one of the keys in common.

    Args:
        documents: The documents.
        keys: Each a value for every document, such as groups or clusters.

    Returns:
        int64 `[documents]`.
    """
    texts = [(document.text, document.text_pair) for document in documents]
    pairs: list[tuple[int, int]] = []
    for values in (texts, *keys):
        first: dict[Hashable, int] = {}
        for index, value in enumerate(values):
            pairs.append((first.setdefault(value, index), index))
    return join(len(documents), pairs)


def _part(
    documents: Sequence[Document], units: Units, held: Iterable[int], unit: str, notes: list[str]
) -> Split:
    places = set(units.documents(held))
    train = tuple(document for index, document in enumerate(documents) if index not in places)
    validation = tuple(documents[index] for index in sorted(places))
    if not train or not validation:
        raise InputError(
            "Both training and validation need documents.",
            found=f"{len(train):,} for training and {len(validation):,} for validation out of "
            f"{len(documents):,} documents with {len(units.members):,} different {unit}s in "
            f"{len(units.units_of_class):,} classes",
            fix=f"Add documents until some class has two different {unit}s (near-copies are one "
            "text unless near_duplicates is set to ignore), or give a file with --validation.",
        )
    single = {label for label, places in units.units_of_class.items() if len(places) == 1}
    return Split(train, validation, (*_describe_classes(train, validation, single, unit), *notes))


def _describe_classes(
    train: Sequence[Document], validation: Sequence[Document], single: set[str], unit: str
) -> list[str]:
    learnt = {label for document in train for label in labels_of(document)} - {WITHOUT_LABEL}
    judged = {label for document in validation for label in labels_of(document)} - {WITHOUT_LABEL}
    unjudged = learnt - judged
    cases = (
        (f"classes with a single {unit}, trained on but not validated", unjudged & single),
        ("classes trained on but not validated", unjudged - single),
        ("classes validated but never trained on", judged - learnt),
    )
    return [f"{what}: {_name(labels)}" for what, labels in cases if labels]


def _describe_copies(documents: Sequence[Document], texts: Integers, units: int) -> list[str]:
    different = len(np.unique(texts))
    notes = []
    if len(documents) > different:
        notes.append(
            f"{len(documents) - different:,} documents repeat a text and stay on the side of the "
            f"first"
        )
    if different > units:
        notes.append(f"{different - units:,} texts are near-copies of another and stay on its side")
    return notes


def _name(labels: set[str]) -> str:
    named = ", ".join(f"'{label}'" for label in sorted(labels)[:_NAMED])
    more = f" and {len(labels) - _NAMED:,} more" if len(labels) > _NAMED else ""
    return named + more
