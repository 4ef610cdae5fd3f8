"""A contender's training by the ordinary path, linear or neural, and what it is for."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from longform.backends.base import Backend, BackendInfo
from longform.config import LINEAR, RunConfig
from longform.data.labels import LabelMap
from longform.decision.rule import DecisionRule
from longform.export.bundles import write_bundle
from longform.export.encoders import EncoderExports, fastest_encoder
from longform.export.linear_bundle import write_linear_bundle
from longform.inference.linear import LinearScorer
from longform.inference.scorer import Scorer
from longform.reporting import Reporter
from longform.search.objective import TrialCallback, TrialReporter, scorer_of, train_once
from longform.search.watch import Checks
from longform.training.devices import pick_device
from longform.training.fit import TrainedModel
from longform.training.linear import TrainedLinear, fit_linear
from longform.training.observation import ENCODING
from longform.training.rows import content_digest
from longform.training.vectors import VectorStore, open_vectors
from longform.types import Document, Floats, SegmentBatch, Targets

_WINDOW = 16
"""Documents scored together: a long one pads those beside it in the head."""
_TIMED = 8
_REPEATS = 20


class TrainedContender(ABC):
    """A trained model, whatever its kind.

    Attributes:
        labels: Its classes.
        rule: How labels are decided from logits.
        summary: What training did; what is added is written into the bundle.
        encoding_seconds: That went into segment vectors, which a further split finds on disk.
    """

    labels: LabelMap
    rule: DecisionRule
    summary: dict[str, Any]
    encoding_seconds: float = 0.0

    @abstractmethod
    def predict(self, documents: Sequence[Document], watch: Checks) -> Targets:
        """Return the class numbers of documents, int64 `[docs]`, or bool `[docs, classes]`."""

    @abstractmethod
    def write(
        self, target: Path, validation: Sequence[Document], work: Path, reporter: Reporter
    ) -> None:
        """Write the bundle.

        Args:
            target: Its folder; one that is there is replaced.
            validation: Labelled documents that the parity gate reads.
            work: For files in between.
            reporter: Told how it goes.

        Raises:
            ParityError: The export is not equal to the trained model.
        """

    @abstractmethod
    def timed_scorer(self) -> Scorer:
        """Return what reads documents as quickly as it can without an export."""

    def document_ms(self, documents: Sequence[Document]) -> float:
        """Return the mean milliseconds of a few documents, read one by one."""
        return time_documents(self.timed_scorer(), documents)


def train_contender(
    config: RunConfig,
    parts: tuple[Sequence[Document], Sequence[Document]],
    folder: Path,
    watch: Checks,
) -> TrainedContender:
    """Train one configuration.

    Args:
        config: The contender's.
        parts: Documents to learn from, and those that choose the best epoch.
        folder: Of the bake-off.
        watch: Raises when the time is over.

    Raises:
        Stopped: It was.
        InputError: Documents, encoder and settings do not fit each other.
    """
    reporter = TrialReporter(folder / "trials.log", watch)
    if config.encoder == LINEAR:
        return _Linear(fit_linear(config, *parts, reporter))
    metric: Literal["accuracy", "macro_f1"]
    metric = "accuracy" if config.metric_for_best_model == "accuracy" else "macro_f1"
    callbacks = [TrialCallback(watch, metric)]
    work = folder / "trial"
    return _Neural(train_once(config, parts, work, reporter, callbacks), work, reporter)


def time_documents(scorer: Scorer, documents: Sequence[Document]) -> float:
    """Return the mean milliseconds that a scorer takes for one document, of a few typical ones."""
    return round(mean_milliseconds(lambda item: scorer.score([item]), typical(documents)), 4)


def mean_milliseconds(
    run: Callable[[Document], object], documents: Sequence[Document], patience: float = 0.1
) -> float:
    """Return the mean over documents of the best time of each, in milliseconds.

    Args:
        run: What is timed.
        documents: One after the other.
        patience: Seconds that a document is repeated for, since others may be at work on the
            machine; it is run once at least.
    """
    run(documents[0])
    total = 0.0
    for document in documents:
        best, begun, times = float("inf"), time.perf_counter(), 0
        while times == 0 or (time.perf_counter() - begun < patience and times < _REPEATS):
            started = time.perf_counter()
            run(document)
            best = min(best, time.perf_counter() - started)
            times += 1
        total += best
    return 1e3 * total / len(documents)


def typical(documents: Sequence[Document], count: int = _TIMED) -> list[Document]:
    """Return a few documents whose lengths stand for all."""
    ranked = sorted(documents, key=lambda item: len(item.text))
    shares = (np.arange(count) + 0.5) / count
    return [ranked[int(share * len(ranked))] for share in shares]


class _Linear(TrainedContender):
    def __init__(self, trained: TrainedLinear) -> None:
        self._trained = trained
        self.labels, self.rule, self.summary = trained.labels, trained.rule, trained.summary

    def timed_scorer(self) -> LinearScorer:
        return self._trained.scorer()

    def predict(self, documents: Sequence[Document], watch: Checks) -> Targets:
        return _predict(self.timed_scorer(), self.rule, documents, watch)

    def write(
        self, target: Path, validation: Sequence[Document], work: Path, reporter: Reporter
    ) -> None:
        write_linear_bundle(self._trained, validation, target, overwrite=True, reporter=reporter)


class _Neural(TrainedContender):
    def __init__(self, trained: TrainedModel, work: Path, reporter: Reporter) -> None:
        self._trained = trained
        self._work = work
        self._reporter = reporter
        self.labels, self.rule, self.summary = trained.labels, trained.rule, trained.summary
        self.encoding_seconds = trained.summary["time"].get(ENCODING, 0.0)

    def timed_scorer(self) -> Scorer:
        scorer = scorer_of(self._trained)
        if self._trained.config.frozen:
            scorer.backend = JoinedBackend(self._fast_encoder(), scorer.backend)
        return scorer

    def predict(self, documents: Sequence[Document], watch: Checks) -> Targets:
        scorer = scorer_of(self._trained)
        if not self._trained.config.frozen:
            return _predict(scorer, self.rule, documents, watch)
        fast = self._fast_encoder()
        with open_vectors(self._trained.model, self._trained.encoder_digest, fast) as store:
            scorer.backend = JoinedBackend(fast, scorer.backend, store)
            answers = _predict(scorer, self.rule, documents, watch)
            self.encoding_seconds += store.encoding_seconds
            return answers

    def write(
        self, target: Path, validation: Sequence[Document], work: Path, reporter: Reporter
    ) -> None:
        trained = self._trained
        shared = trained.encoder_digest if trained.config.frozen else None
        exports = EncoderExports(trained.model, shared, work)
        write_bundle(trained, validation, exports, target, overwrite=True, reporter=reporter)

    def _fast_encoder(self) -> Backend:
        """Return what gave the training its vectors."""
        trained = self._trained
        precision = "bf16" if pick_device(self._reporter, trained.config.device).bf16 else "fp32"
        exports = EncoderExports(trained.model, trained.encoder_digest, self._work)
        return fastest_encoder(trained.model, exports, precision, self._reporter)


class JoinedBackend(Backend):
    """The encoder of one backend and the head of another.

    Args:
        encoder: Gives the vectors.
        head: Scores them.
        store: Vectors that were encoded before; those that are not are added. None keeps none.
    """

    def __init__(self, encoder: Backend, head: Backend, store: VectorStore | None = None) -> None:
        self._encoder = encoder
        self._head = head
        self._store = store
        self.token_budget = encoder.token_budget

    @property
    def info(self) -> BackendInfo:
        """That of the encoder."""
        return self._encoder.info

    def encode(self, batch: SegmentBatch) -> Floats:
        """Encode the segments that are not in the store; see `Backend.encode`."""
        store = self._store
        if store is None:
            return self._encoder.encode(batch)
        lengths = batch.attention_mask.sum(axis=1)
        digests = [
            content_digest(row[:length].astype(np.int32).tobytes())
            for row, length in zip(batch.input_ids, lengths, strict=True)
        ]
        missing = {digest: row for row, digest in enumerate(digests) if digest not in store}
        if missing:
            rows = list(missing.values())
            part = SegmentBatch(batch.input_ids[rows], batch.attention_mask[rows])
            started = time.perf_counter()
            store.append(list(missing), self._encoder.encode(part))
            store.encoding_seconds += time.perf_counter() - started
        found: Floats = store.mapped()[store.numbers(digests)]
        return found

    def score(self, vectors: Floats, mask: Floats, positions: Floats) -> Floats:
        """Score documents; see `Backend.score`."""
        return self._head.score(vectors, mask, positions)


def _predict(
    scorer: Scorer, rule: DecisionRule, documents: Sequence[Document], watch: Checks
) -> Targets:
    parts: list[Targets] = []
    # Documents of one length beside each other waste no padding in the head.
    order = sorted(range(len(documents)), key=lambda place: len(documents[place].text))
    for begin in range(0, len(order), _WINDOW):
        watch.check()
        window = [documents[place] for place in order[begin : begin + _WINDOW]]
        parts.append(rule.decide(scorer.score(window).logits))
    joined: Any = np.concatenate(parts)
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    answers: Targets = joined[back]
    return answers


def renumber(predicted: Targets, own: LabelMap, labels: LabelMap) -> Targets:
    """Return answers in the class numbers of another map that has all labels of the first."""
    numbers = np.array([labels.label2id[name] for name in own.names], dtype=np.int64)
    if predicted.ndim == 1:
        renamed: Targets = numbers[predicted]
        return renamed
    wide: Targets = np.zeros((len(predicted), len(labels)), dtype=np.bool_)
    wide[:, numbers] = predicted
    return wide
