"""The mistakes that a person should look at first: those the model was most certain of."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from longform.text.excerpts import make_excerpt
from longform.types import Document, Evidence, Prediction

MAX_MISTAKES = 20
"""Mistakes that are shown, the most certain ones."""

MAX_PASSAGES = 2
"""Passages that are shown of a mistake, those that decided most."""

_LEAST_SUPPORT = 0.005
"""Probability below which a passage decided nothing that a rounded figure would show."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document that spoke for what the document was given.

    Attributes:
        text: Its beginning on one line.
        label: The label it spoke for.
        score: Probability of the label that is lost when the stretch is left out.
        part: Which text it stands in: 0, or 1 for the second text of a pair.
    """

    text: str
    label: str
    score: float
    part: int


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
        passages: What decided, most telling first; empty where no single passage did, None where
            it was not looked for.
    """

    id: str
    label: str
    predicted: str
    score: float
    label_score: float
    tokens: int
    excerpt: str
    passages: tuple[Passage, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields without texts: logs are no place for those of documents."""
        content = asdict(self)
        del content["excerpt"], content["passages"]
        return content


class WorstMistakes:
    """Keeps the most certain mistakes of any number of documents; of equal ones, the first."""

    def __init__(self, limit: int = MAX_MISTAKES) -> None:
        self._limit = limit
        self._heap: list[tuple[float, int, Mistake, Document]] = []
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
        heapq.heappush(self._heap, (wrong.score, -self._seen, mistake, document))
        if len(self._heap) > self._limit:
            heapq.heappop(self._heap)

    def most_certain_first(self) -> list[tuple[Mistake, Document]]:
        """Return what was kept, each with its document."""
        return [(mistake, document) for *_, mistake, document in sorted(self._heap, reverse=True)]


def choose_passages(document: Document, evidence: Iterable[Evidence]) -> tuple[Passage, ...]:
    """Return the passages of a document that decided most, most telling first."""
    telling = sorted(
        (item for item in evidence if item.score >= _LEAST_SUPPORT),
        key=lambda item: -item.score,
    )
    texts = (document.text, document.text_pair or "")
    return tuple(
        Passage(
            make_excerpt(texts[item.part][item.start : item.end]),
            item.label,
            item.score,
            item.part,
        )
        for item in telling[:MAX_PASSAGES]
    )


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
