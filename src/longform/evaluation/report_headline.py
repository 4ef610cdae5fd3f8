"""The top of an evaluation's page: its accuracy, and the figures that stand beside it."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from longform.evaluation.charts import draw_accuracy, percent
from longform.evaluation.evaluation import Evaluation
from longform.evaluation.markup import element
from longform.evaluation.page import significant
from longform.reporting import counted


def show_headline(evaluation: Evaluation, *notes: str) -> Element:
    """Build the first section: accuracy, and the figures beside it; notes stand below them."""
    right = int(evaluation.right.sum())
    meant = "all their labels and no others" if evaluation.is_multi_label else "the right label"
    low, high = evaluation.accuracy_interval
    error = evaluation.calibration_error
    tiles = [
        ("Macro-F1", percent(evaluation.macro_f1), "", _describe_macro(evaluation)),
        ("Calibration error", percent(error.debiased), "", _describe_certainty(evaluation)),
        (
            "Speed",
            significant(evaluation.documents_per_second),
            " documents/s",
            f"{significant(evaluation.tokens_per_second)} tokens/s, "
            f"{_describe_seconds(evaluation.seconds)} in all",
        ),
    ]
    return element(
        "section",
        element(
            "div",
            element("h2", "Accuracy"),
            element(
                "p",
                element("strong", percent(evaluation.accuracy), class_="figure"),
                element("span", f"95% interval {percent(low)} to {percent(high)}"),
                class_="accuracy",
            ),
            draw_accuracy(evaluation.accuracy, (low, high), evaluation.majority_accuracy),
            element(
                "p",
                f"{right:,} of {counted(evaluation.documents, 'document')} got {meant}.",
                class_="note",
            ),
            *(element("p", note, class_="note") for note in notes),
            class_="lead",
        ),
        element(
            "dl",
            *(
                element(
                    "div",
                    element("dt", name),
                    element("dd", value, element("small", unit), class_="figure"),
                    element("dd", note, class_="note"),
                )
                for name, value, unit, note in tiles
            ),
        ),
        class_="headline",
    )


def _describe_certainty(evaluation: Evaluation) -> str:
    scores, right = evaluation.decisions
    error = evaluation.calibration_error
    within = f"95% interval {percent(error.lower)} to {percent(error.upper)}; "
    points = 100 * float(scores.mean() - right.mean()) if len(scores) else 0.0
    if abs(points) < 0.5:
        return f"{within}scores are right on average"
    side = "high" if points > 0 else "low"
    return f"{within}scores are {abs(points):.1f} points too {side} on average"


def _describe_macro(evaluation: Evaluation) -> str:
    if not evaluation.is_multi_label:
        return _describe_weakest(evaluation)
    area = evaluation.macro_roc_auc
    ranked = f", mean area under the ROC curve {percent(area)}" if area is not None else ""
    return f"micro-F1 {percent(evaluation.micro_f1)}{ranked}"


def _describe_weakest(evaluation: Evaluation) -> str:
    known = [scores for scores in evaluation.per_class if scores.support]
    weakest = min(known, key=lambda scores: scores.f1, default=None)
    return f"weakest: {weakest.label} with {percent(weakest.f1)}" if weakest else ""


def _describe_seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{significant(seconds)} s"
