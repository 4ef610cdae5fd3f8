"""A predictor without a model: its answers follow from the text alone, so a mix-up is visible."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from longform.decision.rule import DecisionRule
from longform.errors import InputError
from longform.inference.cache import CacheStatistics
from longform.inference.scorer import EncodedSegments, Reading
from longform.serving.failures import NotReadyError
from longform.serving.models import ModelRegistry
from longform.serving.service import ServiceState
from longform.types import (
    Coverage,
    Document,
    Evidence,
    LabelScore,
    Prediction,
    Segment,
    SegmentedDocument,
)

LABELS = ("contract", "judgment", "news")


def codes(text: str) -> np.ndarray:
    return np.array([ord(character) for character in text], dtype=np.int32)


def expected_score(text: str) -> float:
    return 0.5 + (len(text) % 97) / 200


def registry_of(load, name: str = "default", **settings) -> ModelRegistry:
    """Return a registry with one model, opened by a function."""
    registry = ModelRegistry(lambda _: load(), **settings)
    registry.add(name, Path("bundle"))
    return registry


def wait_until_opened(registry: ModelRegistry, timeout: float = 5) -> ServiceState:
    return registry.find().serving.service.wait_until_opened(timeout)


class StubPredictor:
    """Texts steer it: `hold` waits for `release`, `nan`, `crash`, `die` and `refuse` misbehave,
    and of `unsure` it abstains.

    Of several labels, `judgment` always has the highest score and a threshold that only texts of
    10 characters or more reach.
    """

    backend_info = SimpleNamespace(name="stub", device="cpu", precision="fp32")
    cache_statistics = CacheStatistics(hits=3, misses=5, entries=5, bytes=900)
    cascade_statistics = None
    devices = 1
    is_available = True
    device_states = ()
    segment_length = 1_000
    seconds_per_batch = 0.0

    def __init__(self, *, text_pair: bool = False, multi_label: bool = False) -> None:
        knobs = SimpleNamespace(segments=SimpleNamespace(segment_length=self.segment_length))
        description = SimpleNamespace(text_pair=text_pair, knobs=knobs, training={})
        self.bundle = SimpleNamespace(digest="d" * 64, description=description)
        self.rule = DecisionRule(LABELS)
        if multi_label:
            thresholds = {"judgment": expected_score("x" * 10), "contract": 0.1}
            self.rule = DecisionRule(LABELS, "multi_label_classification", thresholds=thresholds)
        self.started = threading.Event()
        self.release = threading.Event()
        self.seen: list[str] = []
        self.batches: list[list[str]] = []
        self.calls: list[str] = []
        self.is_broken = False

    def warm_up(self) -> None:
        self.calls.append("warm_up")

    def check_golden(self) -> None:
        self.calls.append("check_golden")
        if self.is_broken:
            raise RuntimeError("the device is gone")

    def close(self) -> None:
        self.calls.append("close")

    def pending_audits(self) -> list[Document]:
        return []

    def segment(self, documents: Sequence[Document]) -> list[SegmentedDocument]:
        for document in documents:
            if document.text == "refuse":
                raise InputError("The text must be readable.", found="refuse")
        return [self._cut(document) for document in documents]

    def _cut(self, document: Document) -> SegmentedDocument:
        text, length = document.text, self.segment_length
        segments = tuple(
            Segment(start, min(start + length, len(text)), codes(text[start : start + length]))
            for start in range(0, len(text), length)
        )
        coverage = _coverage(document)
        if len(segments) > 1:
            segments = tuple(replace(one, new_tokens=len(one.token_ids)) for one in segments)
            coverage = Coverage(len(text), len(text), len(segments), len(segments))
        positions = np.zeros((len(segments), 4), dtype=np.float32)
        return SegmentedDocument(segments, positions, coverage)

    def encode_segments(self, segments: Sequence[Segment]) -> EncodedSegments:
        texts = ["".join(map(chr, segment.token_ids)) for segment in segments]
        self.seen.extend(texts)
        self.batches.append(texts)
        for text in texts:
            if text == "hold":
                self.started.set()
                assert self.release.wait(10)
            if text == "crash":
                raise RuntimeError("a secret passage of the document")
            if text == "die":
                raise SystemExit
            if text == "away":
                raise NotReadyError("The device must be there.", found="it is away")
        time.sleep(self.seconds_per_batch)
        tokens = sum(map(len, texts))
        return EncodedSegments(np.zeros((len(texts), 1), dtype=np.float32), tokens, tokens)

    def conclude(
        self,
        documents: Sequence[Document],
        readings: Sequence[Reading],
        *,
        evidence: bool = False,
        raw_scores: bool = False,
    ) -> list[Prediction]:
        answers = [self._answer(document, evidence) for document in documents]
        return [
            replace(answer, coverage=reading.document.coverage)
            for answer, reading in zip(answers, readings, strict=True)
        ]

    def _answer(self, document: Document, evidence: bool) -> Prediction:
        text = document.text
        score = float("nan") if text == "nan" else expected_score(text)
        rest = (1 - score) / 2
        scores = (
            LabelScore("judgment", score),
            LabelScore("contract", rest),
            LabelScore("news", rest),
        )
        labels = None
        if self.rule.is_multi_label:
            labels = tuple(
                entry for entry in scores if entry.score >= self.rule.threshold(entry.label)
            )
        stretches = [Evidence(0, 0, len(text), 0.25, "judgment")]
        if document.text_pair is not None:
            stretches.append(Evidence(1, 0, len(document.text_pair), -0.5, "judgment", part=1))
        return Prediction(
            id=document.id,
            label="judgment",
            score=score,
            scores=scores,
            coverage=_coverage(document),
            evidence=tuple(stretches) if evidence else None,
            labels=labels,
            calibrated=text == "unsure",
            abstained=text == "unsure",
            prediction_set=("judgment", "news") if text == "unsure" else None,
        )


def _coverage(document: Document) -> Coverage:
    if "long" in (document.text, document.text_pair):
        return Coverage(100, 40, 10, 4, truncated=True, reason="max_segments")
    tokens = len(document.text) + len(document.text_pair or "")
    return Coverage(tokens, tokens, 1, 1)
