"""From what the steps of a cascade answer to thresholds with a certificate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from longform.decision.audit import AUDIT_TOLERANCE, unsure_shares
from longform.decision.binomial import upper_bound
from longform.decision.certificate import (
    Certificate,
    Certification,
    LossName,
    StageRecord,
    StepRecord,
    UnsureRecord,
    certify,
    record_path,
)
from longform.decision.exits import NEVER, Doubles, first_exits, joint_path, threshold_path
from longform.errors import InputError
from longform.evaluation.steps import StepAnswers
from longform.types import Booleans, Integers, Targets

DESIGN_SHARE = 0.25
"""Of the documents, where there are several thresholds: those that the path is laid with."""

_BOUND_CONFIDENCE = 0.9995
_CURVE_POINTS = 60


@dataclass(frozen=True, slots=True)
class Promise:
    """What is to be certified.

    Attributes:
        loss: What an early answer must not do.
        risk: Share of all documents that may suffer it.
        delta: Probability that the promise does not hold.
    """

    loss: LossName = "disagreement"
    risk: float = 0.01
    delta: float = 0.05


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What thresholds come to on the certifying documents.

    Attributes:
        margin: Threshold of the first step; None where nothing stops there.
        exited: Share that stops early.
        loss: Share that stops early with a loss.
        speed_up: Time of the last stage alone by the time of the cascade.
        p_value: Of the test; None where the sequence had ended.
        accepted: Whether it is certified.
    """

    margin: float | None
    exited: float
    loss: float
    speed_up: float
    p_value: float | None
    accepted: bool


@dataclass(frozen=True, slots=True, eq=False)
class CertifiedCascade:
    """A certificate and what it was chosen among.

    Attributes:
        certificate: For the bundle.
        curve: Thresholds from safe to aggressive, beyond what is certified too.
        speed_up: Expected of the certified thresholds; 1 where nothing is certified.
        seconds: Of one document on average, by the certified thresholds.
        seconds_alone: By the last stage alone.
    """

    certificate: Certificate
    curve: tuple[CurvePoint, ...]
    speed_up: float
    seconds: float
    seconds_alone: float


def certify_cascade(
    answers: StepAnswers,
    truth: Targets | None,
    promise: Promise,
    stages: Sequence[StageRecord],
    *,
    data_digest: str = "",
    seed: int = 0,
) -> CertifiedCascade:
    """Choose thresholds and certify them.

    Args:
        answers: Of every step, on documents that no stage was trained or tuned on.
        truth: Their labels; only harm needs them.
        promise: What is to be certified.
        stages: The bundles, for the record.
        data_digest: Of the documents' file, for the record.
        seed: Of the division into documents that lay the path and documents that certify.

    Raises:
        InputError: Harm is to be bounded and there are no labels.
    """
    losses = _losses(answers, truth, promise.loss)
    design, certifying = _divide(answers.confidence.shape[1], len(answers.steps) - 1, seed)
    first = answers.select(design)
    path = (
        joint_path(first.confidence[:-1], first.agrees[:-1])
        if len(design)
        else threshold_path(len(answers.steps) - 1)
    )
    held = answers.select(certifying)
    lost = losses[:-1, certifying]
    result = certify(held.confidence[:-1], lost, path, promise.risk, promise.delta)
    thresholds = _chosen_thresholds(answers, result)
    stops = first_exits(held.confidence[:-1], thresholds)
    certificate = _write_certificate(held, stops, thresholds, result, promise).model_copy(
        update={"stages": tuple(stages), "data_digest": data_digest}
    )
    alone = answers.seconds_to(len(answers.steps) - 1, _all_but_last(answers))
    seconds = _mean_seconds(held, thresholds, stops)
    return CertifiedCascade(
        certificate,
        tuple(_curve(held, lost, path, result, alone)),
        alone / seconds if seconds else 1.0,
        seconds,
        alone,
    )


def _chosen_thresholds(answers: StepAnswers, result: Certification) -> Doubles:
    """Return the certified thresholds; infinite ones where nothing is, or nothing would stop."""
    chosen = result.accepted
    if chosen is None or chosen.exited == 0:
        return np.full(len(answers.steps) - 1, NEVER)
    return np.array(chosen.thresholds)


