"""What training does about flaws in its documents: every change is counted, listed and said.

Flaws that the settings keep are told by the reader's notes; nothing here changes a text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from longform.config import DataSettings
from longform.data.duplicates import Leaks, Match, find_leaks
from longform.errors import InputError
from longform.reporting import Reporter
from longform.types import Document

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to one document.

    Attributes:
        index: Of the document among those handed in, from 0.
        id: Of the document.
        what: What was done.
        why: As a clause with the document as its subject.
        labels: The labels that it has now; None when it was dropped.
    """

    index: int
    id: str
    what: Literal["dropped", "relabelled"]
    why: str
    labels: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Repair:
    """Documents after a repair.

    Attributes:
        documents: Those that are left, in the order given.
        changes: Every change, in the order of the documents.
        notes: What the user should know, with counts.
    """

    documents: tuple[Document, ...]
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()


def repair_training(documents: Sequence[Document], settings: DataSettings) -> Repair:
    """Apply `conflicting_labels`, then `duplicates`, to documents for training.

    Texts count as equal when they are equal as given; near-copies are left alone.

    Raises:
        InputError: No document is left.
    """
    changes: dict[int, Change] = {}
    notes: list[str] = []
    groups = _group_by_text(documents)
    kept = dict(enumerate(documents))
    if settings.conflicting_labels != "keep":
        majority = settings.conflicting_labels == "majority"
        found = [change for group in groups for change in _settle(documents, group, majority)]
        changes.update((change.index, change) for change in found)
        notes += _describe_conflicts(found, settings.conflicting_labels)
        for change in found:
            if change.labels is None:
                del kept[change.index]
            else:
                kept[change.index] = _relabel(documents[change.index], change.labels)
    if settings.duplicates == "drop":
        repeats = [change for group in groups for change in _drop_repeats(kept, group)]
        changes.update((change.index, change) for change in repeats)
        if repeats:
            notes.append(
                f"{len(repeats):,} training documents dropped that repeat the text and label of an "
                f"earlier one: {_name(repeats)} (duplicates: drop)"
            )
    _require_documents(kept, len(documents), "training")
    ordered = tuple(changes[index] for index in sorted(changes))
    return Repair(tuple(kept.values()), ordered, tuple(notes))


def repair_leaks(
    train: Sequence[Document],
    validation: Sequence[Document],
    settings: DataSettings,
    reporter: Reporter | None = None,
) -> Repair:
    """Apply `validation_leaks` to documents for training beside a validation file.

    Near-copies are looked for unless `near_duplicates` is `ignore`.

    Raises:
        InputError: No document is left.
        MissingExtraError: datasketch is not installed and near-copies are looked for.
    """
    leaks = find_leaks(train, validation, reporter, near=settings.near_duplicates == "together")
    notes = [*leaks.notes, *describe_leaks(train, validation, leaks)]
    if settings.validation_leaks == "keep":
        if leaks.matches:
            notes.append(
                "the figures on the validation file are inflated by these; set validation_leaks to "
                "drop to leave them out of training"
            )
        return Repair(tuple(train), (), tuple(notes))
    repair = drop_leaks(train, validation, leaks)
    return replace(repair, notes=(*notes, *repair.notes))


def drop_leaks(train: Sequence[Document], validation: Sequence[Document], leaks: Leaks) -> Repair:
    """Leave out the training documents that stand in the validation file too.

    Args:
        train: Documents for training.
        validation: Documents for validation.
        leaks: Of `find_leaks(train, validation)`.

    Raises:
        InputError: No document is left.
    """
    best: dict[int, Match] = {}
    for match in leaks.matches:
        known = best.get(match.first)
        if known is None or (match.exact, match.similarity) > (known.exact, known.similarity):
            best[match.first] = match
    changes = []
    for index, match in sorted(best.items()):
        twin = validation[match.second].id
        why = f"has the text of validation document {twin}"
        if not match.exact:
            why = (
                f"is a near-copy of validation document {twin} "
                f"(Jaccard similarity {match.similarity:.2f}, containment {match.containment:.2f})"
            )
        changes.append(Change(index, train[index].id, "dropped", why))
    note = f"{len(changes):,} training documents dropped that stand in the validation file too"
    return _drop(train, changes, f"{note}: {_name(changes)} (validation_leaks: drop)", "training")


def drop_unseen(validation: Sequence[Document], labels: Collection[str]) -> Repair:
    """Leave out the validation documents that have a label which does not occur in training.

    Args:
        validation: Documents for validation, of one label or several.
        labels: The label names of training.

    Raises:
        InputError: No document is left.
    """
    known = frozenset(labels)
    changes = []
    unseen: Counter[str] = Counter()
    for index, document in enumerate(validation):
        foreign = [label for label in _labels_of(document) if label not in known]
        unseen.update(foreign)
        if foreign:
            why = f"has a label that does not occur in training: {_quote(foreign)}"
            changes.append(Change(index, document.id, "dropped", why))
    named = ", ".join(f"'{label}' ({count:,})" for label, count in unseen.most_common(_NAMED))
    more = f" and {len(unseen) - _NAMED:,} more" if len(unseen) > _NAMED else ""
    note = (
        f"{len(changes):,} validation documents dropped whose labels do not occur in training: "
        f"{named}{more} (unseen_labels: drop)"
    )
    return _drop(validation, changes, note, "validation")


