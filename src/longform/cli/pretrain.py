"""`longform pretrain`: an encoder goes on learning from texts without labels."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from longform.cli.arguments import (
    AsJson,
    Encoding,
    EncodingErrors,
    RunSettings,
    RunTextColumn,
    RunTextPairColumn,
    SetSettings,
    print_json,
    resolve_settings,
)
from longform.cli.checks import required

if TYPE_CHECKING:
    from longform.config import PretrainingSettings
    from longform.reporting import Reporter

_OF_SEVERAL_FILES = ("--data", "--exclude")

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the encoder that is at --output.")
]
Restart = Annotated[
    bool,
    typer.Option("--restart", help="Begin anew instead of continuing an interrupted run."),
]


class SeveralFilesCommand(TyperCommand):
    """A verb some of whose flags take several files, one after the other."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat such a flag before each of its files, which is the form that click knows."""
        repeated: list[str] = []
        flag = None
        for argument in args:
            if argument.startswith("-"):
                flag = argument if argument in _OF_SEVERAL_FILES else None
            elif flag is not None and repeated[-1] != flag:
                # No file of data ends so, and a configuration may stand anywhere.
                if argument.endswith((".yaml", ".yml")):
                    flag = None
                else:
                    repeated.append(flag)
            repeated.append(argument)
        return super().parse_args(ctx, repeated)


def pretrain(  # noqa: PLR0913 - one argument for each flag
    settings: RunSettings = None,
    encoder: Annotated[
        str | None, typer.Option(help="Folder or name of the Hugging Face encoder to go on with.")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE ...",
            help="Texts, in files of any kind in docs/data.md. No label is read.",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the encoder to write.")] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Texts that the loss is measured on. Left out, 5 % of them are held out."
        ),
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE ...",
            help="Documents that must not be learnt, such as those the classifier will be judged "
            "on; they and near-copies of them are left out of the texts.",
        ),
    ] = None,
    set_: SetSettings = None,
    text_column: RunTextColumn = None,
    text_pair_column: RunTextPairColumn = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    overwrite: Overwrite = False,
    restart: Restart = False,
    as_json: AsJson = False,
) -> None:
    """Let an encoder learn the language of your texts, from which 'longform train' then starts.

    An interrupted run is continued by the same command.
    """
    from longform.config import PretrainingSettings
    from longform.reporting import ConsoleReporter

    flags = {
        "encoder": encoder,
        "text_column": text_column,
        "text_pair_column": text_pair_column,
        "encoding": encoding,
        "encoding_errors": encoding_errors,
    }
    config = resolve_settings(PretrainingSettings, settings or [], set_ or [], flags)
    texts = Texts(data or [], validation, exclude or [])
    target = required("Pretraining", output, "--output", "the folder of the encoder")
    summary = run_pretraining(
        config, texts, target, ConsoleReporter(), overwrite=overwrite, restart=restart
    )
    if as_json:
        print_json(summary)


@dataclass(frozen=True, slots=True)
class Texts:
    """The files of a run.

    Attributes:
        data: Texts to learn from.
        validation: Texts that the loss is measured on; None holds some of the others out.
        exclude: Documents that must not be learnt.
    """

    data: list[Path]
    validation: Path | None
    exclude: list[Path]


def run_pretraining(
    settings: PretrainingSettings,
    texts: Texts,
    target: Path,
    reporter: Reporter,
    *,
    overwrite: bool = False,
    restart: bool = False,
) -> dict[str, Any]:
    """Pretrain and write the encoder.

    Args:
        settings: The run.
        texts: Files to learn from, to measure on and to leave out.
        target: Folder of the encoder.
        reporter: Told what is decided and how it goes.
        overwrite: Replace an encoder that is there.
        restart: Forget an interrupted run.

    Returns:
        Where the encoder is, and what was done.

    Raises:
        InputError: The texts, the encoder or the output cannot be used.
    """
    from longform.data.unlabelled import gather_texts

    _require_means(texts)
    # Imported here: only training needs torch, and it takes seconds to load.
    from longform.training.encoder_folder import check_encoder_output, write_encoder
    from longform.training.pretraining import open_tokenizer, pretrain
    from longform.training.run_folder import claim_run_folder

    check_encoder_output(target, overwrite=overwrite)
    # Refused before the texts are read, which may take long.
    open_tokenizer(settings)
    gathered = gather_texts(
        texts.data,
        texts.validation,
        texts.exclude,
        settings.data_settings(),
        reporter,
        fraction=settings.validation_split,
        seed=settings.seed,
    )
    work = target.parent / f"{target.name}.pretraining"
    resolved = settings.model_dump(mode="json")
    checkpoints = claim_run_folder(
        work, resolved, [*gathered.train, *gathered.validation], restart=restart
    )
    pretrained = pretrain(settings, gathered.train, gathered.validation, checkpoints, reporter)
    record = {"settings": resolved, "data": gathered.account, "pretraining": pretrained.summary}
    write_encoder(target, work, pretrained.model, pretrained.tokenizer, record, overwrite=overwrite)
    shutil.rmtree(work)
    reporter.say(_closing_lines(target, pretrained.summary))
    return {"encoder": str(target), **record}


def _require_means(texts: Texts) -> None:
    from longform.errors import InputError
    from longform.extras import check_installed

    for library in ("torch", "transformers", "accelerate"):
        check_installed(library, "Pretraining")
    if not texts.data:
        raise InputError(
            "Pretraining needs texts.", found="no --data", fix="Add --data FILE [FILE ...]."
        )


def _closing_lines(target: Path, summary: dict[str, Any]) -> str:
    return (
        f"Done: {target}\n"
        f"  masked loss {summary['before']['loss']:.4f} before, {summary['after']['loss']:.4f} "
        f"after {summary['steps']:,} steps in {summary['seconds']:,.0f} s\n"
        f"Next: longform train --encoder {target} --data FILE --output FOLDER"
    )
