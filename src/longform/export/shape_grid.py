"""A grid of shapes that a target must compute as the reference does: batches, lengths, documents.

Real documents show what an answer costs; they rarely hold a segment of one token, a document of 200
segments beside one of one, or a row that is all padding. What goes wrong there is nearly always the
graph, not the precision: a mask that was lost, a shape that was frozen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from longform.backends.base import Backend
from longform.types import POSITION_FEATURES, Floats, SegmentBatch

_BATCHES = ((1, 1), (1, 2), (2, 7), (5, 16), (3, 33), (9, 64), (2, 1_000_000), (17, 24))
"""Rows and tokens of encoder batches; tokens are capped at the segment length."""
_DOCUMENTS = (1, 2, 3, 17, 64, 200)
"""Segments of the documents that share one batch of the head."""


@dataclass(frozen=True, slots=True)
class GridResult:
    """How far a target is from the reference over the grid.

    Attributes:
        difference: Largest difference of a logit; infinite where a number is not finite.
        shape: The shape that it was found at, in words.
        mask_difference: Largest change of a logit, to the target's own answer, when the token ids
            under the mask are others: nothing in a graph that reads its mask.
    """

    difference: float
    shape: str
    mask_difference: float = 0.0


class ShapeGrid:
    """The grid, with the reference's answers.

    Vectors of segments are compared by the logits that the reference's head makes of each, as of
    a document of one segment, so that all differences have one unit.

    Args:
        reference: The trained model in fp32.
        segment_length: Tokens of the longest segment.
        vocabulary_size: Bound on the token ids.
        seed: Of the random token ids.
    """

    def __init__(
        self, reference: Backend, segment_length: int, vocabulary_size: int, seed: int = 0
    ) -> None:
        self._reference = reference
        self._vocabulary_size = vocabulary_size
        generator = np.random.default_rng(seed)
        self._batches = list(_make_batches(generator, segment_length, vocabulary_size))
        encoded = [reference.encode(batch)[real] for batch, real, _ in self._batches]
        self._answers = [self._logits(vectors) for vectors in encoded]
        self._documents = _make_documents(generator, np.concatenate(encoded))
        self._scored = reference.score(*self._documents)

    def compare(self, target: Backend) -> GridResult:
        """Return the largest difference of a target, and where it is."""
        shape = f"documents of {', '.join(map(str, _DOCUMENTS))} segments together"
        found = [(_largest(target.score(*self._documents), self._scored), shape)]
        masked = 0.0
        for (batch, real, shape), expected in zip(self._batches, self._answers, strict=True):
            vectors, others = target.encode(batch), target.encode(self._under_mask(batch))
            # What stands in a row of padding is never read; it must not reach the others.
            logits = self._logits(vectors[real])
            found.append((_largest(logits, expected), shape))
            masked = max(masked, _largest(self._logits(others[real]), logits))
        difference, shape = max(found)
        return GridResult(difference, shape, masked)

    def _under_mask(self, batch: SegmentBatch) -> SegmentBatch:
        """Exchange the token ids that the mask hides."""
        other = (batch.input_ids + self._vocabulary_size // 2) % self._vocabulary_size
        ids = np.where(batch.attention_mask == 1, batch.input_ids, other)
        return SegmentBatch(ids, batch.attention_mask)

    def _logits(self, vectors: Floats) -> Floats:
        """Score each vector, float32 `[segments, width]`, as a document of its own."""
        count = len(vectors)
        positions = np.zeros((count, 1, POSITION_FEATURES), dtype=np.float32)
        positions[:, :, 2] = 1.0
        mask = np.ones((count, 1), dtype=np.float32)
        return self._reference.score(vectors[:, np.newaxis], mask, positions)


def _make_batches(
    generator: np.random.Generator, segment_length: int, vocabulary_size: int
) -> Iterator[tuple[SegmentBatch, list[int], str]]:
    """Yield batches of ragged rows, the numbers of their real rows, and the shape in words."""
    for rows, tokens in _BATCHES:
        width = min(tokens, segment_length)
        ids = generator.integers(0, vocabulary_size, (rows, width))
        lengths = generator.integers(1, width + 1, rows)
        lengths[0] = width
        # Every third row of a batch is all padding, as a fixed shape leaves them.
        padding = [row for row in range(rows) if row % 3 == 2]
        lengths[padding] = 0
        mask = (np.arange(width) < lengths[:, np.newaxis]).astype(np.int64)
        real = [row for row in range(rows) if row not in padding]
        words = f"{rows} segments of up to {width} tokens"
        if padding:
            words += f", {len(padding)} of them all padding"
        # What is masked must not matter, so it is not the padding token.
        yield SegmentBatch(ids, mask), real, words


def _make_documents(
    generator: np.random.Generator, encoded: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return vectors, mask and positions of documents made of segments that were encoded."""
    counts = np.array(_DOCUMENTS)
    longest = int(counts.max())
    vectors = encoded[generator.integers(0, len(encoded), (len(counts), longest))]
    mask = (np.arange(longest) < counts[:, np.newaxis]).astype(np.float32)
    positions = np.zeros((len(counts), longest, POSITION_FEATURES), dtype=np.float32)
    positions[:, :, 0] = np.arange(longest)
    positions[:, :, 1] = np.minimum(np.arange(longest) / counts[:, np.newaxis], 1.0)
    positions[:, :, 2] = np.minimum(np.arange(1, longest + 1) / counts[:, np.newaxis], 1.0)
    return vectors, mask, positions


def _largest(found: Floats, expected: Floats) -> float:
    difference = float(np.abs(found - expected).max(initial=0.0))
    return difference if np.isfinite(difference) else float("inf")
