"""The log of a run for TensorBoard, MLflow and Weights & Biases, beside the bundle, not online."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import MLflowCallback, TensorBoardCallback, WandbCallback

from longform.extras import check_installed
from longform.reporting import Reporter

_MLFLOW_RUN, _WANDB_RUN = "mlflow-run", "wandb-run"
"""Files that keep the name of the run, so that a continued one adds to the same curves."""


def tracking_callbacks(
    report_to: Sequence[str], folder: Path, reporter: Reporter
) -> list[TrainerCallback]:
    """Build what writes the log of a run.

    Args:
        report_to: `tensorboard`, `mlflow`, `wandb`, in any number.
        folder: Where the logs go; it may hold those of earlier runs.
        reporter: Told where they go.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    for name in report_to:
        check_installed(name, f"report_to: {name}")
    callbacks: list[TrainerCallback] = []
    if "tensorboard" in report_to:
        callbacks.append(TensorBoardLog(folder / "tensorboard", reporter))
    if "mlflow" in report_to:
        callbacks.append(_open_mlflow(folder))
    if "wandb" in report_to:
        callbacks.append(_open_wandb(folder))
        reporter.say(
            f"Weights & Biases: mode {os.environ['WANDB_MODE']}, files under {folder / 'wandb'}."
        )
    return callbacks


class TensorBoardLog(TensorBoardCallback):
    """Writes TensorBoard's files: a folder for each run, which a continued run goes on in.

    Args:
        folder: Of all runs; one that does not continue another gets a folder of its own in it.
        reporter: Told when the files cannot be written; training goes on without them.
    """

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        super().__init__()
        self._folder = folder
        self._reporter = reporter
        self._is_open = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the files."""
        if not state.is_world_process_zero:
            return
        earlier = sorted(self._folder.glob("*/")) if state.global_step else []
        run = earlier[-1] if earlier else self._new_run()
        self.logging_dir = str(run)
        # What was logged after the checkpoint is computed again: the old points give way.
        purge = state.global_step + 1 if state.global_step else None
        begin = super().on_train_begin
        try:
            self.tb_writer = self._SummaryWriter(log_dir=self.logging_dir, purge_step=purge)
            begin(args, state, control, **kwargs)
            self._is_open = True
        except OSError as error:
            self._give_up(error)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the figures of a step."""
        if not self._is_open:
            return
        try:
            super().on_log(args, state, control, logs, **kwargs)
        except OSError as error:
            self._give_up(error)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the files."""
        if self._is_open:
            self._is_open = False
            super().on_train_end(args, state, control, **kwargs)

    def _give_up(self, error: OSError) -> None:
        # The curves are not worth the run.
        self._is_open = False
        self.tb_writer = None
        self._reporter.say(
            f"Warning: the log for TensorBoard ends here: {error.strerror or error} "
            f"({self.logging_dir}). Training goes on."
        )

    def _new_run(self) -> Path:
        name = time.strftime("%Y%m%d-%H%M%S")
        same = len(list(self._folder.glob(f"{name}*/")))
        return self._folder / (f"{name}-{same}" if same else name)


class MLflowLog(MLflowCallback):
    """Goes on with the run of MLflow that an interrupted training began.

    Args:
        record: File that keeps the name of the run.
    """

    def __init__(self, record: Path) -> None:
        super().__init__()
        self._record = record

    def setup(self, args: TrainingArguments, state: TrainerState, model: Any) -> None:
        """Begin a run, or continue the one that the checkpoint is of."""
        if state.global_step and self._record.is_file():
            os.environ["MLFLOW_RUN_ID"] = self._record.read_text(encoding="utf-8")
        super().setup(args, state, model)
        active = self._ml_flow.active_run()
        if state.is_world_process_zero and active is not None:
            self._record.write_text(active.info.run_id, encoding="utf-8")


class WandbLog(WandbCallback):
    """Goes on with the run of Weights & Biases that an interrupted training began.

    Args:
        record: File that keeps the name of the run.
    """

    def __init__(self, record: Path) -> None:
        super().__init__()
        self._record = record

    def setup(
        self, args: TrainingArguments, state: TrainerState, model: Any, **kwargs: Any
    ) -> None:
        """Begin a run, or continue the one that the checkpoint is of."""
        if state.is_world_process_zero and "WANDB_RUN_ID" not in os.environ:
            if not (state.global_step and self._record.is_file()):
                self._record.write_text(secrets.token_hex(4), encoding="utf-8")
            os.environ["WANDB_RUN_ID"] = self._record.read_text(encoding="utf-8")
            os.environ.setdefault("WANDB_RESUME", "allow")
        super().setup(args, state, model, **kwargs)


def _open_mlflow(folder: Path) -> MLflowLog:
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{(folder / 'mlflow.db').resolve()}")
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", "longform")
    # Usage figures would be sent to its makers.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    return MLflowLog(folder / _MLFLOW_RUN)


def _open_wandb(folder: Path) -> WandbLog:
    folder.mkdir(parents=True, exist_ok=True)
    # Online only for those who say so.
    os.environ.setdefault("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_DIR", str(folder))
    os.environ.setdefault("WANDB_PROJECT", "longform")
    return WandbLog(folder / _WANDB_RUN)