def _write_certificate(
    answers: StepAnswers,
    stops: Integers,
    thresholds: Doubles,
    result: Certification,
    promise: Promise,
) -> Certificate:
    """Write down what was certified, but for the stages."""
    chosen = result.accepted if np.isfinite(thresholds).any() else None
    return Certificate(
        loss=promise.loss,
        risk=promise.risk,
        delta=promise.delta,
        documents=len(stops),
        losses=0 if chosen is None else chosen.losses,
        p_value=1.0 if chosen is None else chosen.p_value,
        exited=float((stops < len(thresholds)).mean()) if len(stops) else 0.0,
        is_certified=chosen is not None,
        documents_needed=result.documents_needed,
        stages=(),
        steps=tuple(_step_records(answers, thresholds, stops)),
        path=record_path(result.points),
        audited_share=_audited_share(answers, stops, promise),
        unsure=_unsure(answers, thresholds),
    )


def _losses(answers: StepAnswers, truth: Targets | None, loss: LossName) -> Booleans:
    if loss == "disagreement":
        disagrees: Booleans = ~answers.agrees
        return disagrees
    if truth is None:
        raise InputError(
            "Harm is told by labels.",
            found="documents without labels",
            fix="Label them, or bound disagreement, which needs none.",
        )
    return answers.harms(truth)


def _divide(documents: int, thresholds: int, seed: int) -> tuple[Integers, Integers]:
    """Return the documents that lay the path of several thresholds, and those that certify."""
    order = np.random.default_rng(seed).permutation(documents)
    count = int(DESIGN_SHARE * documents) if thresholds > 1 else 0
    return np.sort(order[:count]), np.sort(order[count:])


def _step_records(
    answers: StepAnswers, thresholds: Doubles, stops: Integers
) -> Iterator[StepRecord]:
    for number, step in enumerate(answers.steps):
        threshold = None
        if number < len(thresholds) and np.isfinite(thresholds[number]):
            threshold = float(thresholds[number])
        exited = float((stops == number).mean()) if len(stops) else 0.0
        yield StepRecord(stage=step.stage, depth=step.depth, threshold=threshold, exited=exited)


def _audited_share(answers: StepAnswers, stops: Integers, promise: Promise) -> float:
    """Return the share of early answers that the audit lets differ from the last stage's."""
    if promise.loss == "disagreement":
        return promise.risk
    # Harm is not seen without labels. Differing answers are, and grow where harm grows.
    documents = len(stops)
    differing = int((~answers.agrees[stops, np.arange(documents)]).sum())
    bound = upper_bound(differing, documents, _BOUND_CONFIDENCE)
    return min(max(promise.risk, AUDIT_TOLERANCE * bound), 0.999)


def _unsure(answers: StepAnswers, thresholds: Doubles) -> tuple[UnsureRecord, ...]:
    reachable = np.flatnonzero(np.isfinite(thresholds))
    return unsure_shares(answers.confidence[reachable[0]]) if len(reachable) else ()


def _all_but_last(answers: StepAnswers) -> Booleans:
    skipped: Booleans = np.arange(len(answers.steps)) < len(answers.steps) - 1
    return skipped


def _mean_seconds(answers: StepAnswers, thresholds: Doubles, stops: Integers) -> float:
    """Return the time of a document on average, audits left out."""
    skipped = np.append(~np.isfinite(thresholds), False)
    counts = np.bincount(stops, minlength=len(answers.steps))
    spent = sum(
        int(count) * answers.seconds_to(step, skipped) for step, count in enumerate(counts) if count
    )
    return spent / max(len(stops), 1)


def _curve(
    answers: StepAnswers, lost: Booleans, path: Doubles, result: Certification, alone: float
) -> Iterator[CurvePoint]:
    """Yield points of the path, those that were not tested any more included."""
    documents = answers.confidence.shape[1]
    padded = np.vstack([lost, np.zeros((1, documents), dtype=np.bool_)])
    last_tested = len(result.points) - 1
    every = max(len(path) // _CURVE_POINTS, 1)
    shown = {*range(0, len(path), every), last_tested, max(last_tested - 1, 0), len(path) - 1}
    before = None
    for number in sorted(shown):
        stops = first_exits(answers.confidence[:-1], path[number])
        exited = float((stops < path.shape[1]).mean()) if documents else 0.0
        tested = result.points[number] if number <= last_tested else None
        if exited == before and number not in {last_tested, last_tested - 1}:
            continue
        before = exited
        seconds = _mean_seconds(answers, path[number], stops)
        yield CurvePoint(
            float(path[number, 0]) if np.isfinite(path[number, 0]) else None,
            exited,
            float(padded[stops, np.arange(documents)].mean()) if documents else 0.0,
            alone / seconds if seconds else 1.0,
            None if tested is None else tested.p_value,
            tested is not None and tested.accepted,
        )
