"""Stages of a cascade whose answers follow from the letters of a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from longform.backends.base import BackendInfo
from longform.decision.certificate import (
    Certificate,
    StageRecord,
    StepRecord,
    UnsureRecord,
)
from longform.decision.rule import DecisionRule
from longform.errors import InputError
from longform.inference.cascade import CascadeScorer, Stage
from longform.inference.scorer import EncodedSegments, Scorer
from longform.types import Coverage, Document, Floats, Segment, SegmentedDocument

LABELS = ("a", "b", "c")


class LetterScorer(Scorer):
    """Counts the letters a, b and c; `swapped` takes each b for a c and each c for a b."""

    def __init__(self, length: int, *, swapped: bool = False, width: int = 3) -> None:
        self.length, self.swapped, self.width = length, swapped, width
        self.seen: list[str] = []
        self.batches: list[int] = []
        self.closed = False

    @property
    def info(self) -> BackendInfo:
        return BackendInfo("letters", "cpu", "fp32", self.width, 1)

    def segment(self, documents: Sequence[Document]) -> list[SegmentedDocument]:
        return [self._cut(document) for document in documents]

    def _cut(self, document: Document) -> SegmentedDocument:
        text, length = document.text, self.length
        if not text:
            raise InputError("The text must not be empty.")
        segments = tuple(
            Segment(
                start,
                min(start + length, len(text)),
                np.array([ord(letter) for letter in text[start : start + length]], dtype=np.int32),
                len(text[start : start + length]),
            )
            for start in range(0, len(text), length)
        )
        count = len(segments)
        positions = np.zeros((count, 4), dtype=np.float32)
        positions[:, 0] = np.arange(count)
        return SegmentedDocument(segments, positions, Coverage(len(text), len(text), count, count))

    def encode_segments(self, segments: Sequence[Segment]) -> EncodedSegments:
        rows = np.zeros((len(segments), self.width), dtype=np.float32)
        self.batches.append(len(segments))
        for row, segment in zip(rows, segments, strict=True):
            self.seen.append("".join(map(chr, segment.token_ids)))
            for column, letter in enumerate("acb" if self.swapped else "abc"):
                row[column] = (segment.token_ids == ord(letter)).sum()
        tokens = sum(len(segment.token_ids) for segment in segments)
        return EncodedSegments(rows, tokens, tokens)

    def score_readings(self, vectors: list[Floats], positions: list[Floats]) -> Floats:
        for own, places in zip(vectors, positions, strict=True):
            assert own.shape[1] == self.width
            # A recurrent head would go astray.
            assert (np.diff(places[:, 0]) > 0).all()
        return np.stack([own[:, :3].sum(axis=0) for own in vectors])

    def check_golden(self) -> float:
        return 0.0

    def warm_up(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def make_certificate(
    steps: Sequence[tuple[int, float, float | None]],
    *,
    unsure: tuple[UnsureRecord, ...] = (),
    is_certified: bool = True,
) -> Certificate:
    """Return a certificate with steps of (stage, depth, threshold)."""
    stages = 1 + max(stage for stage, _, _ in steps)
    return Certificate(
        loss="disagreement",
        risk=0.01,
        delta=0.05,
        documents=1_000,
        losses=1,
        p_value=0.01,
        exited=0.5,
        is_certified=is_certified,
        documents_needed=299,
        audited_share=0.01,
        stages=tuple(
            StageRecord(digest=f"{n}" * 64, name=f"s{n}", kind="neural", seconds_per_document=0.1)
            for n in range(stages)
        ),
        steps=tuple(
            StepRecord(stage=stage, depth=depth, threshold=threshold)
            for stage, depth, threshold in steps
        ),
        path=(),
        unsure=unsure,
    )


def make_cascade(
    certificate: Certificate, *scorers: LetterScorer, temperatures: Sequence[float] = (), **options
) -> CascadeScorer:
    stages = [
        Stage(scorer, DecisionRule(LABELS, temperature=temperatures[n] if temperatures else 1.0))
        for n, scorer in enumerate(scorers)
    ]
    return CascadeScorer(stages, certificate, seed=0, **options)
