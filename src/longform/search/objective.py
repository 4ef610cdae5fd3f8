"""One trial: a training run by the ordinary path, watched, without an export."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from longform.backends.torch import TorchBackend
from longform.config import RunConfig
from longform.export.encoders import EncoderExports, fastest_encoder
from longform.inference.neural import NeuralScorer
from longform.reporting import Advance, Reporter
from longform.search.watch import Checks, Measured, Watch
from longform.text.segmenter import Segmenter
from longform.training.fit import TrainedModel, fit
from longform.types import Document

Metric = Literal["macro_f1", "accuracy"]

_TIMED_DOCUMENTS = 16


class TrialCallback(TrainerCallback):
    """Tells the watch each validation, and asks it after each step.

    Args:
        watch: Raises when the trial is to end.
        metric: Of the validation documents.
    """

    def __init__(self, watch: Checks, metric: Metric) -> None:
        self._watch = watch
        self._metric = metric

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask whether to go on."""
        self._watch.check()

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask whether to go on."""
        self._watch.check()

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Tell the metric after an epoch. Epochs that several validations divide count once."""
        value = (metrics or {}).get(f"eval_{self._metric}")
        if value is not None:
            self._watch.report(int((state.epoch or 0) + 1e-6), float(value))


class TrialReporter(Reporter):
    """Writes what a trial says to a file, and asks the watch while anything is tracked.

    Args:
        log: Is appended to.
        watch: Raises when the trial is to end.
    """

    def __init__(self, log: Path, watch: Checks) -> None:
        self._log = log
        self._watch = watch

    def say(self, message: str) -> None:
        """Append a line."""
        with self._log.open("a", encoding="utf-8") as file:
            file.write(message + "\n")

    @contextmanager
    def track(
        self, description: str, total: float, unit: str = "documents", done: float = 0
    ) -> Iterator[Advance]:
        """Show nothing; the bar is that of the search."""
        yield lambda amount, description=None, /, **details: self._watch.check()


class TrialTraining:
    """Trains the settings of a trial on documents that are the same for all.

    Args:
        train: Documents to learn from.
        validation: Documents that judge, and choose the best epoch.
        folder: For what a trial leaves while it runs.
        metric: What is made as high as it can be.
    """

    def __init__(
        self,
        train: Sequence[Document],
        validation: Sequence[Document],
        folder: Path,
        metric: Metric,
    ) -> None:
        self._train = train
        self._validation = validation
        self._folder = folder
        self._metric = metric

    def __call__(self, config: RunConfig, watch: Watch) -> Measured:
        """Train, and time the model.

        Raises:
            Stopped: The watch ended it.
        """
        reporter = TrialReporter(self._folder / "trials.log", watch)
        callback = TrialCallback(watch, self._metric)
        trained = train_once(
            config,
            (self._train, self._validation),
            self._folder / "trial",
            reporter,
            [callback],
        )
        timed = scorer_of(trained).score(self._validation[:_TIMED_DOCUMENTS])
        seconds = timed.tokenize_seconds + timed.infer_seconds
        milliseconds = 1_000 * seconds / len(timed.coverage)
        return Measured(trained.metrics[self._metric], round(milliseconds, 3))


def train_once(
    config: RunConfig,
    parts: tuple[Sequence[Document], Sequence[Document]],
    work: Path,
    reporter: Reporter,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainedModel:
    """Train one configuration from the beginning; its checkpoints are gone afterwards."""
    shutil.rmtree(work, ignore_errors=True)

    def open_encoder(model: Any, digest: str, precision: Any) -> Any:
        return fastest_encoder(model, EncoderExports(model, digest, work), precision, reporter)

    try:
        return fit(
            config, *parts, work / "checkpoints", reporter, open_encoder, callbacks=callbacks
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


def scorer_of(trained: TrainedModel) -> NeuralScorer:
    """Return what scores documents by a trained model in torch, the reference of every export."""
    segmenter = Segmenter(trained.tokenizer, trained.config.segment_settings())
    pairs = trained.config.text_pair_column is not None
    # The backend would set the threads of later trials, too.
    backend = TorchBackend(trained.model, threads=torch.get_num_threads())
    return NeuralScorer(segmenter, backend, pairs=pairs, linear=trained.linear)
