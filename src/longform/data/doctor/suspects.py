"""Labels that are probably wrong: those that a model disagrees with which has not seen them.

The ranking and the count are cleanlab's (Northcutt, Jiang and Chuang, Confident Learning, 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from longform.data.doctor.features import count_features, join_pair, weigh
from longform.data.doctor.findings import EXAMPLES, Finding
from longform.data.doctor.judge import (
    accuracy,
    assign_folds,
    cross_validate,
    select,
    to_probabilities,
)
from longform.extras import require
from longform.reporting import Reporter, counted
from longform.text.excerpts import make_excerpt
from longform.types import Document, Integers

LEAST_DOCUMENTS = 40
"""Documents below which a model of them is no judge."""
LEAST_IN_CLASS = 3
"""Texts of a class below which its documents are not judged: the model would hardly know it."""
SHOWN = 30
"""Suspects that are described, the likeliest first."""
_MOST_CHARACTERS = 100_000_000
_MOST_DOCUMENTS = 100_000
_READ_AT_LEAST = 1_000
_HIGH_SHARE = 0.02
_ABLE = 0.75
"""Agreement with the labels below which what a model contradicts says more about the model."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A document whose label is probably wrong.

    Attributes:
        id: The document's id.
        label: The label it has.
        suggested: The label that the model gives it.
        quality: cleanlab's label quality, 0 (surely wrong) to 1.
        excerpt: The beginning of the text; for pages, not for logs.
    """

    id: str
    label: str
    suggested: str
    quality: float
    excerpt: str = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """Return the fields without the excerpt."""
        content = asdict(self)
        del content["excerpt"]
        return content | {"quality": round(self.quality, 4)}


@dataclass(frozen=True, slots=True)
class Suspects:
    """What the model says of the labels.

    Attributes:
        judged: Documents judged.
        unjudged: Documents left out -> why: {reason: count}.
        read_characters: What the texts were cut to before, to bound the time; None where they were
            read whole.
        accuracy: Share of judged documents whose label is the model's first choice.
        likely: Documents that cleanlab takes for wrongly labelled.
        worst: The suspects, the likeliest first.
        ranking: Indices of the judged documents, the most suspicious first.
    """

    judged: int
    unjudged: dict[str, int]
    read_characters: int | None = None
    accuracy: float = 0.0
    likely: int = 0
    worst: tuple[Suspect, ...] = ()
    ranking: tuple[int, ...] = field(default=(), repr=False)

    def as_json(self) -> dict[str, Any]:
        """Return what programs want, without texts."""
        return {
            "judged": self.judged,
            "unjudged": self.unjudged,
            "read_characters": self.read_characters,
            "cross_validated_accuracy": round(self.accuracy, 4),
            "likely_errors": self.likely,
            "worst": [suspect.as_json() for suspect in self.worst],
        }


def find_suspects(
    documents: Sequence[Document],
    clusters: Integers,
    workers: int,
    reporter: Reporter,
    seed: int = 42,
) -> tuple[Suspects, list[Finding]]:
    """Judge the labels of documents that have one each.

    Args:
        documents: Labelled documents.
        clusters: int64 `[documents]`, equal for documents that repeat each other.
        workers: Threads.
        reporter: Shown the progress.
        seed: Of the folds, and of the sample where there are too many documents.

    Raises:
        MissingExtraError: scikit-learn or cleanlab is not installed.
    """
    places, labels, names, unjudged = choose_judged(documents, clusters, seed)
    if not len(places):
        return Suspects(0, unjudged), []
    judged = select(documents, places)
    texts, limit = read_texts(judged)
    features = weigh(count_features(texts, reporter))
    folds = assign_folds(judged, clusters[places], seed)
    scores = cross_validate(features, labels, folds, workers, reporter)
    probabilities = to_probabilities(scores, labels)
    rank = require("cleanlab.rank", "Ranking suspected labels")
    quality = rank.get_label_quality_scores(labels, probabilities, method="normalized_margin")
    order = np.argsort(quality, kind="stable")
    likely = _count_issues(labels, probabilities)
    worst = tuple(
        Suspect(
            id=documents[places[row]].id,
            label=names[labels[row]],
            suggested=names[int(probabilities[row].argmax())],
            quality=float(quality[row]),
            excerpt=make_excerpt(documents[places[row]].text),
        )
        for row in order[: min(likely, SHOWN)].tolist()
        if probabilities[row].argmax() != labels[row]
    )
    suspects = Suspects(
        judged=len(places),
        unjudged=unjudged,
        read_characters=limit,
        accuracy=accuracy(scores, labels),
        likely=likely,
        worst=worst,
        ranking=tuple(places[order].tolist()),
    )
    return suspects, _describe(suspects)


def choose_judged(
    documents: Sequence[Document], clusters: Integers, seed: int
) -> tuple[Integers, Integers, list[str], dict[str, int]]:
    """Choose the documents that a model can judge.

    Returns:
        Their indices, int64; their labels as numbers, int64; the names of these; and how many
        documents are left out, by reason.
    """
    if any(document.label is None for document in documents):
        return _no_judges(
            "documents have lists of labels, which this check does not judge", documents
        )
    given = np.array([document.label for document in documents], dtype=object)
    names, labels = np.unique(given, return_inverse=True)
    pairs = np.unique(np.stack((labels, clusters)), axis=1)
    texts = np.bincount(pairs[0], minlength=len(names))
    judged = texts[labels] >= LEAST_IN_CLASS
    unjudged: dict[str, int] = {}
    if not judged.all():
        reason = f"of classes with fewer than {LEAST_IN_CLASS} texts"
        unjudged[reason] = int((~judged).sum())
    places = np.flatnonzero(judged)
    if len(np.unique(labels[places])) < 2 or len(places) < LEAST_DOCUMENTS:
        return _no_judges("too few documents of two or more classes for a model of them", documents)
    if len(places) > _MOST_DOCUMENTS:
        chosen = np.random.default_rng(seed).choice(places, _MOST_DOCUMENTS, replace=False)
        unjudged["beyond the sample that is judged"] = len(places) - _MOST_DOCUMENTS
        places = np.sort(chosen)
    known, numbers = np.unique(labels[places], return_inverse=True)
    return places, numbers.astype(np.int64), [str(name) for name in names[known]], unjudged


def read_texts(documents: Sequence[Document]) -> tuple[list[str], int | None]:
    """Return the texts, a pair joined; of very large corpora the beginnings, to bound the time.

    Returns:
        The texts, and the characters that each was cut to, or None where all were read.
    """
    texts = [join_pair(document) for document in documents]
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    if lengths.sum() <= _MOST_CHARACTERS:
        return texts, None
    limit = int(lengths.max())
    while limit > _READ_AT_LEAST and np.minimum(lengths, limit).sum() > _MOST_CHARACTERS:
        limit = max(int(0.9 * limit), _READ_AT_LEAST)
    return [text[:limit] for text in texts], limit


def _no_judges(
    reason: str, documents: Sequence[Document]
) -> tuple[Integers, Integers, list[str], dict[str, int]]:
    none = np.zeros(0, dtype=np.int64)
    return none, none, [], {reason: len(documents)}


def _count_issues(labels: Integers, probabilities: Any) -> int:
    cleaning = require("cleanlab.filter", "Finding suspected labels")
    # One process: others would copy the texts, and a fork beside threads can hang.
    issues = cleaning.find_label_issues(labels, probabilities, n_jobs=1)
    return int(issues.sum())


def _describe(suspects: Suspects) -> list[Finding]:
    if not suspects.worst:
        return []
    if suspects.accuracy < _ABLE:
        return [
            Finding(
                kind="weak_judge",
                severity="note",
                what=f"a linear model that had not seen the documents agrees with only "
                f"{100 * suspects.accuracy:.1f} % of the labels: too weak a judge to count wrong "
                "ones, but those it contradicts most surely are worth a look",
                count=len(suspects.worst),
                examples=_name(suspects.worst),
                training="learns them as they are",
                advice="Look at the first suspects; many alike or small classes are hard for any "
                "model.",
            )
        ]
    share = suspects.likely / suspects.judged
    limit = suspects.read_characters
    read = f", of which it reads {limit:,} characters," if limit else ""
    return [
        Finding(
            kind="suspected_labels",
            severity="warning" if share >= _HIGH_SHARE else "note",
            what=f"{counted(suspects.likely, 'label')} of {suspects.judged:,} "
            f"({100 * share:.1f} %) may be wrong: a linear model that had not seen these "
            f"documents{read} ({100 * suspects.accuracy:.1f} % agreement with the labels) is sure "
            "of another class",
            count=suspects.likely,
            examples=_name(suspects.worst),
            training="learns them as they are",
            advice="Look through the suspects, likeliest first (--report shows their beginnings); "
            "correct the file where the label is wrong. --fix does not touch them.",
        )
    ]


def _name(worst: Sequence[Suspect]) -> tuple[str, ...]:
    return tuple(f"{s.id} ({s.label} → {s.suggested})" for s in worst[:EXAMPLES])
