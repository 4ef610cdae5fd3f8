"""`longform predict`: a quick look at a text, or a file of documents to a file of answers."""

from __future__ import annotations

import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longform.cli.arguments import (
    AsJson,
    BackendName,
    BundleFolder,
    CacheFolder,
    CacheMemory,
    Encoding,
    EncodingErrors,
    TextColumn,
    TextPairColumn,
    cache_settings,
    data_settings,
    open_predictor,
    print_json,
)

if TYPE_CHECKING:
    from longform.bundle import Bundle
    from longform.config import DataSettings
    from longform.inference.cache import CacheSettings
    from longform.reporting import Reporter
    from longform.types import Prediction


BULK: dict[str, Any] = {"rich_help_panel": "Into a folder"}


class EngineName(StrEnum):
    """What does bulk work."""

    local = "local"
    ray = "ray"


def predict(  # noqa: PLR0913 - one argument for each flag
    bundle: BundleFolder,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to classify.")] = None,
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="Documents; labels are not needed. A file, or for a folder of answers also a "
            "folder, a pattern such as 'data/*.parquet', or a URL such as s3://bucket/data.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            help="File of answers, .jsonl or .csv, or a folder or URL for parquet files of answers "
            "and errors; an interrupted job is continued."
        ),
    ] = None,
    backend: BackendName = "auto",
    text_column: TextColumn = None,
    text_pair_column: TextPairColumn = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    text_pair: Annotated[
        str | None, typer.Option(help="Second text, for a model of pairs and one text.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Scores to show of each answer; all by default.")
    ] = None,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Also tell which parts the answer rests on.")
    ] = False,
    cache_memory: CacheMemory = "256MB",
    cache_folder: CacheFolder = None,
    engine: Annotated[
        EngineName,
        typer.Option(help="What scores into a folder: this machine, or a Ray cluster.", **BULK),
    ] = EngineName.local,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster: auto, HOST:PORT or ray://HOST:PORT.",
            show_default="one of this machine alone",
            **BULK,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that score.", show_default="fill the CPUs", **BULK),
    ] = None,
    part_rows: Annotated[
        int, typer.Option(min=1, help="Most rows of a part, which is written as one.", **BULK)
    ] = 1_000,
    max_characters: Annotated[
        int,
        typer.Option(min=0, help="Longer documents are errors with a reason; 0 reads all.", **BULK),
    ] = 2_000_000,
    resume: Annotated[
        bool, typer.Option("--resume", help="Refuse to begin a job: only go on with one.", **BULK)
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget the job in --output.", **BULK)
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Classify texts given as arguments or on standard input, a file, or any number of files."""
    from longform.bundle import load_bundle
    from longform.reporting import ConsoleReporter
    from longform.types import Document

    reporter = ConsoleReporter()
    _check_usage(texts, input_, output)
    cache = cache_settings(cache_memory, cache_folder)
    if input_ is not None and output is not None:
        flags = {
            "text_column": text_column,
            "text_pair_column": text_pair_column,
            "encoding": encoding,
            "encoding_errors": encoding_errors,
        }
        opened = load_bundle(bundle)
        settings = data_settings(opened, **flags)
        if _is_file(output):
            _check_single(input_, engine)
            files = (Path(input_), Path(output))
            summary = _predict_file(opened, files, backend, cache, top_k, settings, reporter)
        else:
            from longform.cli.predict_bulk import BulkRequest, run_bulk
            from longform.scale.parts import PartLimits

            limits = PartLimits(rows=part_rows, longest=max_characters)
            request = BulkRequest(
                source=input_,
                output=output,
                backend=backend,
                settings=settings,
                limits=limits,
                top_k=top_k,
                engine=engine.value,
                address=address,
                workers=workers,
                resume=resume,
                restart=restart,
            )
            summary = run_bulk(opened, request, reporter)
        if as_json:
            print_json(summary)
        if summary.get("failed_files"):
            raise typer.Exit(1)
        return
    with open_predictor(load_bundle(bundle), backend, reporter, cache) as predictor:
        given = texts or [sys.stdin.read()]
        documents = [
            Document(str(number), text, text_pair=text_pair) for number, text in enumerate(given)
        ]
        predictions = predictor.predict(documents, evidence=evidence)
    if as_json:
        pair = text_pair is not None
        print_json({"predictions": [_as_dict(item, top_k, pair=pair) for item in predictions]})
        return
    for prediction in predictions:
        _print(prediction, top_k)


def _is_file(output: str) -> bool:
    """Tell whether answers go into one file; all else is a folder."""
    return "://" not in output and Path(output).suffix.lower() in {".jsonl", ".csv"}


def _check_single(source: str, engine: EngineName) -> None:
    from longform.errors import InputError

    if engine is not EngineName.local or not Path(source).exists():
        found = f"--engine {engine}" if engine is not EngineName.local else f"--input {source}"
        raise InputError(
            "One file of answers is written on this machine, from one file or folder of documents.",
            found=found,
            fix="Correct --input, or name a folder with --output.",
        )


def _predict_file(
    bundle: Bundle,
    files: tuple[Path, Path],
    backend: str,
    cache: CacheSettings,
    top_k: int | None,
    settings: DataSettings,
    reporter: Reporter,
) -> dict[str, Any]:
    from longform.inference.bulk import predict_file

    with open_predictor(bundle, backend, reporter, cache) as predictor:
        summary = predict_file(predictor, *files, settings, top_k=top_k, reporter=reporter)
        known = predictor.cache_statistics
        if known is not None and known.hits:
            reporter.say(f"{known.hits:,} segments had been read before: their vectors were found.")
        return summary


def _check_usage(texts: list[str] | None, input_: str | None, output: str | None) -> None:
    from longform.errors import InputError

    if input_ is not None and (output is None or texts):
        raise InputError(
            "A file of documents needs a file for the answers.",
            found="--input without --output" if output is None else "--input and texts",
            fix="Give both --input and --output, and no texts.",
        )
    if input_ is None and not texts and sys.stdin.isatty():
        raise InputError(
            "There must be something to classify.",
            found="no text, no --input and nothing on standard input",
            fix="Give texts as arguments, or --input FILE --output FILE.",
        )


def _as_dict(prediction: Prediction, top_k: int | None, *, pair: bool) -> dict[str, Any]:
    content = asdict(prediction)
    content["scores"] = content["scores"][:top_k]
    for name in ("evidence", "labels", "prediction_set", "exit"):
        if content[name] is None:
            del content[name]
    if not pair:
        for part in content.get("evidence", ()):
            del part["part"]
    return content


def _print(prediction: Prediction, top_k: int | None) -> None:
    coverage = prediction.coverage
    answer = f"{prediction.label}  {prediction.score:.4f}"
    if prediction.labels is not None:
        named = (f"{item.label}  {item.score:.4f}" for item in prediction.labels)
        answer = ", ".join(named) or "no label reaches its threshold"
    typer.echo(
        f"{answer}  "
        f"({coverage.tokens_used:,} of {coverage.tokens_total:,} tokens read, "
        f"{coverage.segments_used} segments)"
    )
    if prediction.abstained:
        typer.echo("  ? too unsure to be used: this is the best guess, a person should look")
    if prediction.prediction_set is not None and len(prediction.prediction_set) > 1:
        typer.echo(f"  not ruled out: {', '.join(prediction.prediction_set)}")
    for warning in prediction.warnings:
        typer.echo(f"  ! {warning}")
    given = prediction.labels if prediction.labels is not None else prediction.scores[:1]
    for item in [score for score in prediction.scores if score not in given][: (top_k or 5) - 1]:
        typer.echo(f"  {item.label}  {item.score:.4f}")
    for part in sorted(prediction.evidence or (), key=lambda part: -part.score)[:3]:
        typer.echo(f"  characters {part.start:,} to {part.end:,}: {part.score:+.4f}")
