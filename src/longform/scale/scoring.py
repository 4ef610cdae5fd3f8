"""What a worker of any engine does with a part: segment, score, write."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from longform.errors import InputError
from longform.inference.predictor import Predictor, load, windows
from longform.scale.answers import AnswerForm, PartAccount, write_part
from longform.scale.parts import FILE_FAULT, Part, RowError
from longform.scale.storage import Storage
from longform.types import Document, Prediction, SegmentedDocument


@dataclass(frozen=True, slots=True)
class ScoringSettings:
    """What every worker of a job is told.

    Attributes:
        bundle: Folder of the bundle.
        digest: That it must have: all workers answer by the same model.
        output: Path or URL that answers go to.
        backend: What it runs on.
        top_k: Scores of each answer; None keeps all.
        threads: CPU threads of a worker.
    """

    bundle: str
    digest: str
    output: str
    backend: str = "auto"
    top_k: int | None = None
    threads: int = 1

    def limit_threads(self) -> None:
        """Hold this process to its share of the CPUs; before any runtime is loaded."""
        os.environ["LONGFORM_THREADS"] = str(self.threads)
        os.environ["OMP_NUM_THREADS"] = str(self.threads)
        os.environ["RAYON_NUM_THREADS"] = str(self.threads)
        os.environ["TOKENIZERS_PARALLELISM"] = "true" if self.threads > 1 else "false"


@dataclass(slots=True)
class SegmentedPart:
    """A part whose documents are cut into segments, in windows that are scored together.

    Attributes:
        part: With the errors that segmenting found.
        windows: Row numbers, documents and segments of each window.
    """

    part: Part
    windows: list[tuple[list[int], list[Document], list[SegmentedDocument]]]


class PartScorer:
    """A bundle opened in a worker, and where its answers go.

    Args:
        settings: Of the job.

    Raises:
        InputError: The bundle is not there, or another one.
        BundleError: It is damaged.
    """

    def __init__(self, settings: ScoringSettings) -> None:
        self.predictor = load(settings.bundle, settings.backend)
        found = self.predictor.bundle.digest
        if found != settings.digest:
            raise InputError(
                "All workers of a job answer by the same bundle.",
                found=f"{settings.bundle} has the digest {found[:16]}, not {settings.digest[:16]}",
                fix="Put the same bundle on every machine.",
            )
        self.predictor.warm_up()
        self._storage = Storage(settings.output)
        has_exits = self.predictor.bundle.description.kind == "cascade"
        self._form = AnswerForm(self.predictor.rule, settings.top_k, has_exits=has_exits)

    def segment(self, part: Part) -> SegmentedPart:
        """Cut all documents of a part into segments; those that cannot be are errors of it."""
        return SegmentedPart(part, list(_segment_windows(self.predictor, part)))

    def run(self, part: Part) -> PartAccount:
        """Segment, score and write a part; the next window is cut while one is scored."""
        started = time.perf_counter()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="segment") as ahead:
            cut = _segment_windows(self.predictor, part)
            pending = ahead.submit(next, cut, None)
            rows: list[int] = []
            predictions: list[Prediction] = []
            while (window := pending.result()) is not None:
                pending = ahead.submit(next, cut, None)
                rows += window[0]
                predictions += self._score(*window[1:])
        return self._write(part, rows, predictions, started)

    def finish(self, segmented: SegmentedPart) -> PartAccount:
        """Score and write a part that was segmented elsewhere."""
        started = time.perf_counter()
        rows: list[int] = []
        predictions: list[Prediction] = []
        for numbers, documents, cut in segmented.windows:
            rows += numbers
            predictions += self._score(documents, cut)
        return self._write(segmented.part, rows, predictions, started)

    def close(self) -> None:
        """Free the model."""
        self.predictor.close()

    def _score(
        self, documents: Sequence[Document], segmented: Sequence[SegmentedDocument]
    ) -> list[Prediction]:
        return self.predictor.decide(documents, self.predictor.scorer.score_segmented(segmented))

    def _write(
        self, part: Part, rows: list[int], predictions: list[Prediction], started: float
    ) -> PartAccount:
        errors = sorted(part.errors, key=lambda error: (error.row == FILE_FAULT, error.row))
        account = PartAccount(
            file=part.name.file,
            number=part.name.number,
            answers=len(rows),
            errors=len(errors),
            truncated=sum(item.coverage.truncated for item in predictions),
            tokens=sum(item.coverage.tokens_total for item in predictions),
            is_last=part.is_last,
            failed=any(error.row == FILE_FAULT for error in errors),
            seconds=round(time.perf_counter() - started, 4),
        )
        write_part(self._storage, account, (rows, predictions), errors, self._form)
        return account


def _segment_windows(
    predictor: Predictor, part: Part
) -> Iterator[tuple[list[int], list[Document], list[SegmentedDocument]]]:
    """Yield windows that were cut; documents without a token become errors of the part."""
    begin = 0
    for window in windows(part.documents):
        numbers = part.rows[begin : begin + len(window)]
        begin += len(window)
        try:
            cut = predictor.segment(window)
        except InputError:
            # One document spoils the call for all: find it, and keep the others.
            numbers, window, cut = _segment_singly(predictor, part, numbers, window)
        if cut:
            yield numbers, window, cut


def _segment_singly(
    predictor: Predictor, part: Part, numbers: Sequence[int], documents: Sequence[Document]
) -> tuple[list[int], list[Document], list[SegmentedDocument]]:
    kept: tuple[list[int], list[Document], list[SegmentedDocument]] = ([], [], [])
    for number, document in zip(numbers, documents, strict=True):
        try:
            (cut,) = predictor.segment([document])
        except InputError as fault:
            part.errors.append(RowError(number, document.id, str(fault)))
            continue
        kept[0].append(number)
        kept[1].append(document)
        kept[2].append(cut)
    return kept
