"""Documents on their way through a cascade: which stage reads them, how far, in which order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longform.decision.certificate import StepRecord
from longform.inference.scorer import Verdict
from longform.types import Document, Floats, Integers, Segment, SegmentedDocument

EARLY_EXIT = "early_exit"
"""The reason, in the coverage, of a document of which a part was enough."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StagedSegment(Segment):
    """A segment of one stage.

    `token_ids` tells what it costs beside the segments of other stages, for whoever fills batches.

    Attributes:
        stage: Index of the stage.
        inner: The segment as that stage made it.
    """

    stage: int
    inner: Segment


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StagedDocument(SegmentedDocument):
    """What one step reads of a document, in the reading order of its stage.

    Attributes:
        document: The text, for the stages to come.
        stage: Index of the stage.
        step: Index of the step.
        whole: All that the stage could read, in the order of the text.
        margin: Confidence of the first step, once it is known.
        verdict: The answer, once there is one; then nothing is decided anew.
    """

    document: Document
    stage: int
    step: int
    whole: SegmentedDocument
    margin: float | None = None
    verdict: Verdict | None = None

    def in_text_order(self, vectors: Floats, width: int) -> tuple[SegmentedDocument, Floats]:
        """Return what was read as its stage knows it: its segments, in the order of the text.

        Args:
            vectors: float32 `[segments, widest]`, in reading order.
            width: Of the stage's own vectors.
        """
        # Of pairs, indices start anew with the second text.
        order = np.lexsort((self.positions[:, 0], self.positions[:, 3]))
        segments = tuple(_inner(self.segments[index]) for index in order)
        plain = SegmentedDocument(segments, self.positions[order], self.coverage, self.stop)
        return plain, np.ascontiguousarray(vectors[order, :width])


def stage_document(
    document: Document,
    whole: SegmentedDocument,
    step: int,
    record: StepRecord,
    *,
    is_cheap: bool = False,
) -> StagedDocument:
    """Prepare a document for a step.

    Args:
        document: Its text.
        whole: As the stage cut it.
        step: Index of the step.
        record: The stage that it asks, and the share of the segments that it reads; one at least
            is read.
        is_cheap: Whether the stage has no encoder: its segments then count as one token each.
    """
    stage = record.stage
    order = segments_at(len(whole.segments), record.depth)
    segments = tuple(_wrap(whole.segments[index], stage, is_cheap) for index in order)
    coverage = whole.coverage
    if len(segments) < len(whole.segments):
        coverage = coverage.of_part(segments, EARLY_EXIT)
    return StagedDocument(
        segments,
        whole.positions[order],
        coverage,
        whole.stop,
        document=document,
        stage=stage,
        step=step,
        whole=whole,
    )


def reading_order(count: int) -> Integers:
    """Return the order in which the segments of a document tell most: the ends before the middle.

    Two from the beginning, one from the end, and so on inwards: beginnings hold titles and
    summaries, ends hold conclusions.

    Args:
        count: Segments.

    Returns:
        int64 `[count]`, each index once; the beginning of the order does not depend on how far
        one reads.
    """
    order: list[int] = []
    first, last = 0, count - 1
    while first <= last:
        if len(order) % 3 == 2:
            order.append(last)
            last -= 1
        else:
            order.append(first)
            first += 1
    return np.array(order, dtype=np.int64)


def segments_at(count: int, depth: float) -> Integers:
    """Return which segments a share of a document is, in reading order, int64.

    Args:
        count: Segments of the document.
        depth: The share.
    """
    return reading_order(count)[: math.ceil(depth * count)]


def group_by_stage(segments: Sequence[Segment]) -> dict[int, list[tuple[int, Segment]]]:
    """Return the segments of each stage as it made them, each with its place."""
    groups: dict[int, list[tuple[int, Segment]]] = {}
    for place, segment in enumerate(segments):
        assert isinstance(segment, StagedSegment)
        groups.setdefault(segment.stage, []).append((place, segment.inner))
    return groups


def _wrap(segment: Segment, stage: int, is_cheap: bool) -> StagedSegment:
    return StagedSegment(
        segment.start,
        segment.end,
        segment.token_ids[:1] if is_cheap else segment.token_ids,
        segment.new_tokens,
        stage=stage,
        inner=segment,
    )


def _inner(segment: Segment) -> Segment:
    assert isinstance(segment, StagedSegment)
    return segment.inner
