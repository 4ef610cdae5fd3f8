"""The calls that users of Happy Transformer know, over the ordinary training and prediction."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longform.bundle import load_bundle, writing_bundle
from longform.cli.arguments import data_settings
from longform.cli.training_run import run_training
from longform.config import load_config
from longform.data.labels import LabelMap
from longform.data.readers import read_documents
from longform.errors import InputError
from longform.evaluation.evaluation import evaluate
from longform.inference.predictor import Predictor, load
from longform.reporting import ConsoleReporter

TEXT_CLASSIFICATION = "text_classification"
_THEIR_NAMES = {
    "batch_size": "per_device_train_batch_size",
    "gas": "gradient_accumulation_steps",
    "eval_ratio": "validation_split",
}


@dataclass(frozen=True, slots=True)
class TextClassificationResult:
    """A label and its probability."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class EvalResult:
    """What a model makes of labelled documents.

    Attributes:
        loss: Mean cross-entropy of the documents, in nats; of several labels, the mean over them.
        metrics: `accuracy`, `macro_f1` and whatever else `longform evaluate --json` gives.
    """

    loss: float
    metrics: dict[str, Any]


class HappyTextClassification:
    """A text classifier, trained or to be trained.

    Args:
        model_type: Not needed: the encoder's folder says what it is.
        model_name: Folder or name of a Hugging Face encoder; `bag` trains from nothing.
        num_labels: Labels that the training file must have; None takes what it has.
        load_path: A bundle to classify with at once.
    """

    def __init__(
        self,
        model_type: str | None = None,
        model_name: str = "bag",
        num_labels: int | None = None,
        load_path: str = "",
    ) -> None:
        self.model_name = model_name
        self.num_labels = num_labels
        self._reporter = ConsoleReporter()
        self._predictor: Predictor | None = load(load_path) if load_path else None

    def train(
        self,
        train_data: str | Path,
        eval_data: str | Path | None = None,
        args: Mapping[str, Any] | Any = None,
    ) -> EvalResult:
        """Train on a file and keep the bundle until `save`.

        Args:
            train_data: Labelled documents, in a file of any kind that `longform train` takes.
            eval_data: Documents that choose the best epoch; None holds a tenth out.
            args: Settings by their names in `longform train` or Happy Transformer, in a mapping
                or an object with attributes; `output_dir` keeps the bundle there.

        Returns:
            How the model does on `eval_data`, or without it on `train_data`.

        Raises:
            InputError: A file cannot be read, or has another number of labels than `num_labels`.
            ConfigError: A setting is not known.
        """
        given = args or {}
        given = given if isinstance(given, Mapping) else vars(given)
        values = {_THEIR_NAMES.get(name, name): value for name, value in given.items()}
        if "output_dir" not in values:
            own = tempfile.mkdtemp(prefix="longform-")
            weakref.finalize(self, shutil.rmtree, own, ignore_errors=True)
            values["output_dir"] = str(Path(own) / "bundle")
        paths = {"data": str(train_data), "validation": str(eval_data) if eval_data else None}
        config = load_config(None, {"encoder": self.model_name, **values, **paths})
        documents = read_documents(Path(train_data), config.data_settings()).documents
        found = len(LabelMap.from_documents(documents))
        if self.num_labels not in (None, found):
            raise InputError(
                "The training file must have the labels that were announced.",
                found=f"{found} labels, and num_labels {self.num_labels}",
                fix="Correct num_labels, or leave it out.",
            )
        run_training(config, self._reporter)
        self._predictor = load(str(config.output_dir))
        return self.eval(eval_data or train_data)

    def eval(self, data: str | Path) -> EvalResult:
        """Judge the model on labelled documents."""
        predictor = self._trained()
        settings = data_settings(predictor.bundle)
        documents = read_documents(Path(data), settings).documents
        found = evaluate(predictor, documents, self._reporter, data=str(data))
        likely = np.clip(found.probabilities.astype(np.float64), 1e-12, 1.0)
        if found.is_multi_label:
            unlikely = np.clip(1.0 - likely, 1e-12, 1.0)
            loss = -np.where(found.labels, np.log(likely), np.log(unlikely)).mean()
        else:
            loss = -np.log(likely[np.arange(len(documents)), found.labels]).mean()
        return EvalResult(float(loss), found.as_json())

    def classify_text(self, text: str) -> TextClassificationResult:
        """Classify a text of any length, all of it."""
        (answer,) = self._trained().predict([text])
        return TextClassificationResult(answer.label, answer.score)

    def save(self, path: str | Path) -> None:
        """Save the bundle at a path where nothing stands, for `longform serve` or `load_path`."""
        bundle = load_bundle(self._trained().bundle.folder)
        with writing_bundle(Path(path)) as staging:
            for name in bundle.files:
                (staging / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(bundle.path(name), staging / name)

    def _trained(self) -> Predictor:
        if self._predictor is None:
            raise InputError(
                "A model must be trained before it is used.",
                found="none",
                fix="Call train(...) first, or give load_path.",
            )
        return self._predictor


class HappyTransformer(HappyTextClassification):
    """The same, chosen by its task.

    Args:
        TASK_TYPE: `TEXT_CLASSIFICATION`, the only one.
        **arguments: Of `HappyTextClassification`.

    Raises:
        InputError: The task is another one.
    """

    def __init__(self, TASK_TYPE: str = TEXT_CLASSIFICATION, **arguments: Any) -> None:
        if TASK_TYPE.lower().replace("-", "_") != TEXT_CLASSIFICATION:
            raise InputError(
                "The task is text_classification.",
                found=f"TASK_TYPE '{TASK_TYPE}'",
                fix="Leave it out, or pass longform.TEXT_CLASSIFICATION.",
            )
        super().__init__(**arguments)
