"""What every step of a cascade would answer: the measurement that a certificate rests on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longform.decision.exits import Doubles, margins
from longform.decision.rule import DecisionRule
from longform.inference.predictor import windows
from longform.inference.scorer import Scorer
from longform.inference.staging import segments_at
from longform.reporting import Reporter
from longform.types import Booleans, Document, Floats, Integers, SegmentedDocument, Targets

WHOLE = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """One place where a document may stop.

    Attributes:
        stage: Index of the model.
        depth: Share of the segments that it reads.
    """

    stage: int
    depth: float = WHOLE


@dataclass(frozen=True, slots=True, eq=False)
class StepAnswers:
    """What each step says of some documents.

    Attributes:
        steps: In order; the last one's answers count.
        confidence: float64 `[steps, docs]`; see `longform.decision.exits.margins`.
        answers: int64 `[steps, docs]`, or bool `[steps, docs, classes]` of several labels.
        seconds: float64 `[steps]`, of one document at each step, the steps of the same stage
            before it included, other stages not.
    """

    steps: tuple[Step, ...]
    confidence: Doubles
    answers: NDArray[Any]
    seconds: Doubles

    @property
    def agrees(self) -> Booleans:
        """Whether each step answers as the last one does, bool `[steps, docs]`."""
        return equal_answers(self.answers, self.answers[-1])

    def harms(self, truth: Targets) -> Booleans:
        """Whether each step is wrong where the last one is right, bool `[steps, docs]`."""
        right = equal_answers(self.answers, truth)
        harmed: Booleans = ~right & right[-1]
        return harmed

    def select(self, rows: Integers) -> StepAnswers:
        """Return the same of some of the documents."""
        return StepAnswers(
            self.steps, self.confidence[:, rows], self.answers[:, rows], self.seconds
        )

    def seconds_to(self, step: int, skipped: Booleans | None = None) -> float:
        """Return the time of a document that stops at a step.

        Args:
            step: Where.
            skipped: bool `[steps]`, steps at which no document stops and which are left out.
        """
        spent: dict[int, float] = {}
        for number in range(step + 1):
            if number == step or skipped is None or not skipped[number]:
                # A deeper step of a stage goes on where the one before has ended.
                spent[self.steps[number].stage] = float(self.seconds[number])
        return sum(spent.values())


def equal_answers(answers: NDArray[np.int64] | NDArray[np.bool_], other: Targets) -> Booleans:
    """Compare `[steps, docs]` or `[steps, docs, classes]` with what has no steps."""
    same: Booleans = np.asarray(answers == other)
    return same if same.ndim == 2 else np.asarray(same.all(axis=2))


def list_steps(scorers: Sequence[Scorer], depths: Sequence[float]) -> tuple[Step, ...]:
    """Return the steps of a cascade: of each stage with an encoder, every depth and then all."""
    steps = []
    for stage, scorer in enumerate(scorers):
        if scorer.encoder_backend is not None:
            steps += [Step(stage, depth) for depth in sorted(set(depths)) if depth < WHOLE]
        steps.append(Step(stage))
    return tuple(steps)


def ask_steps(
    scorers: Sequence[Scorer],
    rules: Sequence[DecisionRule],
    documents: Sequence[Document],
    depths: Sequence[float],
    reporter: Reporter,
) -> StepAnswers:
    """Let every stage read every document, and score what each step would have read of it.

    Args:
        scorers: Of the stages, cheap ones first.
        rules: Theirs.
        documents: What to read.
        depths: Shares of the segments at which a document may stop within a stage.
        reporter: Told how far it is.
    """
    steps = list_steps(scorers, depths)
    confidence = np.zeros((len(steps), len(documents)))
    seconds = np.zeros(len(steps))
    answers: list[Targets] = []
    for stage, (scorer, rule) in enumerate(zip(scorers, rules, strict=True)):
        rows = [row for row, step in enumerate(steps) if step.stage == stage]
        wanted = [steps[row].depth for row in rows]
        logits: list[list[Floats]] = [[] for _ in rows]
        shares = np.zeros(len(rows))
        spent = 0.0
        with reporter.track(f"Asking stage {stage}", len(documents)) as advance:
            for window in windows(documents):
                began = time.perf_counter()
                segmented = scorer.segment(window)
                vectors = scorer.encode(segmented)
                whole = scorer.score_readings(vectors, [item.positions for item in segmented])
                spent += time.perf_counter() - began
                logits[-1].append(whole)
                for place, depth in enumerate(wanted[:-1]):
                    logits[place].append(_score_part(scorer, segmented, vectors, depth))
                shares += [_share_read(segmented, depth) for depth in wanted]
                advance(len(window))
        # In units of the last stage, as at run time.
        unit = np.float32(rules[-1].temperature / rule.temperature)
        for place, row in enumerate(rows):
            all_logits = np.concatenate(logits[place])
            confidence[row] = margins(all_logits, rule)
            answers.append(rules[-1].decide(all_logits * unit))
            seconds[row] = spent / len(documents) * shares[place] / shares[-1]
    return StepAnswers(steps, confidence, np.stack(answers), seconds)


def _score_part(
    scorer: Scorer,
    documents: Sequence[SegmentedDocument],
    vectors: Sequence[Floats],
    depth: float,
) -> Floats:
    """Score what a step reads of documents that were encoded whole."""
    kept = [_read_at(document, depth) for document in documents]
    return scorer.score_readings(
        [own[rows] for own, rows in zip(vectors, kept, strict=True)],
        [item.positions[rows] for item, rows in zip(documents, kept, strict=True)],
    )


def _read_at(document: SegmentedDocument, depth: float) -> Integers:
    return np.sort(segments_at(len(document.segments), depth))


def _share_read(documents: Sequence[SegmentedDocument], depth: float) -> float:
    """Return the tokens that a step reads of documents."""

    def read() -> Iterator[int]:
        for document in documents:
            yield from (len(document.segments[row].token_ids) for row in _read_at(document, depth))

    return float(sum(read()))
