"""What `longform train` leaves beside the bundle: the log, the profile and the report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longform.cli.checks import prepare_report

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from longform.config import RunConfig
    from longform.evaluation.training_report import TrainingRecord
    from longform.reporting import RecordingReporter, Reporter
    from longform.training.fit import TrainedModel
    from longform.types import Document

_LIBRARIES = ("torch", "transformers", "accelerate", "peft", "onnx", "onnxscript", "onnxslim")


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What is to be recorded of a run.

    Attributes:
        report: File of the report; None puts it beside the bundle.
        has_report: Whether there is to be one.
        has_profile: Whether a few steps are profiled.
    """

    report: Path | None = None
    has_report: bool = True
    has_profile: bool = False


@dataclass(slots=True)
class RunRecords:
    """The places of a run's records, and the time of its phases.

    None of them lies in the bundle: they quote documents and name folders of this machine.

    Attributes:
        target: The bundle.
        options: What is to be recorded.
        seconds: Wall time of each phase outside the training itself.
    """

    target: Path
    options: RecordOptions
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def report(self) -> Path:
        """File of the report."""
        return self.options.report or self._beside("report.html")

    @property
    def logs(self) -> Path:
        """Folder of the logs of this run and earlier ones."""
        return self._beside("logs")

    def _beside(self, kind: str) -> Path:
        return self.target.parent / f"{self.target.name}.{kind}"

    def check(self, config: RunConfig) -> None:
        """Make sure, before the work, that it can be done and recorded.

        Raises:
            InputError: The report would lie in the bundle.
            MissingExtraError: A library of training, or one that `report_to` names, is not there.
        """
        from longform.config import LINEAR
        from longform.extras import check_installed

        if config.encoder == LINEAR:
            check_installed("sklearn", "Fitting a linear model")
        for library in () if config.encoder == LINEAR else _LIBRARIES:
            check_installed(library, "Training")
        for name in config.report_to:
            check_installed(name, f"report_to: {name}")
        if self.options.has_profile:
            # Read when torch is imported: its profiler announces itself on standard error.
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        prepare_report(self.report, self.target)

    def callbacks(self, config: RunConfig, reporter: Reporter) -> list[TrainerCallback]:
        """Build what watches the training."""
        from longform.training.profiling import ProfileCallback
        from longform.training.tracking import tracking_callbacks

        callbacks = tracking_callbacks(config.report_to, self.logs, reporter)
        if self.options.has_profile:
            callbacks.append(ProfileCallback(self._beside("profile"), reporter))
        return callbacks

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the time of a phase."""
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def finish(
        self, trained: TrainedModel, documents: Sequence[Document], reporter: RecordingReporter
    ) -> Path | None:
        """Write the report and say where it and the other records are; see `write_report`."""
        report = self.write_report(trained, documents, reporter)
        reporter.say(self.closing_lines(trained, report))
        return report

    def write_report(
        self, trained: TrainedModel, documents: Sequence[Document], reporter: RecordingReporter
    ) -> Path | None:
        """Write the report, unless it is not wanted. A run that made its bundle does not fail here.

        Args:
            trained: What was trained.
            documents: The validation documents, in the order in which they were judged.
            reporter: Kept what the run said.

        Returns:
            The file that was written.
        """
        from longform.errors import LongformError
        from longform.evaluation.evaluation import Measured, evaluate
        from longform.evaluation.training_report import write_training_report
        from longform.inference.predictor import load

        if not self.options.has_report or trained.validation is None:
            return None
        config = trained.config
        device = trained.summary["device"]
        measured = Measured(
            trained.validation, trained.validation.infer_seconds, f"torch on {device}"
        )
        data = name_validation(config)
        try:
            # The ONNX encoder is always there, and known to give the trained model's answers.
            with load(self.target, "onnx") as predictor:
                evaluation = evaluate(
                    predictor, documents, reporter, data=data, measured=measured, explain=True
                )
            self.report.parent.mkdir(parents=True, exist_ok=True)
            write_training_report(self.report, evaluation, self._record(trained, reporter))
        except (LongformError, OSError) as error:
            reporter.say(f"Warning: the report was not written, the bundle is whole. {error}")
            return None
        return self.report

    def _record(self, trained: TrainedModel, reporter: RecordingReporter) -> TrainingRecord:
        from longform.config import RunConfig
        from longform.evaluation.training_report import TrainingRecord

        settings = trained.config.model_dump(mode="json")
        defaults = RunConfig().model_dump(mode="json")
        return TrainingRecord(
            history=trained.history,
            chosen_by=f"eval_{trained.config.metric_for_best_model}",
            seconds=self.all_seconds(trained.summary),
            figures=list_figures(trained.summary),
            settings=settings,
            changed=frozenset(name for name in settings if settings[name] != defaults[name]),
            told=tuple(reporter.told),
        )

    def all_seconds(self, summary: dict[str, Any]) -> dict[str, float]:
        """Return the wall time of all phases, in the order in which they ended."""
        before = {name: value for name, value in self.seconds.items() if name == READING}
        after = {name: value for name, value in self.seconds.items() if name != READING}
        return {**before, **summary.get("time", {}), **after}

    def closing_lines(self, trained: TrainedModel, report: Path | None) -> str:
        """Say where the time went and where the records are."""
        seconds = self.all_seconds(trained.summary)
        total = sum(seconds.values()) or 1.0
        parts = [
            f"{name} {value:,.1f} s ({100 * value / total:.0f} %)"
            for name, value in seconds.items()
        ]
        figures = ", ".join(f"{name} {value}" for name, value in list_figures(trained.summary))
        lines = [f"Time: {', '.join(parts)}.", f"  {figures}"]
        if "tensorboard" in trained.config.report_to:
            lines.append(f"Curves: tensorboard --logdir {self.logs / 'tensorboard'}")
        if report is not None:
            lines.append(f"Report: {report} (it quotes documents)")
        return "\n".join(lines)


def name_validation(config: RunConfig) -> str:
    """Say which documents a run is validated on."""
    name = Path(config.validation or config.data or "").name
    return name if config.validation else f"{name}, the part held out for validation"


READING, EXPORT = "reading the data", "export"


def list_figures(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what training counted of itself, each figure with its name."""
    figures = []
    if "documents_per_second" in summary:
        speed = f"{summary['documents_per_second']:,} documents/s"
        figures.append(("trained at", speed))
    for place, amount in summary.get("peak_memory", {}).items():
        where = "peak memory" if place == "process" else f"peak memory of the {place} device"
        figures.append((where, f"{amount / 1e9:.2f} GB"))
    if "utilization" in summary:
        told = f"{100 * summary['utilization']:.0f} % (time in which any kernel ran)"
        figures.append(("device had work", told))
    return figures
