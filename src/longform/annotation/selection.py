"""A pool of documents to a few tasks: what to label next, and which passages of it to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from longform.annotation.passages import Passage, choose_passages
from longform.annotation.pool import PoolCounts, PooledDocument, gather_candidates
from longform.annotation.strategies import (
    DEFAULT_STRATEGY,
    Candidates,
    Strategy,
    pick,
    uncertainty,
)
from longform.data.duplicates import find_duplicates, find_leaks
from longform.data.shingles import digest, fold
from longform.errors import InputError
from longform.inference.predictor import Predictor
from longform.reporting import Reporter, counted
from longform.types import Document, Floats, Integers

_HELD_FOR_EACH = 20
"""Documents held for each that is wanted: near-copies and spreading use them up."""
_LEAST_HELD = 500
_LABELS_ASKED = 2


@dataclass(frozen=True, slots=True)
class SelectionPlan:
    """What to pick.

    Attributes:
        count: Documents.
        strategy: How they are picked.
        passages: Share of each text that its passages may have.
        near: Whether near-copies are looked for, and not only equal texts.
        seed: Of what is drawn.
    """

    count: int
    strategy: Strategy = DEFAULT_STRATEGY
    passages: float = 0.1
    near: bool = True
    seed: int = 42


@dataclass(frozen=True, slots=True)
class Task:
    """A document to be labelled.

    Attributes:
        document: As the pool has it.
        predicted: What the model would say: one label, or any number.
        scores: Label -> probability, the likeliest first; a few.
        uncertainty: By margin, 0 to 1, whatever picked the document.
        passages: What to read of it.
        tokens: Of the whole document.
        passage_tokens: Of the passages.
    """

    document: Document
    predicted: tuple[str, ...]
    scores: dict[str, float]
    uncertainty: float
    passages: tuple[Passage, ...]
    tokens: int
    passage_tokens: int

    @property
    def characters(self) -> int:
        """Of the whole document."""
        return len(self.document.text) + len(self.document.text_pair or "")

    @property
    def passage_characters(self) -> int:
        """Of the passages."""
        return sum(len(passage.text) for passage in self.passages)


@dataclass(frozen=True, slots=True)
class Selection:
    """What was picked of a pool.

    Attributes:
        tasks: What to label first first.
        counts: What became of the documents of the pool.
        copies: Candidates left out as near-copies of labelled documents.
        plan: What was asked for.
        notes: What the user should know.
    """

    tasks: tuple[Task, ...]
    counts: PoolCounts
    copies: int
    plan: SelectionPlan
    notes: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Return the figures, without the texts."""
        tokens = sum(task.tokens for task in self.tasks)
        passages = sum(task.passage_tokens for task in self.tasks)
        return {
            "documents": len(self.tasks),
            "strategy": self.plan.strategy,
            "pool": {**asdict(self.counts), "near_copies_of_labelled": self.copies},
            "tokens": tokens,
            "passage_tokens": passages,
            "passage_share": round(passages / tokens, 4) if tokens else 0.0,
            "characters": sum(task.characters for task in self.tasks),
            "passage_characters": sum(task.passage_characters for task in self.tasks),
            "labels": _count_labels(self.tasks),
            "ids": [task.document.id for task in self.tasks],
            "notes": list(self.notes),
        }


