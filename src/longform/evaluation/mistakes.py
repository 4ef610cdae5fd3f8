"""The mistakes that a person should look at first: those the model was most certain of."""

from __future__ import annotations

import heapq
from dataclasses import asdict, dataclass
from typing import Any

from longform.text.excerpts import make_excerpt
from longform.types import Document, Prediction

MAX_MISTAKES = 20
"""Mistakes that are shown, the most certain ones."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A document whose predicted label is not its own.

    Attributes:
        id: The document's id.
        label: Its true label, or labels.
        predicted: What it was given.
        score: Probability of the predicted label; where there may be several, certainty of the
            surest wrong decision.
        label_score: Probability of the true label, or of that decision's opposite.
        tokens: Length of the whole document.
        excerpt: The beginning of its text on one line, without what cannot be seen.
    """

    id: str
    label: str
    predicted: str
    score: float
    label_score: float
    tokens: int
    excerpt: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields without the excerpt: logs are no place for texts of documents."""
        content = asdict(self)
        del content["excerpt"]
        return content


class WorstMistakes:
    """Keeps the most certain mistakes of any number of documents; of equal ones, the first."""

    def __init__(self, limit: int = MAX_MISTAKES) -> None:
        self._limit = limit
        self._heap: list[tuple[float, int, Mistake]] = []
        self._seen = 0

    def add(self, document: Document, prediction: Prediction) -> None:
        """Look at the answer for a labelled document."""
        self._seen += 1
        wrong = _compare(document, prediction)
        if wrong is None or (len(self._heap) == self._limit and wrong.score <= self._heap[0][0]):
            return
        mistake = Mistake(
            id=document.id,
            **asdict(wrong),
            tokens=prediction.coverage.tokens_total,
            excerpt=make_excerpt(document.text),
        )
        # No two numbers are equal, so mistakes themselves are never compared.
        heapq.heappush(self._heap, (wrong.score, -self._seen, mistake))
        if len(self._heap) > self._limit:
            heapq.heappop(self._heap)

    def most_certain_first(self) -> tuple[Mistake, ...]:
        """Return what was kept."""
        return tuple(mistake for *_, mistake in sorted(self._heap, reverse=True))


@dataclass(frozen=True, slots=True)
class _Wrong:
    label: str
    predicted: str
    score: float
    label_score: float


def _compare(document: Document, prediction: Prediction) -> _Wrong | None:
    """Return what is wrong with an answer, or None."""
    score_of = {entry.label: entry.score for entry in prediction.scores}
    if prediction.labels is None:
        if prediction.label == document.label:
            return None
        label = str(document.label)
        return _Wrong(label, prediction.label, prediction.score, score_of[label])
    given, meant = {entry.label for entry in prediction.labels}, set(document.labels or ())
    if given == meant:
        return None
    # The surest of the wrong decisions: a label given that is not meant, or left out that is.
    sure = max(
        max((score_of[name] for name in given - meant), default=0.0),
        max((1.0 - score_of[name] for name in meant - given), default=0.0),
    )
    return _Wrong(_join(meant), _join(given), sure, 1.0 - sure)


def _join(labels: set[str]) -> str:
    return ", ".join(sorted(labels)) or "no label"
