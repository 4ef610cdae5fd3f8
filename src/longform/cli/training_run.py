"""A training run as `train` and `distill` do it: read, train, export, report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longform.cli.checks import required
from longform.cli.train_records import EXPORT, READING, RecordOptions, RunRecords

if TYPE_CHECKING:
    from longform.config import RunConfig
    from longform.data.preparation import PreparedData
    from longform.export.encoders import EncoderExports
    from longform.export.parity import ParityRecord
    from longform.reporting import Reporter
    from longform.training.claiming import ClaimedRun
    from longform.training.fit import TrainedModel
    from longform.training.lessons import Distillation

_NO_PART_OF_A_RUN = {"data", "validation", "output_dir", "parity_documents", "checkpoint_storage"}


def run_training(
    config: RunConfig,
    reporter: Reporter,
    *,
    overwrite: bool = False,
    restart: bool = False,
    options: RecordOptions | None = None,
    teach: Callable[[PreparedData], Distillation] | None = None,
) -> dict[str, Any]:
    """Train by a configuration and write the bundle.

    Args:
        config: With `data` and `output_dir` set.
        reporter: Told what is decided and how it goes.
        overwrite: Replace a bundle that is there.
        restart: Forget an interrupted run.
        options: What is recorded of the run; None: log and report.
        teach: Adds a teacher, given the documents; None trains on labels alone.

    Returns:
        Where the bundle is, its metrics and what training did.

    Raises:
        InputError: The data, the encoder or the output cannot be used.
        ParityError: The export is not equal to the trained model.
    """
    from longform.cli.linear_run import run_linear
    from longform.config import LINEAR
    from longform.data.preparation import prepare_data
    from longform.reporting import RecordingReporter

    records = _check(config, overwrite, options or RecordOptions())
    target, reporter = records.target, RecordingReporter(reporter)
    with records.timed(READING):
        data = required("Training", config.data, "--data", "the training file")
        prepared = prepare_data(data, config, reporter)
    if config.encoder == LINEAR:
        return run_linear(config, prepared, records, reporter, overwrite=overwrite)
    trained, exports, run = _train(
        config, prepared, records, reporter, restart=restart, teach=teach
    )
    parity, default = _export(trained, prepared, exports, records, reporter, overwrite=overwrite)
    shutil.rmtree(_work_folder(target))
    if run.storage is not None:
        run.storage.forget()
    report = records.finish(trained, prepared.validation, reporter)
    reporter.say(_closing_lines(target, trained.metrics, trained.summary))
    return {
        "bundle": str(target),
        "default_backend": default,
        **_describe(trained, parity),
        "report": str(report) if report else None,
    }


def _work_folder(target: Path) -> Path:
    return target.parent / f"{target.name}.training"


def _train(
    config: RunConfig,
    prepared: PreparedData,
    records: RunRecords,
    reporter: Reporter,
    *,
    restart: bool,
    teach: Callable[[PreparedData], Distillation] | None,
) -> tuple[TrainedModel, EncoderExports, ClaimedRun]:
    """Train in the run's folder; of several processes only the first comes back from it."""
    from longform.export.encoders import EncoderExports, fastest_encoder
    from longform.reporting import Reporter as Silent
    from longform.training.devices import pick_device
    from longform.training.fit import fit
    from longform.training.processes import join_processes, leave_processes
    from longform.training.segment_lengths import propose_length

    work = _work_folder(records.target)
    trials: list[dict[str, Any]] = []

    def open_encoder(model: Any, digest: str, precision: str) -> Any:
        return fastest_encoder(model, EncoderExports(model, digest, work), precision, reporter)

    if is_launched():
        join_processes(pick_device(Silent(), config.device).name, config.ddp_timeout)
    if config.try_segment_lengths:
        config, trials = propose_length(config, prepared.train, reporter, open_encoder)
    distillation = teach(prepared) if teach else None
    run = _claim(work, config, prepared, distillation, reporter, restart=restart)
    parts, callbacks = (prepared.train, prepared.validation), records.callbacks(config, reporter)
    callbacks += [run.storage] if run.storage else []
    trained = fit(config, *parts, run.checkpoints, reporter, open_encoder, callbacks, distillation)
    leave_processes()
    if not is_main_process():
        # The first process exports what all have trained, and keeps its checkpoints until then.
        if run.owns:
            shutil.rmtree(work)
        raise SystemExit(0)
    trained.summary["data"] = prepared.account
    if trials:
        trained.summary["segment_length_trials"] = trials
    shared = trained.encoder_digest if config.frozen else None
    return trained, EncoderExports(trained.model, shared, work / "exports"), run