def select(
    predictor: Predictor,
    pool: Iterable[Document],
    plan: SelectionPlan,
    labelled: Sequence[Document] = (),
    reporter: Reporter | None = None,
    total: int | None = None,
) -> Selection:
    """Pick the documents of a pool that are worth labelling.

    Args:
        predictor: The model to be taught.
        pool: Documents without labels, read once; only some are held.
        plan: What to pick.
        labelled: Documents that have labels: neither they nor near-copies of them are picked.
        reporter: Told how it goes.
        total: Documents of the pool, where it is known.

    Raises:
        InputError: No document is left to pick.
        MissingExtraError: Near-copies are looked for and a library is missing.
    """
    reporter = reporter or Reporter()
    generator = np.random.default_rng(plan.seed)
    known = frozenset(digest(fold(document)) for document in labelled)
    limit = max(_LEAST_HELD, _HELD_FOR_EACH * plan.count)
    with reporter.track("Reading the pool", total or 0) as advance:
        held, counts = gather_candidates(
            predictor, pool, plan.strategy, limit, known, generator, advance
        )
    kept, clusters, copies, notes = _without_copies(held, labelled, plan, reporter)
    if not kept:
        raise InputError(
            "The pool must hold documents that are not labelled yet.",
            found=f"{counted(counts.documents, 'document')} read: {counts.labelled:,} are labelled "
            f"already, {copies:,} are near-copies of such, {counts.unreadable:,} have no token",
            fix="Give a file of other documents with --data.",
        )
    logits = np.stack([item.logits for item in kept])
    candidates = Candidates(
        probabilities=predictor.rule.probabilities(logits, _tokens(kept)),
        vectors=np.stack([item.vector for item in kept]),
        priorities=np.array([item.priority for item in kept]),
        clusters=clusters,
    )
    picked = pick(plan.strategy, candidates, plan.count, generator)
    tasks = []
    with reporter.track("Choosing passages", len(picked)) as advance:
        for index in picked:
            tasks.append(_make_task(predictor, kept[index], plan.passages))
            advance(1)
    if len(tasks) < plan.count:
        notes = (*notes, f"{len(tasks):,} of {plan.count:,} wanted: the pool has no more")
    return Selection(tuple(tasks), counts, copies, plan, notes)


def _without_copies(
    held: Sequence[PooledDocument],
    labelled: Sequence[Document],
    plan: SelectionPlan,
    reporter: Reporter,
) -> tuple[list[PooledDocument], Integers, int, tuple[str, ...]]:
    """Leave out near-copies of labelled documents, and number those that are alike."""
    documents = [item.document for item in held]
    notes: tuple[str, ...] = ()
    copies: set[int] = set()
    if documents and labelled and plan.near:
        leaks = find_leaks(documents, labelled, reporter)
        copies, notes = set(leaks.train), leaks.notes
    kept = [item for index, item in enumerate(held) if index not in copies]
    if not kept:
        return [], np.zeros(0, dtype=np.int64), len(copies), notes
    duplicates = find_duplicates([item.document for item in kept], reporter, near=plan.near)
    return kept, duplicates.cluster_ids, len(copies), (*notes, *duplicates.notes)


def _tokens(items: Sequence[PooledDocument]) -> Integers:
    return np.array([item.tokens for item in items], dtype=np.int64)


def _make_task(predictor: Predictor, item: PooledDocument, share: float) -> Task:
    rule = predictor.rule
    probabilities: Floats = rule.probabilities(item.logits[np.newaxis], _tokens([item]))
    order = np.argsort(-probabilities[0], kind="stable")[: _LABELS_ASKED + 1].tolist()
    scores = {rule.labels[place]: float(probabilities[0, place]) for place in order}
    likeliest = list(scores)[:_LABELS_ASKED]
    if rule.is_multi_label:
        flags = rule.chosen(probabilities)[0]
        predicted = tuple(name for name, given in zip(rule.labels, flags, strict=True) if given)
    else:
        predicted = (likeliest[0],)
    scorer = predictor.scorer
    (reading,) = scorer.read([item.document])
    passages = choose_passages(scorer, item.document, reading, rule, likeliest, share)
    return Task(
        document=item.document,
        predicted=predicted,
        scores=scores,
        uncertainty=float(uncertainty("margin", probabilities, rule)[0]),
        passages=passages,
        tokens=item.tokens,
        passage_tokens=_count_tokens(predictor, item, passages),
    )


def _count_tokens(predictor: Predictor, item: PooledDocument, passages: Sequence[Passage]) -> int:
    """Count the tokens of the passages by the model's own tokenizer."""
    if item.document.text_pair is not None:
        # One text cannot be read without the other: by their share of the characters.
        whole = len(item.document.text) + len(item.document.text_pair)
        return round(item.tokens * sum(len(part.text) for part in passages) / whole)
    texts = [Document(item.document.id, passage.text) for passage in passages]
    return sum(found.coverage.tokens_total for found in predictor.segment(texts))


def _count_labels(tasks: Sequence[Task]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for task in tasks:
        for label in task.predicted or ("(none)",):
            counts[label] = counts.get(label, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
