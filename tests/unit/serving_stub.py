"""A predictor without a model: its answers follow from the text alone, so a mix-up is visible."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace

from longform.errors import InputError
from longform.types import Coverage, Evidence, LabelScore, Prediction


def expected_score(text: str) -> float:
    return 0.5 + (len(text) % 97) / 200


class StubPredictor:
    """Texts steer it: `hold` waits for `release`, `nan`, `crash`, `die` and `refuse` misbehave."""

    labels = ("contract", "judgment", "news")
    bundle = SimpleNamespace(digest="d" * 64)
    backend_info = SimpleNamespace(name="stub", device="cpu", precision="fp32")

    def __init__(self) -> None:
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

    def predict(self, texts: Sequence[str], *, evidence: bool = False) -> list[Prediction]:
        self.seen.extend(texts)
        for text in texts:
            if text == "hold":
                self.started.set()
                assert self.release.wait(10)
            if text == "crash":
                raise RuntimeError("a secret passage of the document")
            if text == "die":
                raise SystemExit
            if text == "refuse":
                raise InputError("The text must be readable.", found="refuse")
        return [self._answer(text, evidence) for text in texts]

    def _answer(self, text: str, evidence: bool) -> Prediction:
        score = float("nan") if text == "nan" else expected_score(text)
        rest = (1 - score) / 2
        coverage = Coverage(100, 40, 10, 4, truncated=True, reason="max_segments")
        if text != "long":
            coverage = Coverage(len(text), len(text), 1, 1)
        stretch = Evidence(0, 0, len(text), 0.25, "judgment")
        return Prediction(
            id="0",
            label="judgment",
            score=score,
            scores=(
                LabelScore("judgment", score),
                LabelScore("contract", rest),
                LabelScore("news", rest),
            ),
            coverage=coverage,
            evidence=(stretch,) if evidence else None,
        )
