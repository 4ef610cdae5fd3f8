"""A predictor held against labelled documents: the figures, without a picture of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from longform.data.labels import LabelMap
from longform.errors import InputError
from longform.evaluation import metrics
from longform.evaluation.confidence import (
    ConfidenceFigures,
    measure_confidence,
    sureness,
    uncalibrated,
)
from longform.evaluation.coverage import CoverageTotals
from longform.evaluation.intervals import wilson_interval
from longform.evaluation.mistakes import Mistake, WorstMistakes, choose_passages
from longform.evaluation.reliability import CalibrationError, calibration_error
from longform.inference.scorer import Scores
from longform.reporting import Reporter
from longform.types import Booleans, Coverage, Document, Floats, Integers, Targets

if TYPE_CHECKING:
    # Only named here: the predictor brings every runtime, and the figures need none.
    from longform.inference.predictor import Predictor

_WINDOW = 256
"""Documents whose answers are held at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What a model made of documents, in their order.

    Attributes:
        scores: Logits float32 `[docs, classes]` and coverage.
        seconds: Wall time from the first text to the last decision.
        backend: What the model ran on.
    """

    scores: Scores
    seconds: float
    backend: str


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a bundle made of labelled documents. Every figure follows from these fields.

    Attributes:
        label_names: Names of the classes, in the order of the logits.
        labels: int64 `[docs]`, the true class of each document; or bool `[docs, classes]`.
        predicted: The same of what it was given.
        probabilities: float32 `[docs, classes]`.
        tokens: int64 `[docs]`, the length of each whole document in tokens.
        coverage: How much was read.
        mistakes: The most certain mistakes, most certain first.
        seconds: Wall time from the first text to the last decision.
        backend: What the model ran on.
        bundle_name: Name of the bundle's folder.
        bundle_digest: SHA-256 that stands for the bundle.
        data: What the documents are called, for example the name of their file.
        confidence: What its calibration is worth here; None where the bundle has none.
        uncalibrated: float32 `[docs, classes]`, the probabilities as they were before it, or None.
        created: When it was measured.
    """

    label_names: tuple[str, ...]
    labels: Targets
    predicted: Targets
    probabilities: Floats
    tokens: Integers
    coverage: CoverageTotals
    mistakes: tuple[Mistake, ...]
    seconds: float
    backend: str
    bundle_name: str
    bundle_digest: str
    data: str = ""
    confidence: ConfidenceFigures | None = None
    uncalibrated: Floats | None = None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def documents(self) -> int:
        """Number of documents."""
        return len(self.labels)

    @property
    def is_multi_label(self) -> bool:
        """Whether a document may have any number of labels."""
        return self.labels.ndim == 2

    @cached_property
    def right(self) -> Booleans:
        """Which documents got exactly their label, or all of their labels, bool `[docs]`."""
        return metrics.right_answers(self.labels, self.predicted)

    @cached_property
    def decisions(self) -> tuple[Floats, Booleans]:
        """The probability of each decision, and whether it was right, flat.

        With one label a document, its label is the decision; with several, each class is one, to
        give it or not.
        """
        return sureness(self.probabilities, self.predicted, self.labels)

    @cached_property
    def accuracy(self) -> float:
        """Share of right answers; with several labels, of documents that got all and no more."""
        return metrics.accuracy(self.labels, self.predicted)

    @cached_property
    def accuracy_interval(self) -> tuple[float, float]:
        """Approximate 95 % interval of the accuracy."""
        return wilson_interval(int(self.right.sum()), self.documents)

    @cached_property
    def majority_accuracy(self) -> float:
        """Accuracy of always giving the commonest answer: what any model must beat."""
        if not self.documents:
            return 0.0
        axis = 0 if self.is_multi_label else None
        _, counts = np.unique(self.labels, axis=axis, return_counts=True)
        return float(counts.max()) / self.documents

    @cached_property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that occur as label or as prediction."""
        return metrics.macro_f1(self.labels, self.predicted, len(self.label_names))

    @cached_property
    def micro_f1(self) -> float:
        """F1 of all decisions together; with one label a document it is the accuracy."""
        return metrics.micro_f1(self.labels, self.predicted, len(self.label_names))

    @cached_property
    def macro_roc_auc(self) -> float | None:
        """Mean area under the ROC curve of the classes that some documents have and some lack."""
        areas = [
            metrics.roc_auc(self._has(row), self.probabilities[:, row])
            for row in range(len(self.label_names))
        ]
        known = [area for area in areas if area is not None]
        return float(np.mean(known)) if known else None

    def _has(self, row: int) -> Booleans:
        has = self.labels[:, row] if self.is_multi_label else self.labels == row
        return np.asarray(has, dtype=np.bool_)

    @cached_property
    def per_class(self) -> list[metrics.ClassScores]:
        """Precision, recall and F1 of every class, in the order of `label_names`."""
        return metrics.per_class(self.labels, self.predicted, self.label_names)

    @cached_property
    def by_length(self) -> list[metrics.LengthScores]:
        """Accuracy and macro-F1 for each bucket of document length."""
        return metrics.by_length(self.labels, self.predicted, self.tokens, len(self.label_names))

    @cached_property
    def calibration(self) -> tuple[float, list[metrics.CalibrationBin]]:
        """Expected calibration error and the bins it was computed from."""
        scores, right = self.decisions
        return metrics.calibration(scores.tolist(), right.tolist())

    @cached_property
    def calibration_before(self) -> list[metrics.CalibrationBin]:
        """The bins of the scores as they were before the bundle was calibrated; empty if never."""
        if self.uncalibrated is None:
            return []
        scores, right = sureness(self.uncalibrated, self.predicted, self.labels)
        return metrics.calibration(scores.tolist(), right.tolist())[1]

    @cached_property
    def calibration_error(self) -> CalibrationError:
        """Expected calibration error without what chance adds to it, with its interval."""
        return calibration_error(*self.decisions)

    @cached_property
    def confusion(self) -> Integers:
        """Number of documents, int64 `[true class, predicted class]`; with one label a document."""
        return metrics.confusion_matrix(self.labels, self.predicted, len(self.label_names))

    @property
    def documents_per_second(self) -> float:
        """Documents answered in a second."""
        return self.documents / self.seconds if self.seconds > 0 else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens read in a second; those left out do not count."""
        return self.coverage.tokens_used / self.seconds if self.seconds > 0 else 0.0

    def confusions(self) -> list[tuple[str, str, int]]:
        """Return true label, predicted label and number of documents, most documents first.

        With several labels a document, what was taken for what cannot be told: nothing.
        """
        if self.is_multi_label:
            return []
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        pairs = sorted(np.argwhere(wrong).tolist(), key=lambda pair: -wrong[pair[0], pair[1]])
        names = self.label_names
        return [(names[row], names[column], int(wrong[row, column])) for row, column in pairs]

    def as_json(self) -> dict[str, Any]:
        """Return all figures as one JSON object: finite numbers, shares as fractions of 1.

        It holds labels and ids and no text of a document.
        """
        error, bins = self.calibration
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "majority_accuracy": self.majority_accuracy,
            "macro_f1": self.macro_f1,
            "micro_f1": self.micro_f1,
            "macro_roc_auc": self.macro_roc_auc,
            "problem_type": "multi_label_classification"
            if self.is_multi_label
            else "single_label_classification",
            "documents": self.documents,
            "seconds": self.seconds,
            "documents_per_second": self.documents_per_second,
            "tokens_per_second": self.tokens_per_second,
            "backend": self.backend,
            "bundle": {"name": self.bundle_name, "digest": self.bundle_digest},
            "data": self.data,
            "created": self.created.isoformat(timespec="seconds"),
            "coverage": self.coverage.as_dict(),
            "per_class": [asdict(scores) for scores in self.per_class],
            "by_length": [asdict(scores) for scores in self.by_length],
            "calibration": {
                "error": error,
                "bins": [asdict(item) for item in bins],
                "debiased": asdict(self.calibration_error),
            },
            "confidence": None if self.confidence is None else self.confidence.as_json(),
            "confusions": [
                {"label": label, "predicted": predicted, "documents": count}
                for label, predicted, count in self.confusions()
            ],
            "mistakes": [mistake.as_dict() for mistake in self.mistakes],
        }