def _export(
    trained: TrainedModel,
    prepared: PreparedData,
    exports: EncoderExports,
    records: RunRecords,
    reporter: Reporter,
    *,
    overwrite: bool,
) -> tuple[dict[str, ParityRecord], str]:
    """Write the bundle; return how it compares with the model, and what is fastest here."""
    # Imported here: only training needs torch, and it takes seconds to load.
    from longform.backends.choice import default_backend
    from longform.bundle import load_bundle
    from longform.export.bundles import write_bundle

    target = records.target
    with records.timed(EXPORT):
        parity = write_bundle(
            trained, prepared.validation, exports, target, overwrite=overwrite, reporter=reporter
        )
        # Measured while the user waits anyway, not at the first request.
        return parity, default_backend(load_bundle(target), reporter)


def _check(config: RunConfig, overwrite: bool, options: RecordOptions) -> RunRecords:
    """Ask, before the work, whether its results will have a place."""
    from longform.bundle import check_output

    target = required("Training", config.output_dir, "--output", "the folder of the bundle")
    check_output(target, overwrite)
    records = RunRecords(target, options)
    records.check(config)
    return records


def _describe(trained: TrainedModel, parity: dict[str, ParityRecord]) -> dict[str, Any]:
    return {
        "metrics": trained.metrics,
        "training": trained.summary,
        "parity": {name: record.as_dict() for name, record in parity.items()},
    }


def _closing_lines(target: Path, metrics: dict[str, float], summary: dict[str, Any]) -> str:
    coverage = summary["coverage"]
    return (
        f"Done: {target}\n"
        f"  accuracy {100 * metrics['accuracy']:.2f}, macro-F1 {100 * metrics['macro_f1']:.2f} on "
        f"{summary['validation_documents']:,} validation documents\n"
        f"  {100 * coverage['share']:.1f} % of all tokens read, {summary['epochs']:g} epochs, "
        f"{summary['seconds']:,.0f} s of training\n"
        f"Next: longform evaluate {target} --data FILE   or   longform serve {target}"
    )


def is_main_process() -> bool:
    """Tell whether this is the only process of a run, or the first of those that were launched.

    `torchrun` and `accelerate launch` number them in the environment.
    """
    return int(os.environ.get("RANK", "0")) == 0


def is_launched() -> bool:
    """Tell whether this is one of several processes of a run."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def run_reporter() -> Reporter:
    """Return what speaks to the user, once for all processes."""
    from longform.reporting import ConsoleReporter, Reporter

    return ConsoleReporter() if is_main_process() else Reporter()


def _claim(
    work: Path,
    config: RunConfig,
    prepared: PreparedData,
    distillation: Distillation | None,
    reporter: Reporter,
    *,
    restart: bool,
) -> ClaimedRun:
    """Make the run's folder, or make sure that the one there is of the same run."""
    from longform.training.claiming import claim_together

    decisive = config.model_dump(mode="json", exclude=_NO_PART_OF_A_RUN)
    # Another number of processes makes other batches and, with them, another run.
    decisive["processes"] = int(os.environ.get("WORLD_SIZE", "1"))
    documents = [*prepared.train, *prepared.validation]
    if distillation is not None:
        decisive |= distillation.fingerprint
        documents += distillation.unlabelled
    return claim_together(
        work,
        decisive,
        documents,
        storage=config.checkpoint_storage,
        restart=restart,
        reporter=reporter,
    )