def describe_leaks(
    train: Sequence[Document], validation: Sequence[Document], leaks: Leaks
) -> tuple[str, ...]:
    """Return how much of the validation file stands in training, with examples; empty if none."""
    if not leaks.matches:
        return ()
    exact = {match.second for match in leaks.matches if match.exact}
    share = 100 * len(leaks.other) / len(validation)
    examples = ", ".join(
        f"{train[match.first].id} = {validation[match.second].id}"
        if match.exact
        else f"{train[match.first].id} ~ {validation[match.second].id}"
        for match in sorted(leaks.matches, key=lambda match: not match.exact)[:_NAMED]
    )
    return (
        f"{len(leaks.other):,} of {len(validation):,} validation documents ({share:.1f} %) stand "
        f"in the training data: {len(exact):,} word for word, {len(leaks.other) - len(exact):,} "
        f"nearly (training id = or ~ validation id: {examples})",
    )


def _group_by_text(documents: Sequence[Document]) -> list[list[int]]:
    groups: dict[tuple[str, str | None], list[int]] = {}
    for index, document in enumerate(documents):
        groups.setdefault((document.text, document.text_pair), []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def _labels_of(document: Document) -> tuple[str, ...]:
    if document.labels is not None:
        return document.labels
    return () if document.label is None else (document.label,)


def _settle(documents: Sequence[Document], group: list[int], majority: bool) -> list[Change]:
    """Return what happens to the documents of one text when their labels contradict each other."""
    # In any order: several labels are a set.
    votes = Counter(tuple(sorted(_labels_of(documents[index]))) for index in group)
    if len(votes) < 2:
        return []
    (first, count), (_, second_count) = votes.most_common(2)
    listed = ", ".join(f"{_quote(labels)} ({times:,})" for labels, times in votes.most_common())
    why = f"has a text with contradicting labels: {listed}"
    if not majority or count == second_count:
        return [Change(index, documents[index].id, "dropped", why) for index in group]
    return [
        Change(index, documents[index].id, "relabelled", why, first)
        for index in group
        if tuple(sorted(_labels_of(documents[index]))) != first
    ]


def _drop_repeats(kept: dict[int, Document], group: list[int]) -> list[Change]:
    """Remove all but the first document of each label from `kept`, and return what was removed."""
    first: dict[tuple[str, ...], str] = {}
    changes = []
    for index in group:
        if index not in kept:
            continue
        document = kept[index]
        labels = tuple(sorted(_labels_of(document)))
        if labels in first:
            why = f"repeats text and label of document {first[labels]}"
            changes.append(Change(index, document.id, "dropped", why))
            del kept[index]
        first.setdefault(labels, document.id)
    return changes


def _relabel(document: Document, labels: tuple[str, ...]) -> Document:
    if document.labels is not None:
        return replace(document, labels=labels)
    return replace(document, label=labels[0] if labels else None)


def _describe_conflicts(changes: Sequence[Change], policy: str) -> list[str]:
    dropped = [change for change in changes if change.what == "dropped"]
    relabelled = [change for change in changes if change.what == "relabelled"]
    notes = []
    if relabelled:
        notes.append(
            f"{len(relabelled):,} training documents given the commonest label of their text: "
            f"{_name(relabelled)} (conflicting_labels: {policy})"
        )
    if dropped:
        tie = ", none of which is the commonest" if policy == "majority" else ""
        notes.append(
            f"{len(dropped):,} training documents dropped whose text has contradicting "
            f"labels{tie}: {_name(dropped)} (conflicting_labels: {policy})"
        )
    return notes


def _drop(documents: Sequence[Document], changes: list[Change], note: str, what: str) -> Repair:
    if not changes:
        return Repair(tuple(documents))
    dropped = {change.index for change in changes}
    kept = tuple(d for index, d in enumerate(documents) if index not in dropped)
    _require_documents(kept, len(documents), what)
    return Repair(kept, tuple(changes), (note,))


def _require_documents(kept: Collection[Any], count: int, what: str) -> None:
    if count and not kept:
        raise InputError(
            f"The repairs that the settings ask for must leave documents for {what}.",
            found=f"all {count:,} dropped",
            fix="Look at the data with longform doctor, or set duplicates, conflicting_labels, "
            "validation_leaks and unseen_labels differently.",
        )


def _quote(labels: Iterable[str]) -> str:
    return " + ".join(f"'{label}'" for label in labels) or "none"


def _name(changes: Sequence[Change]) -> str:
    named = ", ".join(change.id for change in changes[:_NAMED])
    return (
        "ids " + named + (f" and {len(changes) - _NAMED:,} more" if len(changes) > _NAMED else "")
    )
