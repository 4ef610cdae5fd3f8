"""Which passages of a document to read before labelling it: those that speak for either label."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from longform.decision.evidence import EvidenceOptions
from longform.decision.rule import DecisionRule
from longform.inference.scorer import Reading, Scorer
from longform.types import Document, Evidence


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document that is worth reading.

    Attributes:
        start: Character offset into the text as given.
        end: Character offset, exclusive.
        text: What stands there.
        label: The label that it speaks for.
        score: By how much less likely the label would be without it.
        part: Which text the offsets refer to: 0, or 1 for the second text of a pair.
    """

    start: int
    end: int
    text: str
    label: str
    score: float
    part: int = 0


def choose_passages(
    scorer: Scorer,
    document: Document,
    reading: Reading,
    rule: DecisionRule,
    labels: Sequence[str],
    share: float,
) -> tuple[Passage, ...]:
    """Choose the passages of a document that tell its likeliest labels apart.

    The labels take turns; each names the part that speaks most for it, as long as the parts stay
    within the share of the text. At least one passage is named: of a document that is one part,
    the whole.

    Args:
        scorer: The model.
        document: As given.
        reading: What the model read of it.
        rule: How the model decides.
        labels: The labels in question, the likeliest first.
        share: Of the characters of the document, that the passages may have.

    Returns:
        Passages in reading order; neighbours that speak for one label are one passage.
    """
    found = [
        scorer.evidence(document, reading, rule, EvidenceOptions(label=label))[0]
        for label in labels
    ]
    ranked = [sorted(parts, key=lambda part: -part.score) for parts in found]
    budget = share * (len(document.text) + len(document.text_pair or ""))
    chosen = _take_turns(ranked, budget)
    if not chosen:
        return tuple(_whole(document, labels[0]))
    return tuple(_merge(document, chosen))


def _take_turns(ranked: Sequence[Sequence[Evidence]], budget: float) -> list[Evidence]:
    """Let each label name the next part that fits, until none does."""
    chosen: dict[tuple[int, int, int], Evidence] = {}
    spent = 0
    queues = [deque(parts) for parts in ranked]
    while any(queues):
        for queue in queues:
            while queue:
                part = queue.popleft()
                place, length = (part.part, part.start, part.end), part.end - part.start
                fits = part.score > 0 and spent + length <= budget
                if place not in chosen and (fits or not chosen):
                    chosen[place] = part
                    spent += length
                    break
    return list(chosen.values())


def _merge(document: Document, parts: Sequence[Evidence]) -> list[Passage]:
    merged: list[Passage] = []
    for part in sorted(parts, key=lambda item: (item.part, item.start)):
        last = merged[-1] if merged else None
        text = document.text if part.part == 0 else document.text_pair or ""
        start, score = part.start, part.score
        follows = last is not None and (last.part, last.label) == (part.part, part.label)
        if last is not None and follows and last.end >= part.start:
            start, score = last.start, last.score + part.score
            merged.pop()
        merged.append(
            Passage(start, part.end, text[start : part.end], part.label, score, part.part)
        )
    return merged


def _whole(document: Document, label: str) -> list[Passage]:
    texts = [document.text] if document.text_pair is None else [document.text, document.text_pair]
    return [Passage(0, len(text), text, label, 0.0, number) for number, text in enumerate(texts)]
