"""A predictor without a model: its answers follow from the text alone, so a mix-up is visible."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace

from longform.decision.rule import DecisionRule
from longform.errors import InputError
from longform.inference.cache import CacheStatistics
from longform.types import Coverage, Document, Evidence, LabelScore, Prediction

LABELS = ("contract", "judgment", "news")


def expected_score(text: str) -> float:
    return 0.5 + (len(text) % 97) / 200


class StubPredictor:
    """Texts steer it: `hold` waits for `release`, `nan`, `crash`, `die` and `refuse` misbehave.

    Of several labels, `judgment` always has the highest score and a threshold that only texts of
    10 characters or more reach.
    """

    backend_info = SimpleNamespace(name="stub", device="cpu", precision="fp32")
    cache_statistics = CacheStatistics(hits=3, misses=5, entries=5, bytes=900)

    def __init__(self, *, text_pair: bool = False, multi_label: bool = False) -> None:
        description = SimpleNamespace(text_pair=text_pair)
        self.bundle = SimpleNamespace(digest="d" * 64, description=description)
        self.rule = DecisionRule(LABELS)
        if multi_label:
            thresholds = {"judgment": expected_score("x" * 10), "contract": 0.1}
            self.rule = DecisionRule(LABELS, "multi_label_classification", thresholds=thresholds)
        self.started = threading.Event()
        self.release = threading.Event()
        self.seen: list[str] = []
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

    def predict(self, texts: Sequence[Document], *, evidence: bool = False) -> list[Prediction]:
        self.seen.extend(document.text for document in texts)
        for document in texts:
            if document.text == "hold":
                self.started.set()
                assert self.release.wait(10)
            if document.text == "crash":
                raise RuntimeError("a secret passage of the document")
            if document.text == "die":
                raise SystemExit
            if document.text == "refuse":
                raise InputError("The text must be readable.", found="refuse")
        return [self._answer(document, evidence) for document in texts]

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
        )


def _coverage(document: Document) -> Coverage:
    if "long" in (document.text, document.text_pair):
        return Coverage(100, 40, 10, 4, truncated=True, reason="max_segments")
    tokens = len(document.text) + len(document.text_pair or "")
    return Coverage(tokens, tokens, 1, 1)
