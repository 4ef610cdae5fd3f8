"""`longform predict`: a quick look at a text, or a file of documents to a file of answers."""

from __future__ import annotations

import sys
from dataclasses import asdict
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
    EngineName,
    TextColumn,
    TextPairColumn,
    cache_settings,
    data_settings,
    open_predictor,
    print_json,
)
from longform.cli.bulk_flags import (
    Address,
    Engine,
    MaxCharacters,
    PartRows,
    Restart,
    Resume,
    Workers,
    check_fitting,
    check_single,
    is_file,
)

if TYPE_CHECKING:
    from longform.inference.cache import CacheSettings
    from longform.reporting import Reporter
    from longform.types import Prediction


Texts = Annotated[list[str] | None, typer.Argument(help="Texts to classify.")]
Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        help="Documents; labels are not needed. A file, or for a folder of answers also a "
        "folder, a pattern such as 'data/*.parquet', or a URL such as s3://bucket/data.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        help="File of answers, .jsonl or .csv, or a folder or URL for parquet files of answers "
        "and errors; an interrupted job is continued."
    ),
]
TextPair = Annotated[
    str | None, typer.Option(help="Second text, for a model of pairs and one text.")
]
TopK = Annotated[
    int | None, typer.Option(min=1, help="Scores to show of each answer; all by default.")
]
WithEvidence = Annotated[
    bool, typer.Option("--evidence", help="Also tell which parts the answer rests on.")
]


def predict(  # noqa: PLR0913 - one argument for each flag
    bundle: BundleFolder,
    texts: Texts = None,
    input_: Input = None,
    output: Output = None,
    backend: BackendName = "auto",
    text_column: TextColumn = None,
    text_pair_column: TextPairColumn = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    text_pair: TextPair = None,
    top_k: TopK = None,
    evidence: WithEvidence = False,
    cache_memory: CacheMemory = "256MB",
    cache_folder: CacheFolder = None,
    engine: Engine = EngineName.local,
    address: Address = None,
    workers: Workers = None,
    part_rows: PartRows = 1_000,
    max_characters: MaxCharacters = 2_000_000,
    resume: Resume = False,
    restart: Restart = False,
    as_json: AsJson = False,
) -> None:
    """Classify texts given as arguments or on standard input, a file, or any number of files."""
    from longform.reporting import ConsoleReporter

    reporter = ConsoleReporter()
    _check_usage(texts, input_, output)
    job = {"address": address, "workers": workers, "resume": resume, "restart": restart}
    check_fitting(
        output,
        bulk={"--engine": engine != EngineName.local}
        | {f"--{name}": bool(value) for name, value in job.items()},
        single={"--cache-folder": cache_folder is not None},
        texts={"--evidence": evidence, "--text-pair": text_pair is not None},
    )
    cache = cache_settings(cache_memory, cache_folder)
    if input_ is None or output is None:
        asked = (texts or [sys.stdin.read()], text_pair)
        _answer(
            bundle, asked, (backend, cache), top_k, reporter, evidence=evidence, as_json=as_json
        )
        return
    columns = {"text_column": text_column, "text_pair_column": text_pair_column}
    columns |= {"encoding": encoding, "encoding_errors": encoding_errors}
    if is_file(output):
        check_single(input_)
        files = (Path(input_), Path(output))
        summary = _predict_file(bundle, files, (backend, cache), top_k, columns, reporter)
    else:
        cut = {"rows": part_rows, "longest": max_characters}
        job |= {"source": input_, "output": output, "backend": backend, "top_k": top_k}
        summary = _predict_bulk(bundle, job | {"engine": engine.value}, cut, columns, reporter)
    if as_json:
        print_json(summary)
    if summary.get("failed_files"):
        raise typer.Exit(1)


def _answer(
    bundle: Path,
    asked: tuple[list[str], str | None],
    runtime: tuple[str, CacheSettings],
    top_k: int | None,
    reporter: Reporter,
    *,
    evidence: bool,
    as_json: bool,
) -> None:
    from longform.bundle import load_bundle
    from longform.types import Document

    texts, text_pair = asked
    backend, cache = runtime
    with open_predictor(load_bundle(bundle), backend, reporter, cache) as predictor:
        documents = [
            Document(str(number), text, text_pair=text_pair) for number, text in enumerate(texts)
        ]
        predictions = predictor.predict(documents, evidence=evidence)
    if as_json:
        pair = text_pair is not None
        print_json({"predictions": [_as_dict(item, top_k, pair=pair) for item in predictions]})
        return
    for prediction in predictions:
        _print(prediction, top_k)


def _predict_bulk(
    bundle: Path,
    job: dict[str, Any],
    cut: dict[str, int],
    columns: dict[str, str | None],
    reporter: Reporter,
) -> dict[str, Any]:
    from longform.bundle import load_bundle
    from longform.cli.predict_bulk import BulkRequest, run_bulk
    from longform.scale.parts import PartLimits

    opened = load_bundle(bundle)
    settings = data_settings(opened, **columns)
    return run_bulk(
        opened, BulkRequest(**job, settings=settings, limits=PartLimits(**cut)), reporter
    )


def _predict_file(
    bundle: Path,
    files: tuple[Path, Path],
    runtime: tuple[str, CacheSettings],
    top_k: int | None,
    columns: dict[str, str | None],
    reporter: Reporter,
) -> dict[str, Any]:
    from longform.bundle import load_bundle
    from longform.inference.bulk import predict_file

    opened = load_bundle(bundle)
    settings = data_settings(opened, **columns)
    backend, cache = runtime
    with open_predictor(opened, backend, reporter, cache) as predictor:
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
