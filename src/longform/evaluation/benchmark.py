"""The speed of contenders side by side: documents, tokens and operations a second, and the ceiling.

What a contender does is measured by `turns`; here it becomes figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longform.bundle import answering_bundle, load_bundle
from longform.evaluation.turns import Turns
from longform.evaluation.work import encoder_work
from longform.inference.linear import LinearScorer
from longform.inference.predictor import Predictor, load
from longform.text.documents import segment_documents
from longform.text.segmenter import Segmenter
from longform.text.tokenization import TextTokenizer
from longform.types import Document


@dataclass(frozen=True, slots=True)
class BundleContender:
    """A bundle on one backend.

    Attributes:
        folder: The bundle.
        backend: `name:precision`.
    """

    folder: Path
    backend: str

    @property
    def name(self) -> str:
        """The backend."""
        return self.backend

    def open(self) -> BundleRunner:
        """Open it, without a cache: every token is read in every round."""
        predictor = load(self.folder, self.backend)
        predictor.warm_up()
        return BundleRunner(predictor)


class BundleRunner:
    """An open bundle. See `turns.Runner`."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def run(self, documents: Sequence[Document]) -> list[str]:
        """Classify as `predict` and `evaluate` do: the next documents are cut while these run."""
        return [
            prediction.label
            for window, scores in self._predictor.iterate_scores(documents)
            for prediction in self._predictor.decide(window, scores)
        ]

    def matrix_rate(self) -> float | None:
        """Return the GFLOP/s of a large product in the same runtime, precision and threads."""
        backend = self._predictor.scorer.encoder_backend
        return None if backend is None else backend.matrix_rate()

    def close(self) -> None:
        """Close the bundle."""
        self._predictor.close()


@dataclass(frozen=True, slots=True)
class Workload:
    """What every round asks for.

    Attributes:
        documents: How many.
        tokens: Real tokens, special ones of segments included.
        gflops: Operations of the encoder on them, in thousands of millions; 0 for one that
            multiplies nothing.
    """

    documents: int
    tokens: int
    gflops: float


def measure_workload(folder: Path, documents: Sequence[Document]) -> Workload:
    """Cut documents as a bundle does, and count what its encoder has to compute."""
    bundle = load_bundle(folder)
    # A cascade is measured by the work of the model that it stands for.
    bundle = answering_bundle(bundle)
    if bundle.description.kind == "linear":
        read = LinearScorer.open(bundle).segment(documents)
        return Workload(len(documents), sum(item.coverage.tokens_total for item in read), 0.0)
    tokenizer = TextTokenizer.from_file(bundle.path("tokenizer.json"))
    segmenter = Segmenter(tokenizer, bundle.description.knobs.segments)
    segmented = segment_documents(segmenter, documents, pairs=bundle.description.text_pair)
    lengths = [len(piece.token_ids) for document in segmented for piece in document.segments]
    work = encoder_work(bundle.folder)
    return Workload(len(documents), sum(lengths), work.flops(lengths) / 1e9)


@dataclass(frozen=True, slots=True)
class Speed:
    """The figures of one contender.

    Attributes:
        name: Of the contender.
        failure: Why it could not run; then all figures are None.
        documents_per_second: By the median round.
        tokens_per_second: Of the workload's tokens, by the median round.
        seconds: Of each round.
        p50_ms: Median latency of single documents, alone.
        p95_ms: Their 95th percentile.
        p99_ms: Their 99th percentile.
        memory_mb: Most memory of its process.
        gflops_per_second: Of the encoder's operations.
        ceiling: GFLOP/s of a large matrix product in the same library.
        share_of_ceiling: The quotient of the two.
        agreement: Share of documents with the label of the reference.
    """

    name: str
    failure: str | None = None
    documents_per_second: float | None = None
    tokens_per_second: float | None = None
    seconds: tuple[float, ...] = ()
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    memory_mb: float | None = None
    gflops_per_second: float | None = None
    ceiling: float | None = None
    share_of_ceiling: float | None = None
    agreement: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return asdict(self)


def figures(turns: Sequence[Turns], workload: Workload, reference: Sequence[str]) -> list[Speed]:
    """Turn measured seconds into speeds.

    Args:
        turns: What each contender did.
        workload: What a round asked for.
        reference: Labels of the documents, by the fp32 reference; none where it did not run.
    """
    return [_speed(item, workload, reference) for item in turns]


def _speed(turns: Turns, workload: Workload, reference: Sequence[str]) -> Speed:
    if turns.failure is not None or not turns.seconds:
        return Speed(turns.name, turns.failure or "it never had a turn")
    seconds = turns.median_seconds
    rate = workload.gflops / seconds
    ceiling = turns.matrix_rate
    latencies = 1e3 * np.percentile(turns.latencies, (50, 95, 99)) if turns.latencies else None
    same = [ours == theirs for ours, theirs in zip(turns.labels, reference, strict=False)]
    return Speed(
        name=turns.name,
        documents_per_second=workload.documents / seconds,
        tokens_per_second=workload.tokens / seconds,
        seconds=tuple(round(value, 4) for value in turns.seconds),
        p50_ms=None if latencies is None else float(latencies[0]),
        p95_ms=None if latencies is None else float(latencies[1]),
        p99_ms=None if latencies is None else float(latencies[2]),
        memory_mb=turns.memory_bytes / 1e6,
        gflops_per_second=rate or None,
        ceiling=ceiling if rate else None,
        share_of_ceiling=rate / ceiling if rate and ceiling else None,
        agreement=float(np.mean(same)) if same else None,
    )
