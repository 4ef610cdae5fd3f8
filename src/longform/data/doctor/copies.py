"""Documents that repeat each other, contradict each other, or stand on both sides of the split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from longform.config import RunConfig
from longform.data.doctor.findings import EXAMPLES, Finding
from longform.data.duplicates import Duplicates, Leaks, find_duplicates, find_leaks
from longform.data.sketches import sketch_documents
from longform.data.stratification import labels_of
from longform.reporting import Reporter, counted
from longform.types import Document

SHOWN = 20
"""Clusters and leaks that are listed."""
_INFLATED = 0.005
_KEPT = {
    "keep": "keeps them, and what it holds out has no copy in it",
    "drop": "keeps the first of each and says how many it drops (duplicates: drop)",
}
_CONFLICTS = {
    "keep": "keeps all of them, which teaches nothing",
    "drop": "leaves all of them out and says so (conflicting_labels: drop)",
    "majority": "gives them the commonest label (conflicting_labels: majority)",
}
_LEAKING = {
    "keep": "keeps them: the figures of validation will be better than those of new documents",
    "drop": "leaves them out of training and says so (validation_leaks: drop)",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Documents that are copies or near-copies of each other.

    Attributes:
        ids: Of the documents, in file order.
        labels: Their labels -> how often.
        exact: Whether all have one text.
    """

    ids: tuple[str, ...]
    labels: dict[str, int]
    exact: bool

    def as_json(self) -> dict[str, Any]:
        """Return the size, the first ids, and the labels."""
        return {
            "documents": len(self.ids),
            "ids": list(self.ids[:EXAMPLES]),
            "labels": self.labels,
            "exact": self.exact,
        }


@dataclass(frozen=True, slots=True)
class Leak:
    """A document of the validation file that training has seen, or nearly."""

    train: str
    validation: str
    similarity: float
    exact: bool


@dataclass(frozen=True, slots=True)
class Copies:
    """What repeats.

    Attributes:
        exact: Documents that repeat an earlier one word for word.
        near: Further documents that nearly repeat an earlier one.
        conflicting: Documents that share their text with one of another label.
        clusters: Number of clusters.
        largest: The largest clusters.
        leaked: Validation documents that stand in training; None without a validation file.
        leaked_exact: Those of them that do so word for word.
        leaking: Training documents that stand in validation.
        leaked_share: Share of the validation documents.
        leaks: The first leaks, the most alike first.
        duplicates: All of it, for repairs.
        all_leaks: All of them, for repairs.
    """

    exact: int
    near: int
    conflicting: int
    clusters: int
    largest: tuple[Cluster, ...]
    duplicates: Duplicates = field(repr=False)
    leaked: int | None = None
    leaked_exact: int = 0
    leaking: int = 0
    leaked_share: float = 0.0
    leaks: tuple[Leak, ...] = ()
    all_leaks: Leaks | None = field(default=None, repr=False)

    def as_json(self) -> dict[str, Any]:
        """Return counts and ids."""
        return {
            "exact": self.exact,
            "near": self.near,
            "conflicting": self.conflicting,
            "clusters": self.clusters,
            "largest": [cluster.as_json() for cluster in self.largest],
            "leaked_validation_documents": self.leaked,
            "leaked_exact": self.leaked_exact,
            "leaked_share": round(self.leaked_share, 5),
            "leaking_training_documents": self.leaking,
            "leaks": [
                {
                    "train": leak.train,
                    "validation": leak.validation,
                    "similarity": round(leak.similarity, 3),
                    "exact": leak.exact,
                }
                for leak in self.leaks
            ],
        }


def examine_copies(
    train: Sequence[Document],
    validation: Sequence[Document] | None,
    config: RunConfig,
    reporter: Reporter,
) -> tuple[Copies, list[Finding]]:
    """Find what repeats within training and across to validation.

    Raises:
        MissingExtraError: datasketch is not installed.
    """
    sketches = sketch_documents(train, reporter)
    duplicates = find_duplicates(sketches, reporter)
    exact = sum(len(group) - 1 for group in duplicates.exact)
    repeated = sum(len(cluster) - 1 for cluster in duplicates.clusters)
    conflicts = [
        group for group in duplicates.exact if len({labels_of(train[place]) for place in group}) > 1
    ]
    account: dict[str, Any] = {}
    if validation is not None:
        account = _account_for_leaks(train, validation, find_leaks(sketches, validation, reporter))
    copies = Copies(
        exact=exact,
        near=repeated - exact,
        conflicting=sum(map(len, conflicts)),
        clusters=len(duplicates.clusters),
        largest=tuple(_describe_cluster(train, cluster) for cluster in duplicates.clusters[:SHOWN]),
        duplicates=duplicates,
        **account,
    )
    findings = [
        *_describe_repeats(copies, config, train),
        *_describe_conflicts(copies, conflicts, config, train),
        *_describe_leaks(copies, config, len(validation or ())),
    ]
    return copies, findings


