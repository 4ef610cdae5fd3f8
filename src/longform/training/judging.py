"""What validation documents say of a model in training, decided as it will be served."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from transformers import EvalPrediction
from transformers.trainer_utils import PredictionOutput

from longform.decision.probabilities import sigmoid
from longform.decision.thresholds import tune_thresholds
from longform.evaluation.metrics import headline
from longform.types import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """What the validation documents say of a trained model.

    Attributes:
        metrics: Accuracy and macro-F1.
        logits: float32 `[docs, classes]`, in the order of the documents.
        seconds: Wall time of this validation.
        thresholds: float32 `[classes]`, least probabilities of each label, where a document may
            have several; they were tuned on the same documents that the metrics are of.
    """

    metrics: dict[str, float]
    logits: Floats
    seconds: float
    thresholds: Floats | None = None


def judge(output: PredictionOutput) -> Validation:
    """Judge the answers to the validation documents, and find the thresholds on them."""
    metrics = {name: float(output.metrics[f"eval_{name}"]) for name in ("accuracy", "macro_f1")}
    logits, seconds = _logits(output), float(output.metrics["eval_runtime"])
    targets = np.asarray(output.label_ids)
    if targets.ndim == 1:
        return Validation(metrics, logits, seconds)
    return Validation(metrics, logits, seconds, tune_thresholds(sigmoid(logits), targets > 0.5))


def measure(prediction: EvalPrediction) -> dict[str, float]:
    """Return accuracy and macro-F1, for the Trainer."""
    logits = _logits(prediction)
    labels = np.asarray(prediction.label_ids)
    if labels.ndim == 2:
        # Judged as it will be served: at the thresholds that suit these documents.
        targets, probabilities = labels > 0.5, sigmoid(logits)
        chosen = probabilities >= tune_thresholds(probabilities, targets)
        return headline(targets, chosen, logits.shape[-1])
    return headline(labels.astype(np.int64), logits.argmax(axis=-1), logits.shape[-1])


def _logits(output: EvalPrediction | PredictionOutput) -> Floats:
    logits = output.predictions
    return np.asarray(logits[0] if isinstance(logits, tuple) else logits, dtype=np.float32)