def evaluate(
    predictor: Predictor,
    documents: Sequence[Document],
    reporter: Reporter,
    *,
    data: str = "",
    measured: Measured | None = None,
    explain: bool = False,
) -> Evaluation:
    """Classify labelled documents and keep what the figures need.

    Args:
        predictor: An open bundle.
        documents: Documents with labels.
        reporter: Shows the progress.
        data: What the documents are called, for the report.
        measured: Scores of these documents that are at hand; None reads the documents.
        explain: Also look for the passages that decided the mistakes that are kept.

    Raises:
        InputError: There are no documents, one has no label or one that the bundle does not know,
            or one has no character that can be read.
    """
    if not documents:
        raise InputError(
            "An evaluation needs at least one labelled document.",
            found=f"none in {data}" if data else "none",
            fix="Give a file that holds documents with their labels.",
        )
    rule = predictor.rule
    label_map = LabelMap(predictor.labels, rule.problem_type)
    # Before the work begins: a wrong label must not come to light after minutes.
    labels = label_map.targets(documents)
    answers = (
        predictor.iterate_scores(documents) if measured is None else _window(documents, measured)
    )
    judged = _judge(predictor, answers, len(documents), reporter)
    ranked = judged.worst.most_certain_first()
    tokens = np.array([item.tokens_total for item in judged.coverages], dtype=np.int64)
    return Evaluation(
        label_names=label_map.names,
        labels=labels,
        predicted=rule.decide(judged.logits, tokens),
        probabilities=rule.probabilities(judged.logits, tokens),
        tokens=tokens,
        coverage=CoverageTotals.from_coverages(judged.coverages),
        mistakes=tuple(
            _explain(predictor, ranked, reporter) if explain else (first for first, _ in ranked)
        ),
        seconds=judged.seconds if measured is None else measured.seconds,
        backend=str(predictor.backend_info) if measured is None else measured.backend,
        bundle_name=predictor.bundle.folder.name,
        bundle_digest=predictor.bundle.digest,
        data=data,
        confidence=measure_confidence(rule, judged.logits, labels, tokens)
        if rule.calibrated
        else None,
        uncalibrated=uncalibrated(rule, judged.logits) if rule.calibrated else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    logits: Floats
    coverages: list[Coverage]
    worst: WorstMistakes
    seconds: float


def _judge(
    predictor: Predictor,
    answers: Iterable[tuple[Sequence[Document], Scores]],
    total: int,
    reporter: Reporter,
) -> _Judged:
    logits: list[Floats] = []
    coverages: list[Coverage] = []
    worst = WorstMistakes()
    started = time.perf_counter()
    with reporter.track("Evaluating", total=total) as advance:
        for window, scores in answers:
            for document, prediction in zip(window, predictor.decide(window, scores), strict=True):
                coverages.append(prediction.coverage)
                worst.add(document, prediction)
            logits.append(scores.logits)
            advance(len(window))
    seconds = time.perf_counter() - started
    return _Judged(np.concatenate(logits), coverages, worst, seconds)


def _window(
    documents: Sequence[Document], measured: Measured
) -> Iterator[tuple[Sequence[Document], Scores]]:
    """Go through measured documents in pieces: the answers to all at once may fill the memory."""
    for start in range(0, len(documents), _WINDOW):
        piece = slice(start, start + _WINDOW)
        scores = Scores(measured.scores.logits[piece], measured.scores.coverage[piece])
        yield documents[piece], scores


def _explain(
    predictor: Predictor, ranked: Sequence[tuple[Mistake, Document]], reporter: Reporter
) -> Iterator[Mistake]:
    """Add the passages that decided. One document at a time: mistakes may be long ones."""
    with reporter.track("Looking for what decided the mistakes", len(ranked)) as advance:
        for mistake, document in ranked:
            (prediction,) = predictor.predict([document], evidence=True)
            advance(1)
            # A document of one passage has no evidence: there is nothing to leave out.
            evidence = prediction.evidence
            yield (
                replace(mistake, passages=choose_passages(document, evidence))
                if evidence
                else mistake
            )
