"""A student held against its teacher on validation documents: what it lost, and what it saves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from longform.data.labels import LabelMap
from longform.evaluation.metrics import headline
from longform.reporting import Reporter
from longform.training.teacher import Answers, Teacher
from longform.types import Document, Targets

LEAST_RELATIVE_ACCURACY = 0.95
"""Share of the teacher's accuracy below which a student is warned of (FEATURES S2-01)."""


def compare_with_teacher(
    teacher: Teacher,
    validation: Sequence[Document],
    labels: LabelMap,
    metrics: dict[str, float],
    model: nn.Module,
    reporter: Reporter,
) -> dict[str, Any]:
    """Hold a student against its teacher on the validation documents, and say the result.

    Args:
        teacher: Open.
        validation: Labelled documents.
        labels: Of the student.
        metrics: Accuracy and macro-F1 of the student on them.
        model: The student.
        reporter: Told when the student is below `LEAST_RELATIVE_ACCURACY`.

    Returns:
        Figures of the teacher, relative accuracy (None where the teacher has none right) and the
        student's number of parameters.
    """
    answers = teacher.answers(validation, labels, reporter)
    taught = _judge(teacher, answers, labels, labels.targets(validation))
    share = metrics["accuracy"] / taught["accuracy"] if taught["accuracy"] else None
    parameters = sum(parameter.numel() for parameter in model.parameters())
    told = {
        "name": teacher.name,
        "digest": teacher.digest,
        "parameters": teacher.parameters,
        "metrics": taught,
    }
    reporter.say(
        f"Student against teacher {teacher.name}, on {len(validation):,} validation "
        f"documents: accuracy {100 * metrics['accuracy']:.2f} against "
        f"{100 * taught['accuracy']:.2f}, macro-F1 {100 * metrics['macro_f1']:.2f} against "
        f"{100 * taught['macro_f1']:.2f}, {parameters:,} parameters against "
        f"{told['parameters']:,}."
    )
    if share is not None and share < LEAST_RELATIVE_ACCURACY:
        reporter.say(
            f"WARNING: the student has {100 * share:.1f} % of the teacher's accuracy, less "
            f"than the {100 * LEAST_RELATIVE_ACCURACY:.0f} % expected of it. More documents "
            "for --unlabelled, more epochs or a larger student help."
        )
    return {"teacher": told, "relative_accuracy": share, "parameters": parameters}


def _judge(
    teacher: Teacher, answers: Answers, labels: LabelMap, targets: Targets
) -> dict[str, float]:
    rule = teacher.rule
    # Back to the order of the bundle, in which the rule has its thresholds.
    order = [labels.names.index(name) for name in rule.labels]
    back = [rule.labels.index(name) for name in labels.names]
    decided = rule.decide(answers.logits[:, order])
    if labels.is_multi_label:
        predicted: Targets = decided[:, back]
    else:
        predicted = np.array(order, dtype=np.int64)[decided]
    return headline(targets, predicted, len(labels))
