"""The steps of `longform calibrate`, from documents to a bundle that decides by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from longform.bundle import Bundle, extending_bundle, file_digest, load_bundle, write_description
from longform.data.duplicates import first_of_each_text
from longform.data.labels import LabelMap
from longform.decision.binomial import binomial_sf
from longform.decision.fitting import CalibrationRequest, FittedRule, Parts, fit_rule, is_right
from longform.decision.rule import DecisionRule
from longform.evaluation.confidence import ConfidenceFigures, measure_confidence
from longform.evaluation.evaluation import Evaluation, Measured, evaluate
from longform.evaluation.report import write_report
from longform.inference.predictor import Predictor
from longform.inference.scorer import Scores
from longform.reporting import Reporter
from longform.types import Coverage, Document, Floats, Targets

_SUSPICIOUS = 1e-4
"""Probability below which documents that are answered too well are taken for training documents."""


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationRun:
    """What was done.

    Attributes:
        fitted: The new rule.
        figures: Of the testing part.
        parts: Number of documents that scaled, found the bounds, and tested.
        decision: As it was written into the bundle.
        digest: Of the bundle, as it is now.
        evaluation: Of the testing part.
    """

    fitted: FittedRule
    figures: ConfidenceFigures
    parts: tuple[int, int, int]
    decision: dict[str, Any]
    digest: str
    evaluation: Evaluation

    def write_report(self, path: Path) -> None:
        """Write the page of the testing part.

        Raises:
            InputError: The file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        write_report(path, self.evaluation)


def calibrate_bundle(
    predictor: Predictor,
    place: Path,
    data: Path,
    documents: Sequence[Document],
    request: CalibrationRequest,
    reporter: Reporter,
) -> CalibrationRun:
    """Score documents, calibrate by some of them, judge by the others, and rewrite the bundle.

    Args:
        predictor: The bundle, opened.
        place: Where it was loaded from.
        data: The file of the documents, for the record.
        documents: Labelled, and not trained on.
        request: What is wanted.
        reporter: Told how it goes.

    Raises:
        InputError: There are too few documents, or labels that the bundle does not know.
        GateError: The requested error cannot be certified.
    """
    bundle, rule = predictor.bundle, predictor.rule
    label_map = LabelMap(rule.labels, rule.problem_type)
    label_map.targets(documents)
    kept = _without_copies(documents, reporter)
    request.check(len(kept))
    targets = label_map.targets(kept)
    scores = _score(predictor, kept, reporter)
    tokens = np.array([item.tokens_total for item in scores.coverage], dtype=np.int64)
    _suspect_training(bundle, rule, scores.logits, targets, reporter)
    parts = Parts.of(len(kept), request.seed)
    fitted = fit_rule(rule, scores.logits, targets, tokens, parts, request)
    testing = parts.testing
    figures = measure_confidence(
        fitted.rule, scores.logits[testing], targets[testing], tokens[testing]
    )
    counts = len(parts.scaling), len(parts.bounding), len(parts.testing)
    record = _record(data, counts, fitted, figures, request, predictor)
    decision = {**fitted.rule.as_settings(), "calibration": record}
    with extending_bundle(bundle, place) as staging:
        changed = bundle.description.model_copy(update={"decision": decision})
        write_description(staging, changed)
    written = load_bundle(place)
    tested = [kept[row] for row in testing]
    measured = Measured(
        Scores(scores.logits[testing], tuple(scores.coverage[row] for row in testing)),
        scores.infer_seconds * len(tested) / len(kept),
        str(predictor.backend_info),
    )
    judged = Predictor(written, predictor.scorer)
    evaluation = evaluate(judged, tested, Reporter(), data=data.name, measured=measured)
    return CalibrationRun(fitted, figures, counts, decision, written.digest, evaluation)


def _without_copies(documents: Sequence[Document], reporter: Reporter) -> list[Document]:
    """Leave one of each text: a copy in two parts would test what it had fitted."""
    kept = first_of_each_text(documents)
    if len(kept) < len(documents):
        reporter.say(
            f"{len(documents) - len(kept):,} documents have the text of an earlier one: left out."
        )
    return kept


def _score(predictor: Predictor, documents: Sequence[Document], reporter: Reporter) -> Scores:
    logits: list[Floats] = []
    coverage: list[Coverage] = []
    seconds = 0.0
    with reporter.track("Scoring", len(documents)) as advance:
        for window, scores in predictor.iterate_scores(documents):
            logits.append(scores.logits)
            coverage += scores.coverage
            seconds += scores.infer_seconds
            advance(len(window))
    return Scores(np.concatenate(logits), tuple(coverage), infer_seconds=seconds)


def _suspect_training(
    bundle: Bundle, rule: DecisionRule, logits: Floats, targets: Targets, reporter: Reporter
) -> None:
    """Warn where the answers are better than chance explains: were these trained on?"""
    known = bundle.description.metrics.get("accuracy")
    validated = bundle.description.training.get("validation_documents")
    if not isinstance(known, float) or not isinstance(validated, int) or rule.costs is not None:
        return
    right = int(is_right(rule.decide(logits), targets).sum())
    # The accuracy of validation is itself uncertain: taken one standard error higher.
    assumed = min(known + (known * (1 - known) / max(validated, 1)) ** 0.5, 0.9999)
    if binomial_sf(right, len(targets), assumed) < _SUSPICIOUS:
        reporter.say(
            f"{100 * right / len(targets):.1f} % of these documents are answered rightly, of the "
            f"validation documents {100 * known:.1f} %: if the model was trained on some of these, "
            "all that follows promises too much."
        )


def _record(
    data: Path,
    counts: tuple[int, int, int],
    fitted: FittedRule,
    figures: ConfidenceFigures,
    request: CalibrationRequest,
    predictor: Predictor,
) -> dict[str, Any]:
    """Return what a bundle keeps of how it was calibrated: counts, and no text."""
    record: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data_digest": file_digest(data),
        "bundle_digest": predictor.bundle.digest,
        "backend": str(predictor.backend_info),
        "documents": {"scaling": counts[0], "bounding": counts[1], "testing": counts[2]},
        "seed": request.seed,
        "temperature_was_measured": fitted.fit.is_measured,
        "gain_by_length": fitted.fit.gain_by_length,
        "tested": figures.as_json(),
    }
    if request.class_conditional:
        record["classes_that_share_a_quantile"] = list(fitted.sharing)
    if fitted.tested:
        last = [item for item in fitted.tested if item.passed][-1]
        record["certified"] = {
            "answered": last.answered,
            "wrong": last.wrong,
            "p_value": last.p_value,
            "thresholds_tested": len(fitted.tested),
        }
    return record
