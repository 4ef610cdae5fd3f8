"""A pool of documents of any size, read once: only the most promising ones are held."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from longform.annotation.strategies import Strategy, prioritize
from longform.data.shingles import digest, fold
from longform.errors import InputError
from longform.inference.linear import FeatureSegment
from longform.inference.predictor import Predictor, windows
from longform.inference.scorer import Reading
from longform.types import Document, Floats

VECTOR_SIZE = 256
"""Numbers that tell what a document is like, where its features are more than that."""


@dataclass(frozen=True, slots=True, eq=False)
class PooledDocument:
    """A document that may be picked.

    Attributes:
        document: As the pool has it.
        logits: float32 `[classes]`.
        vector: float32 `[width]`, what it is like.
        priority: How much it is worth keeping.
        tokens: Of the whole document.
        order: Its place in the pool, counted from 0.
    """

    document: Document
    logits: Floats
    vector: Floats
    priority: float
    tokens: int
    order: int


@dataclass(slots=True)
class PoolCounts:
    """What became of the documents of a pool.

    Attributes:
        documents: Read.
        unreadable: Left out, since the model finds no token in them.
        labelled: Left out, since a labelled document has the same text.
        repeated: Left out, since a kept document has the same text.
    """

    documents: int = 0
    unreadable: int = 0
    labelled: int = 0
    repeated: int = 0


def gather_candidates(
    predictor: Predictor,
    pool: Iterable[Document],
    strategy: Strategy,
    limit: int,
    known: frozenset[bytes],
    generator: np.random.Generator,
    on_read: Callable[[int], None] = lambda amount: None,
) -> tuple[list[PooledDocument], PoolCounts]:
    """Read a pool and keep its most promising documents; memory does not grow with the pool.

    Args:
        predictor: The model.
        pool: Documents, read once.
        strategy: By which documents will be picked.
        limit: Documents to keep.
        known: Digests of labelled texts, which are not picked again.
        generator: Draws the samples of strategies that ask for no uncertainty.
        on_read: Called with each number of documents that is done.

    Returns:
        The documents, the most promising first, and what became of the others.
    """
    kept: dict[bytes, PooledDocument] = {}
    heap: list[tuple[float, int, bytes]] = []
    counts = PoolCounts()
    for window in windows(pool):
        fresh = list(_fresh(window, kept, known, counts))
        before = counts.documents
        counts.documents += len(window)
        readings = _read([document for document, _ in fresh], predictor, counts)
        for item in _score(readings, predictor, strategy, generator, before):
            key = digest(fold(item.document))
            # Of equal priorities, the earlier document is kept.
            heapq.heappush(heap, (item.priority, -item.order, key))
            kept[key] = item
            if len(heap) > limit:
                del kept[heapq.heappop(heap)[2]]
        on_read(len(window))
    ranked = sorted(kept.values(), key=lambda item: (-item.priority, item.order))
    return ranked, counts


def _fresh(
    window: list[Document],
    kept: dict[bytes, PooledDocument],
    known: frozenset[bytes],
    counts: PoolCounts,
) -> Iterator[tuple[Document, bytes]]:
    """Yield the documents of a window whose text is neither labelled nor held already."""
    seen: set[bytes] = set()
    for document in window:
        key = digest(fold(document))
        if key in known:
            counts.labelled += 1
        elif key in kept or key in seen:
            counts.repeated += 1
        else:
            seen.add(key)
            yield document, key


def _read(
    documents: list[Document], predictor: Predictor, counts: PoolCounts
) -> list[tuple[Document, Reading]]:
    """Read documents; those without a token for the model are left out and counted."""
    if not documents:
        return []
    try:
        return list(zip(documents, predictor.scorer.read(documents), strict=True))
    except InputError:
        if len(documents) == 1:
            counts.unreadable += 1
            return []
    # One of them cannot be read: halves find it, and a fault of all of them shows in each.
    middle = len(documents) // 2
    return [
        *_read(documents[:middle], predictor, counts),
        *_read(documents[middle:], predictor, counts),
    ]


def _score(
    readings: list[tuple[Document, Reading]],
    predictor: Predictor,
    strategy: Strategy,
    generator: np.random.Generator,
    before: int,
) -> Iterator[PooledDocument]:
    if not readings:
        return
    logits = predictor.scorer.score_readings(
        [reading.vectors for _, reading in readings],
        [reading.document.positions for _, reading in readings],
    )
    tokens = [reading.document.coverage.tokens_total for _, reading in readings]
    probabilities = predictor.rule.probabilities(logits, np.array(tokens, dtype=np.int64))
    priorities = prioritize(strategy, probabilities, predictor.rule, generator)
    for row, (document, reading) in enumerate(readings):
        yield PooledDocument(
            document=document,
            logits=logits[row],
            vector=describe(reading),
            priority=float(priorities[row]),
            tokens=tokens[row],
            order=before + row,
        )


def describe(reading: Reading) -> Floats:
    """Return what a document is like, in at most a few hundred numbers.

    Of a neural model, the mean of the segment vectors. Of a linear one, whose vectors are logits,
    its n-grams, hashed into a short vector with random signs, which keeps inner products in the
    mean (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", 2009).

    Returns:
        float32 `[width]`.
    """
    features = [item for item in reading.document.segments if isinstance(item, FeatureSegment)]
    if not features:
        mean: Floats = reading.vectors.mean(axis=0)
        return mean
    vector = np.zeros(VECTOR_SIZE, dtype=np.float64)
    for segment in features:
        # Multiplicative hashing (Knuth): the high bits are mixed best.
        mixed = segment.token_ids.astype(np.uint32) * np.uint32(2654435761)
        signs = 1.0 - 2.0 * (mixed >> np.uint32(31)).astype(np.float64)
        places = (mixed >> np.uint32(16)) % np.uint32(VECTOR_SIZE)
        vector += np.bincount(places, weights=signs * segment.values, minlength=VECTOR_SIZE)
    return vector.astype(np.float32)
