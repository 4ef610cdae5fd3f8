"""`longform train`: one command from a file to a bundle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longform.cli.arguments import (
    AsJson,
    Encoding,
    EncodingErrors,
    RunLabelColumn,
    RunLabelSeparator,
    RunSettings,
    RunTextColumn,
    RunTextPairColumn,
    SetSettings,
    print_json,
    resolve_config,
)
from longform.cli.train_records import EXPORT, READING, RecordOptions, RunRecords

if TYPE_CHECKING:
    from longform.config import RunConfig
    from longform.data.preparation import PreparedData
    from longform.export.parity import ParityRecord
    from longform.reporting import Reporter
    from longform.training.fit import TrainedModel
    from longform.training.lessons import Distillation

_NO_PART_OF_A_RUN = {"data", "validation", "output_dir", "parity_documents"}

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the bundle that is at --output.")
]
Restart = Annotated[
    bool,
    typer.Option("--restart", help="Begin anew instead of continuing an interrupted run."),
]

ReportFile = Annotated[
    Path | None,
    typer.Option(help="HTML report of the run. Left out, OUTPUT.report.html beside the bundle."),
]
NoReport = Annotated[bool, typer.Option("--no-report", help="Write no report.")]
Profile = Annotated[
    bool,
    typer.Option("--profile", help="Profile a few steps: a trace and a table in OUTPUT.profile."),
]


def train(  # noqa: PLR0913 - one argument for each flag
    settings: RunSettings = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Labelled documents: a file of any kind in docs/data.md, or a folder."),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Documents that choose the best epoch. "
            "Left out, a tenth of the data is held out, by class."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the bundle to write.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="'bag' trains from nothing; else a Hugging Face encoder, folder or name."
        ),
    ] = None,
    set_: SetSettings = None,
    text_column: RunTextColumn = None,
    label_column: RunLabelColumn = None,
    text_pair_column: RunTextPairColumn = None,
    label_separator: RunLabelSeparator = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    overwrite: Overwrite = False,
    restart: Restart = False,
    report: ReportFile = None,
    no_report: NoReport = False,
    profile: Profile = False,
    as_json: AsJson = False,
) -> None:
    """Train a classifier and write it as a bundle.

    An interrupted run is continued by the same command.
    """
    flags = {
        "data": str(data) if data else None,
        "validation": str(validation) if validation else None,
        "output_dir": str(output) if output else None,
        "encoder": encoder,
        "text_column": text_column,
        "label_column": label_column,
        "text_pair_column": text_pair_column,
        "label_separator": label_separator,
        "encoding": encoding,
        "encoding_errors": encoding_errors,
    }
    # What follows the first setting of --set arrives among the plain arguments.
    config = resolve_config(settings or [], set_ or [], flags)
    records = RecordOptions(report, not no_report, profile)
    summary = run_training(
        config, run_reporter(), overwrite=overwrite, restart=restart, options=records
    )
    if as_json:
        print_json(summary)


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
    from longform.data.preparation import prepare_data
    from longform.reporting import RecordingReporter

    records = _check(config, overwrite, options or RecordOptions())
    target, reporter = records.target, RecordingReporter(reporter)
    with records.timed(READING):
        data = _required(config.data, "--data", "the training file")
        prepared = prepare_data(data, config, reporter)
    # Imported here: only training needs torch, and it takes seconds to load.
    from longform.export.bundles import write_bundle
    from longform.export.encoders import EncoderExports, fastest_encoder
    from longform.training.distributed import leave_processes
    from longform.training.fit import fit

    work = target.parent / f"{target.name}.training"
    distillation = teach(prepared) if teach else None
    checkpoints = _claim(work, config, prepared, distillation, restart)

    def open_encoder(model: Any, digest: str, precision: str) -> Any:
        return fastest_encoder(model, EncoderExports(model, digest, work), precision, reporter)

    parts, callbacks = (prepared.train, prepared.validation), records.callbacks(config, reporter)
    trained = fit(config, *parts, checkpoints, reporter, open_encoder, callbacks, distillation)
    leave_processes()
    if not is_main_process():
        # The first process exports what all have trained.
        raise SystemExit(0)
    trained.summary["data"] = prepared.account
    shared = trained.encoder_digest if config.frozen else None
    exports = EncoderExports(trained.model, shared, work / "exports")
    with records.timed(EXPORT):
        parity = write_bundle(
            trained, prepared.validation, exports, target, overwrite=overwrite, reporter=reporter
        )
    shutil.rmtree(work)
    report = records.finish(trained, prepared.validation, reporter)
    reporter.say(_closing_lines(target, trained.metrics, trained.summary))
    return {
        "bundle": str(target),
        **_describe(trained, parity),
        "report": str(report) if report else None,
    }


def _check(config: RunConfig, overwrite: bool, options: RecordOptions) -> RunRecords:
    """Ask, before the work, whether its results will have a place."""
    from longform.bundle import check_output

    target = _required(config.output_dir, "--output", "the folder of the bundle")
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


def run_reporter() -> Reporter:
    """Return what speaks to the user, once for all processes."""
    from longform.reporting import ConsoleReporter, Reporter

    return ConsoleReporter() if is_main_process() else Reporter()


def _claim(
    work: Path,
    config: RunConfig,
    prepared: PreparedData,
    distillation: Distillation | None,
    restart: bool,
) -> Path:
    """Make the run's folder, or make sure that the one there is of the same run."""
    from longform.training.run_folder import claim_run_folder, folder_of_checkpoints

    if not is_main_process():
        return folder_of_checkpoints(work)
    decisive = config.model_dump(mode="json", exclude=_NO_PART_OF_A_RUN)
    documents = [*prepared.train, *prepared.validation]
    if distillation is not None:
        decisive |= distillation.fingerprint
        documents += distillation.unlabelled
    return claim_run_folder(work, decisive, documents, restart=restart)


def _required(value: str | None, flag: str, what: str) -> Path:
    from longform.errors import InputError

    if value is None:
        raise InputError(f"Training needs {what}.", found=f"no {flag}", fix=f"Add {flag} PATH.")
    return Path(value)
