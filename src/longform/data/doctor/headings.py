"""Whether the beginning of a document gives its label away, as a header or a template does."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from longform.data.doctor.features import count_features, weigh
from longform.data.doctor.findings import EXAMPLES, Finding
from longform.data.doctor.judge import accuracy, assign_folds, cross_validate, select
from longform.data.doctor.suspects import LEAST_DOCUMENTS, choose_judged
from longform.reporting import Reporter, counted
from longform.types import Document, Integers

HEAD = 200
"""Characters that count as the beginning."""
_REST = 2_000
"""Characters after it that the beginning is compared with."""
_SAMPLE = 2_000
_ABOVE_CHANCE = 0.2
_AS_GOOD = 0.02
_LEAST_SHARING = 5
_PURE = 0.95
_OF_CLASS = 0.5
_OF_ALL = 0.5


@dataclass(frozen=True, slots=True)
class SharedLine:
    """A first line that many documents have.

    Attributes:
        label: The class that it stands for; None where all classes share it.
        documents: How many have it.
        share: Of the documents of the class, or of all.
        example: Id of the first of them.
    """

    label: str | None
    documents: int
    share: float
    example: str


@dataclass(frozen=True, slots=True)
class Headings:
    """What the beginnings tell.

    Attributes:
        judged: Documents that models were tried on; 0 where they are too few or too short.
        majority: Share of the commonest class: what a model without eyes reaches.
        first_line: Cross-validated accuracy from the first line alone, at most 200 characters.
        head: From the first 200 characters alone.
        rest: From the 2,000 characters after them.
        shared: First lines that many documents have.
    """

    judged: int
    majority: float = 0.0
    first_line: float = 0.0
    head: float = 0.0
    rest: float = 0.0
    shared: tuple[SharedLine, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        content = asdict(self)
        for name in ("majority", "first_line", "head", "rest"):
            content[name] = round(content[name], 4)
        content["shared"] = [asdict(line) for line in self.shared]
        return content


def examine_headings(
    documents: Sequence[Document], clusters: Integers, workers: int, reporter: Reporter, seed: int
) -> tuple[Headings, list[Finding]]:
    """Compare what a model learns from the beginnings with what it learns from the rest.

    Args:
        documents: Labelled documents; those of several labels are not judged.
        clusters: int64 `[documents]`, equal for documents that repeat each other.
        workers: Threads.
        reporter: Shown the progress.
        seed: Of the sample and the folds.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    shared = _find_shared_lines(documents)
    long = np.array([len(d.text) >= 2 * HEAD for d in documents], dtype=bool)
    places = np.flatnonzero(long)
    if len(places) < max(LEAST_DOCUMENTS, len(documents) // 2):
        return Headings(0, shared=shared), _describe_shared(shared)
    if len(places) > _SAMPLE:
        places = np.sort(np.random.default_rng(seed).choice(places, _SAMPLE, replace=False))
    chosen, labels, _, _ = choose_judged(select(documents, places), clusters[places], seed)
    if not len(chosen):
        return Headings(0, shared=shared), _describe_shared(shared)
    judged = select(documents, places[chosen])
    folds = assign_folds(judged, clusters[places[chosen]], seed)

    def measure(texts: list[str]) -> float:
        features = weigh(count_features(texts, reporter))
        if not features.nnz:
            return 0.0
        return accuracy(cross_validate(features, labels, folds, workers, reporter), labels)

    headings = Headings(
        judged=len(judged),
        majority=float(np.bincount(labels).max() / len(labels)),
        first_line=measure([_first_line(document.text) for document in judged]),
        head=measure([document.text[:HEAD] for document in judged]),
        rest=measure([document.text[HEAD : HEAD + _REST] for document in judged]),
        shared=shared,
    )
    return headings, [*_describe_head(headings), *_describe_shared(shared)]


def _first_line(text: str) -> str:
    head = text[: 10 * HEAD].lstrip()
    return head.splitlines()[0].strip()[:HEAD] if head else ""


def _find_shared_lines(documents: Sequence[Document]) -> tuple[SharedLine, ...]:
    labels_of_line: dict[str, Counter[str]] = defaultdict(Counter)
    first: dict[str, str] = {}
    sizes: Counter[str] = Counter()
    for document in documents:
        line = _first_line(document.text)
        label = document.label or ""
        sizes[label] += 1
        # A document of one line has no heading.
        if len(line) < len(document.text.strip()):
            labels_of_line[line][label] += 1
            first.setdefault(line, document.id)
    shared = []
    for line, labels in labels_of_line.items():
        total = sum(labels.values())
        if total < _LEAST_SHARING:
            continue
        (label, count), *_ = labels.most_common(1)
        if label and count >= _PURE * total and count >= _OF_CLASS * sizes[label] < len(documents):
            shared.append(SharedLine(label, count, count / sizes[label], first[line]))
        elif total >= _OF_ALL * len(documents):
            shared.append(SharedLine(None, total, total / len(documents), first[line]))
    return tuple(sorted(shared, key=lambda line: -line.documents))


def _describe_head(headings: Headings) -> list[Finding]:
    best = max(headings.first_line, headings.head)
    if best < headings.majority + _ABOVE_CHANCE or best < headings.rest - _AS_GOOD:
        return []
    is_line = headings.first_line >= headings.head
    part = "first line alone tells" if is_line else f"first {HEAD} characters alone tell"
    return [
        Finding(
            kind="telling_beginning",
            severity="warning",
            what=f"the {part} the label as well as the {_REST:,} characters after "
            f"it: {100 * best:.1f} % against {100 * headings.rest:.1f} % (always the commonest "
            f"class: {100 * headings.majority:.1f} %)",
            count=headings.judged,
            training="learns whatever tells the label, a header like any other text",
            advice="Make sure that documents in production begin the same way; otherwise cut the "
            "header off, or the figures promise too much.",
        )
    ]


def _describe_shared(shared: tuple[SharedLine, ...]) -> list[Finding]:
    ours = [line for line in shared if line.label is not None]
    findings = []
    if ours:
        findings.append(
            Finding(
                kind="line_of_class",
                severity="warning",
                what=f"{counted(len(ours), 'class has', 'classes have')} one first line on half "
                "of the documents or more, which no other class has",
                count=sum(line.documents for line in ours),
                examples=tuple(
                    f"{line.label} ({100 * line.share:.0f} %, such as {line.example})"
                    for line in ours[:EXAMPLES]
                ),
                training="learns the line instead of the subject",
                advice="Cut the line off, unless new documents will have it too.",
            )
        )
    common = [line for line in shared if line.label is None]
    if common:
        findings.append(
            Finding(
                kind="constant_line",
                severity="note",
                what=f"{100 * common[0].share:.0f} % of the documents begin with the same line",
                count=common[0].documents,
                examples=(common[0].example,),
                training="reads it in every document",
                advice="Cut it off: it costs time and tells nothing.",
            )
        )
    return findings
