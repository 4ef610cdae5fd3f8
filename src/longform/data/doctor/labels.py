"""The classes: how many documents each has, on which side, and which are one spelt twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from longform.config import RunConfig
from longform.data.doctor.findings import EXAMPLES, Finding
from longform.data.doctor.spellings import examine_spellings
from longform.data.labels import LabelMap
from longform.data.stratification import WITHOUT_LABEL, labels_of
from longform.errors import InputError
from longform.reporting import counted
from longform.types import Document

_RARE = 10
"""Documents below which a class can hardly be learnt and its score hardly be measured."""
_IMBALANCE = 10
_MANY_CLASSES = 1_000
_HEAD_WIDTH = 384


@dataclass(frozen=True, slots=True)
class ClassCount:
    """Documents of one class. `validation` is None without a validation file."""

    label: str
    train: int
    validation: int | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def examine_labels(
    train: Sequence[Document], validation: Sequence[Document] | None, config: RunConfig
) -> tuple[tuple[ClassCount, ...], list[Finding]]:
    """Count the classes and tell what is wrong with them.

    Args:
        train: Labelled documents.
        validation: Labelled documents, or None where training holds out its own.
        config: Of the run.

    Returns:
        The classes, the largest first, and the findings.
    """
    ours = _count(train)
    theirs = _count(validation) if validation is not None else None
    names = sorted(ours.keys() | (theirs or {}).keys(), key=lambda name: (-ours[name], name))
    classes = tuple(
        ClassCount(name, ours[name], None if theirs is None else theirs[name]) for name in names
    )
    findings = [
        *_describe_refusal(train),
        *examine_spellings(ours + (theirs or Counter()), config),
        *_describe_rare(ours),
        *_describe_balance(ours, config),
        *_describe_number(ours),
    ]
    if theirs is not None:
        findings += _describe_sides(ours, theirs, config)
    return classes, findings


def _count(documents: Sequence[Document]) -> Counter[str]:
    counts = Counter(label for document in documents for label in labels_of(document))
    del counts[WITHOUT_LABEL]
    return counts


def _describe_refusal(train: Sequence[Document]) -> list[Finding]:
    """Ask what training asks."""
    try:
        LabelMap.from_documents(train)
    except InputError as error:
        return [
            Finding(
                kind="no_classes",
                severity="error",
                what=f"{error.rule} Found: {error.found}.",
                count=len(train),
                training="refuses the file",
                advice=error.fix,
            )
        ]
    return []


def _describe_rare(train: Counter[str]) -> list[Finding]:
    rare = sorted((count, name) for name, count in train.items() if count < _RARE)
    if not rare or len(train) < 2:
        return []
    single = sum(count == 1 for count, _ in rare)
    alone = f"; {single:,} with a single one" if single else ""
    return [
        Finding(
            kind="rare_classes",
            severity="warning",
            what=f"{counted(len(rare), 'class has', 'classes have')} fewer than {_RARE} "
            f"documents{alone}",
            count=len(rare),
            unit="classes",
            examples=tuple(f"{name} ({count})" for count, name in rare[:EXAMPLES]),
            training="learns them; a class with a single text is trained on but not validated",
            advice="Add documents, or join classes; until then their scores mean little.",
        )
    ]


def _describe_balance(train: Counter[str], config: RunConfig) -> list[Finding]:
    if len(train) < 2 or max(train.values()) < _IMBALANCE * min(train.values()):
        return []
    (common, most), (rare, least) = train.most_common()[0], train.most_common()[-1]
    balanced = config.class_weights != "none" or config.class_balance != "none"
    return [
        Finding(
            kind="imbalance",
            severity="note",
            what=f"the largest class ('{common}', {most:,}) has {most / least:,.0f} times as many "
            f"documents as the smallest ('{rare}', {least:,})",
            count=len(train),
            unit="classes",
            examples=(f"{common} ({most:,})", f"{rare} ({least:,})"),
            training="weighs or draws the classes evenly, as set"
            if balanced
            else "counts every document alike, so that rare classes hardly count",
            advice="Look at macro-F1, not at accuracy; weigh the classes if rare ones matter.",
            proposes={} if balanced else {"class_weights": "auto"},
        )
    ]


def _describe_number(train: Counter[str]) -> list[Finding]:
    if len(train) <= _MANY_CLASSES:
        return []
    megabytes = 4 * _HEAD_WIDTH * len(train) / 1e6
    return [
        Finding(
            kind="many_classes",
            severity="note",
            what=f"{len(train):,} classes: the last layer takes about {megabytes:,.0f} MB, each "
            "answer with all scores about "
            f"{30 * len(train) / 1e3:,.0f} kB",
            count=len(train),
            unit="classes",
            training="works; macro-F1 over so many classes is noisy",
            advice="Check that the label column is the right one, and not an id.",
        )
    ]


def _describe_sides(
    train: Counter[str], validation: Counter[str], config: RunConfig
) -> list[Finding]:
    findings = []
    unseen = sorted(validation.keys() - train.keys(), key=lambda name: (-validation[name], name))
    if unseen:
        count = sum(validation[name] for name in unseen)
        drops = config.unseen_labels == "drop"
        findings.append(
            Finding(
                kind="unseen_labels",
                severity="warning" if drops else "error",
                what=f"{counted(len(unseen), 'label')} of the validation file, on "
                f"{counted(count, 'document')}, {_occur(len(unseen))} in training",
                count=count,
                examples=tuple(f"{name} ({validation[name]:,})" for name in unseen[:EXAMPLES]),
                training="leaves these documents out and says so (unseen_labels: drop)"
                if drops
                else "refuses the files",
                advice="Correct the spelling or add such documents to training; "
                "--set unseen_labels=drop leaves them out.",
            )
        )
    missing = sorted(train.keys() - validation.keys(), key=lambda name: (-train[name], name))
    if missing:
        findings.append(
            Finding(
                kind="unvalidated_classes",
                severity="note",
                what=f"{counted(len(missing), 'class', 'classes')} of training "
                f"{'is' if len(missing) == 1 else 'are'} not in the validation file",
                count=len(missing),
                unit="classes",
                examples=tuple(f"{name} ({train[name]:,})" for name in missing[:EXAMPLES]),
                training="learns them; nothing tells how well",
                advice="Add such documents to the validation file.",
            )
        )
    return findings


def _occur(labels: int) -> str:
    return "does not occur" if labels == 1 else "do not occur"
