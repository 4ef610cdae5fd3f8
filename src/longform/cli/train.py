"""`longform train`: one command from a file to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from longform.cli.train_records import RecordOptions
from longform.cli.training_run import run_reporter, run_training

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
