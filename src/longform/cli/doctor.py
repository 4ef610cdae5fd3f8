"""`longform doctor`: what is wrong with a data file, before training is hurt by it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from longform.cli.checks import prepare_report

if TYPE_CHECKING:
    from longform.config import RunConfig
    from longform.data.doctor.plans import EncoderShape
    from longform.data.readers import ReadResult
    from longform.reporting import Reporter
    from longform.text.tokenization import TextTokenizer

_REFUSED = 2
"""Exit status when training would refuse the data: bad input, as if it had been tried."""


def doctor(  # noqa: PLR0913 - one argument for each flag
    data: Annotated[Path, typer.Argument(help="Labelled documents for training.")],
    settings: RunSettings = None,
    validation: Annotated[
        Path | None, typer.Option(help="Validation file, to look for leaks and unseen labels.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Folder, or name in the local Hugging Face cache, of the encoder whose tokenizer "
            "counts the tokens. Without, they are estimated."
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write an HTML report with plots; it quotes the suspected documents."),
    ] = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT",
            help="Write a repaired copy of DATA as .jsonl or .csv, and beside it "
            "OUT.changes.jsonl, the list of every change.",
        ),
    ] = None,
    set_: SetSettings = None,
    text_column: RunTextColumn = None,
    label_column: RunLabelColumn = None,
    text_pair_column: RunTextPairColumn = None,
    label_separator: RunLabelSeparator = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    as_json: AsJson = False,
) -> None:
    """Diagnose a data file: what is wrong or risky, what training does about it, what to set.

    Exit status 2 when training would refuse the data.
    """
    from longform.reporting import ConsoleReporter

    started = time.perf_counter()
    reporter = ConsoleReporter()
    flags = {
        "data": str(data),
        "validation": str(validation) if validation else None,
        "encoder": encoder,
        "text_column": text_column,
        "label_column": label_column,
        "text_pair_column": text_pair_column,
        "label_separator": label_separator,
        "encoding": encoding,
        "encoding_errors": encoding_errors,
    }
    config = resolve_config(settings or [], set_ or [], flags)
    _examine(config, data, report, fix, as_json, reporter, started)


def _examine(
    config: RunConfig,
    data: Path,
    report: Path | None,
    fix: Path | None,
    as_json: bool,
    reporter: Reporter,
    started: float,
) -> None:
    from longform.backends.threads import granted_threads
    from longform.cli.doctor_summary import print_summary
    from longform.data.doctor.examination import diagnose
    from longform.data.doctor.fixing import check_fix_target, fix_file

    sources = [data] + ([Path(config.validation)] if config.validation else [])
    if fix is not None:
        check_fix_target(fix, sources)
    if report is not None:
        _prepare_report(report, sources)
    encoder = _open_encoder(config.encoder)
    train, validation = _read(data, config, reporter)
    diagnosis = diagnose(train, validation, config, encoder, granted_threads(), reporter)
    if report is not None:
        from longform.evaluation.doctor_report import write_doctor_report

        write_doctor_report(report, diagnosis)
    fixed = None
    if fix is not None:
        others = None if validation is None else validation.documents
        fixed = fix_file(train, others, config.data_settings(), fix, reporter)
    seconds = round(time.perf_counter() - started, 2)
    if as_json:
        repair = {"fix": fixed.as_json()} if fixed is not None else {}
        print_json({**diagnosis.as_json(), **repair, "wall_seconds": seconds})
    else:
        print_summary(diagnosis, fixed, report, seconds)
    if not diagnosis.is_trainable:
        raise typer.Exit(_REFUSED)


def _read(
    data: Path, config: RunConfig, reporter: Reporter
) -> tuple[ReadResult, ReadResult | None]:
    """Read the files as training does."""
    from longform.data.readers import read_documents

    settings = config.data_settings()
    with reporter.track("Reading", 1, "files") as advance:
        train = read_documents(data, settings)
        advance(1)
    if config.validation is None:
        return train, None
    # One label or several is decided by the training file for both.
    settings = settings.model_copy(update={"problem_type": train.report.problem_type})
    return train, read_documents(Path(config.validation), settings)


def _prepare_report(report: Path, sources: list[Path]) -> None:
    """Refuse a place that the report cannot be written to, before anything long begins."""
    from longform.errors import InputError

    if any(report.resolve() == source.resolve() for source in sources):
        raise InputError(
            "The report must not replace a data file.",
            found=f"{report}",
            fix="Choose another name for --report.",
        )
    prepare_report(report)


def _open_encoder(encoder: str) -> tuple[TextTokenizer, EncoderShape] | None:
    """Open tokenizer and size, without weights; None for what is trained from nothing."""
    from longform.config import SCRATCH_ENCODERS
    from longform.data.doctor.plans import read_encoder_shape
    from longform.errors import InputError
    from longform.extras import is_available
    from longform.text.tokenization import TextTokenizer

    if encoder in SCRATCH_ENCODERS:
        return None
    folder = Path(encoder).expanduser()
    path = folder / "tokenizer.json"
    if not folder.exists() and is_available("huggingface_hub"):
        from huggingface_hub import try_to_load_from_cache

        # A name with a path's characters is no name of the hub.
        is_name = encoder.count("/") <= 1 and not encoder.startswith((".", "~", "/"))
        found = try_to_load_from_cache(encoder, "tokenizer.json") if is_name else None
        path = Path(found) if isinstance(found, str) else path
    if not path.is_file():
        raise InputError(
            "Tokens are counted by the encoder's tokenizer.json.",
            found=f"none for '{encoder}'",
            fix="Give the folder of a downloaded model with tokenizer.json, or leave --encoder "
            "out for an estimate.",
        )
    return TextTokenizer.from_file(path), read_encoder_shape(path.parent)
