"""Segments of many documents to encoder batches: sorted by length, filled to a token budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from longform.shapes import Bucket, ShapePlan
from longform.types import Floats, Integers, Segment, SegmentBatch, SegmentedDocument

Scalar = TypeVar("Scalar", bound=np.generic)


def pack_segments(
    lengths: Sequence[int], token_budget: int, plan: ShapePlan | None = None, streams: int = 1
) -> Iterator[list[int]]:
    """Group segments of similar length into batches.

    Args:
        lengths: Tokens of each segment.
        token_budget: Most padded tokens of a batch (rows times its longest row); a longer segment
            makes a batch of its own.
        plan: The shapes that batches are padded to, and their most rows.
        streams: Batches that run at once: few segments are shared out, so that no stream is idle.

    Yields:
        Indices of the segments of one batch, longest first. Each index comes once.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batch: list[int] = []
    most_rows, share = 0, -(-len(lengths) // streams)
    for index in order:
        if batch and len(batch) >= most_rows:
            yield batch
            batch = []
        if not batch:
            # The first of a batch is its longest, so the batch's width never grows.
            bucket = (
                Bucket(lengths[index], len(lengths))
                if plan is None
                else plan.bucket(lengths[index])
            )
            most_rows = min(bucket.rows, token_budget // bucket.length, share)
        batch.append(index)
    if batch:
        yield batch


def collate_segments(
    segments: Sequence[Segment], pad_id: int, plan: ShapePlan | None = None
) -> SegmentBatch:
    """Pad segments to the longest of them, or to the bucket that holds it."""
    width = max(len(segment.token_ids) for segment in segments)
    width = width if plan is None else plan.bucket(width).length
    input_ids = np.full((len(segments), width), pad_id, dtype=np.int64)
    attention_mask = np.zeros((len(segments), width), dtype=np.int64)
    for row, segment in enumerate(segments):
        length = len(segment.token_ids)
        input_ids[row, :length] = segment.token_ids
        attention_mask[row, :length] = 1
    return SegmentBatch(input_ids, attention_mask)


def stack_documents(
    vectors: Sequence[Floats], positions: Sequence[Floats]
) -> tuple[Floats, Floats, Floats]:
    """Pad the segment vectors of documents to the document with most segments.

    Args:
        vectors: For each document, float32 `[its segments, width]`.
        positions: For each document, float32 `[its segments, 4]`.

    Returns:
        Vectors `[docs, segments, width]`, mask `[docs, segments]` and positions
        `[docs, segments, 4]`, all float32.
    """
    longest = max(len(rows) for rows in vectors)
    count, width = len(vectors), vectors[0].shape[1]
    stacked = np.zeros((count, longest, width), dtype=np.float32)
    mask = np.zeros((count, longest), dtype=np.float32)
    places = np.zeros((count, longest, positions[0].shape[1]), dtype=np.float32)
    for row, (vector, position) in enumerate(zip(vectors, positions, strict=True)):
        stacked[row, : len(vector)] = vector
        mask[row, : len(vector)] = 1.0
        places[row, : len(vector)] = position
    return stacked, mask, places


def split_by_document(
    rows: NDArray[Scalar], documents: Sequence[SegmentedDocument]
) -> list[NDArray[Scalar]]:
    """Undo the joining of all documents' segments: `[all segments, width]` to one array each."""
    if not documents:
        return []
    counts: Integers = np.array([len(document.segments) for document in documents])
    return list(np.split(rows, np.cumsum(counts)[:-1]))