def _account_for_leaks(
    train: Sequence[Document], validation: Sequence[Document], leaks: Leaks
) -> dict[str, Any]:
    ranked = sorted(leaks.matches, key=lambda match: (-match.exact, -match.similarity))
    return {
        "leaked": len(leaks.other),
        "leaked_exact": len({match.second for match in leaks.matches if match.exact}),
        "leaking": len(leaks.train),
        "leaked_share": len(leaks.other) / max(len(validation), 1),
        "leaks": tuple(
            Leak(train[m.first].id, validation[m.second].id, m.similarity, m.exact)
            for m in ranked[:SHOWN]
        ),
        "all_leaks": leaks,
    }


def _describe_cluster(train: Sequence[Document], cluster: tuple[int, ...]) -> Cluster:
    labels = Counter(", ".join(labels_of(train[place])) for place in cluster)
    texts = {(train[place].text, train[place].text_pair) for place in cluster}
    ids = tuple(train[place].id for place in cluster)
    return Cluster(ids, dict(labels.most_common(EXAMPLES)), len(texts) == 1)


def _describe_repeats(
    copies: Copies, config: RunConfig, train: Sequence[Document]
) -> list[Finding]:
    findings = []
    if copies.exact:
        repeats = [train[place].id for group in copies.duplicates.exact for place in group[1:]]
        findings.append(
            Finding(
                kind="exact_duplicates",
                severity="warning" if copies.exact >= 0.01 * len(train) else "note",
                what=f"{counted(copies.exact, 'document')} "
                f"({100 * copies.exact / len(train):.1f} %) {_repeat(copies.exact)} an "
                "earlier one word for word",
                count=copies.exact,
                examples=tuple(repeats[:EXAMPLES]),
                training=_KEPT[config.duplicates],
                advice="Drop them: they count double and teach nothing new.",
                proposes={"duplicates": "drop"},
            )
        )
    if copies.near:
        together = config.near_duplicates == "together"
        findings.append(
            Finding(
                kind="near_duplicates",
                severity="note" if together else "warning",
                what=f"{counted(copies.near, 'further document')} nearly "
                f"{_repeat(copies.near)} an earlier one; the largest of "
                f"{counted(copies.clusters, 'cluster')} has "
                f"{counted(len(copies.largest[0].ids), 'document')}",
                count=copies.near,
                examples=copies.largest[0].ids[:EXAMPLES],
                training="keeps them; none is held out while another is trained on"
                if together
                else "keeps them; one may be held out while another is trained on",
                advice="Look at the largest clusters: templates and amended versions are often "
                "meant, several exports of one document are not.",
                proposes={"near_duplicates": "together"},
            )
        )
    return findings


def _repeat(documents: int) -> str:
    return "repeats" if documents == 1 else "repeat"


def _describe_conflicts(
    copies: Copies, conflicts: list[tuple[int, ...]], config: RunConfig, train: Sequence[Document]
) -> list[Finding]:
    if not conflicts:
        return []
    examples = tuple(
        " / ".join(f"{train[p].id} ({', '.join(labels_of(train[p]))})" for p in group[:2])
        for group in conflicts[:EXAMPLES]
    )
    return [
        Finding(
            kind="conflicting_labels",
            severity="warning",
            what=f"{counted(copies.conflicting, 'document')} share their text with one of another "
            f"label ({counted(len(conflicts), 'text')})",
            count=copies.conflicting,
            examples=examples,
            training=_CONFLICTS[config.conflicting_labels],
            advice="Decide which label is right; majority takes the commonest, and drops ties.",
            proposes={"conflicting_labels": "majority"},
        )
    ]


def _describe_leaks(copies: Copies, config: RunConfig, validation: int) -> list[Finding]:
    if not copies.leaked:
        return []
    return [
        Finding(
            kind="leaks",
            severity="warning" if copies.leaked_share >= _INFLATED else "note",
            what=f"{copies.leaked:,} of {counted(validation, 'validation document')} "
            f"({100 * copies.leaked_share:.1f} %) also stand in training, "
            f"{copies.leaked_exact:,} of them word for word",
            count=copies.leaked,
            examples=tuple(f"{leak.validation} = {leak.train}" for leak in copies.leaks[:EXAMPLES]),
            training=_LEAKING[config.validation_leaks],
            advice="Drop them from training, or the model is judged on what it has learnt by "
            "heart.",
            proposes={"validation_leaks": "drop"},
        )
    ]
