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
    TextColumn,
    TextPairColumn,
    cache_settings,
    data_settings,
    open_predictor,
    print_json,
)

if TYPE_CHECKING:
    from longform.inference.cache import CacheSettings
    from longform.reporting import Reporter
    from longform.types import Prediction


def predict(  # noqa: PLR0913 - one argument for each flag
    bundle: BundleFolder,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to classify.")] = None,
    input_: Annotated[
        Path | None, typer.Option("--input", help="File of documents; labels are not needed.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="File of answers, .jsonl or .csv; an interrupted job is continued."),
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
    as_json: AsJson = False,
) -> None:
    """Classify texts given as arguments or on standard input, or all documents of a file."""
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
        summary = _predict_file(bundle, input_, output, backend, cache, top_k, flags, reporter)
        if as_json:
            print_json(summary)
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


def _predict_file(
    bundle: Path,
    source: Path,
    target: Path,
    backend: str,
    cache: CacheSettings,
    top_k: int | None,
    flags: dict[str, str | None],
    reporter: Reporter,
) -> dict[str, Any]:
    from longform.bundle import load_bundle
    from longform.inference.bulk import predict_file

    opened = load_bundle(bundle)
    settings = data_settings(opened, **flags)
    with open_predictor(opened, backend, reporter, cache) as predictor:
        summary = predict_file(predictor, source, target, settings, top_k=top_k, reporter=reporter)
        known = predictor.cache_statistics
        if known is not None and known.hits:
            reporter.say(f"{known.hits:,} segments had been read before: their vectors were found.")
        return summary


def _check_usage(texts: list[str] | None, input_: Path | None, output: Path | None) -> None:
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
