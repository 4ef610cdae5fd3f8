"""The last step of a request: documents that are read, whole or so far, to predictions."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from longform.inference.scorer import Further
from longform.serving.contract import Predictor
from longform.serving.failures import BackendFailureError
from longform.serving.jobs import DocumentReading, Job, Progress
from longform.types import Prediction, SegmentedDocument

_Part = tuple[Job, int, DocumentReading]
"""A document: its request, its place there, how far it is read."""


@dataclass(frozen=True, slots=True, eq=False)
class MoreToRead:
    """A document that was read as the model wanted, of which it wants more.

    Attributes:
        job: Its request.
        index: Its place there.
        was_read: The segments that were read.
        further: What is to be read.
    """

    job: Job
    index: int
    was_read: SegmentedDocument
    further: Further


def score_documents(
    predictor: Predictor, jobs: list[Job]
) -> Iterator[tuple[Job, Exception] | MoreToRead]:
    """Score what is due of some requests, documents of like sizes together.

    Outcomes go to the requests, progress to whoever wants it.

    Yields:
        Each request that cannot be scored, and why; each document of which more is to be read.
    """
    groups: dict[tuple[object, ...], list[_Part]] = {}
    for job in jobs:
        for index, reading in enumerate(job.readings):
            if reading is None or index in job.outcomes or not _is_due(job, reading):
                continue
            options = job.options
            # The head pads to the longest of those it scores together.
            size = len(reading.segmented.segments).bit_length()
            key = (options.evidence, options.raw_scores, size, reading.is_read)
            groups.setdefault(key, []).append((job, index, reading))
    for group in groups.values():
        yield from _score(predictor, group)


def _score(
    predictor: Predictor, group: list[_Part]
) -> Iterator[tuple[Job, Exception] | MoreToRead]:
    options, is_final = group[0][0].options, group[0][2].is_read
    began = time.monotonic()
    readings = [reading.reading() for _, _, reading in group]
    try:
        outcomes = predictor.conclude(
            [job.documents[index] for job, index, _ in group],
            readings,
            evidence=options.evidence if is_final else False,
            raw_scores=options.raw_scores,
        )
        _check_outcomes(outcomes, len(group))
    except Exception as error:
        if len(group) == 1:
            yield group[0][0], error
            return
        # One document may be at fault; the others must not suffer for it.
        for part in group:
            yield from _score(predictor, [part])
        return
    seconds = time.monotonic() - began
    for (job, index, reading), read, outcome in zip(group, readings, outcomes, strict=True):
        job.head_seconds += seconds
        if isinstance(outcome, Further):
            yield MoreToRead(job, index, read.document, outcome)
            continue
        if is_final:
            job.outcomes[index] = outcome
        reading.reported = reading.read_in_order
        if job.options.on_progress is not None:
            job.options.on_progress(Progress(index, outcome))


def _is_due(job: Job, reading: DocumentReading) -> bool:
    if reading.is_read:
        return True
    return job.options.on_progress is not None and reading.read_in_order > reading.reported


def backend_failure(error: Exception) -> BackendFailureError:
    """Say of a fault what a client may know of it."""
    if isinstance(error, BackendFailureError):
        return error
    # A library's message may quote a document, so the error names the type alone.
    return BackendFailureError(
        "The model could not answer this request.", found=type(error).__name__
    )


def _check_outcomes(outcomes: Sequence[Prediction | Further], expected: int) -> None:
    if len(outcomes) != expected:
        raise BackendFailureError(
            "There must be one prediction per document.",
            found=f"{len(outcomes)} for {expected}",
        )
    for prediction in outcomes:
        if isinstance(prediction, Further):
            continue
        numbers = [prediction.score, *(entry.score for entry in prediction.scores)]
        numbers += [entry.score for entry in prediction.labels or ()]
        numbers += [stretch.score for stretch in prediction.evidence or ()]
        if not all(math.isfinite(number) for number in numbers):
            raise BackendFailureError("A score must be a finite number.", found="NaN or Infinity")
