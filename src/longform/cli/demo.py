"""`longform demo`: the tour, from nothing to a served classifier."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from longform.evaluation.evaluation import Evaluation
    from longform.reporting import Reporter

_HEAD_TOKENS = 512


def demo(
    folder: Annotated[
        Path, typer.Option(help="Where the corpus and the two bundles go; replaced when there.")
    ] = Path("runs/demo"),
    language: Annotated[str, typer.Option(help="zh or en.")] = "zh",
    port: Annotated[int, typer.Option(help="Port of the page at the end.")] = 8000,
    check: Annotated[
        bool, typer.Option("--check", help="Ask the server once and exit, as the tests do.")
    ] = False,
) -> None:
    """Write a synthetic corpus, train on its first 512 tokens and on all of it, and serve.

    The class of a document of this corpus stands in one passage of it, anywhere. So reading only
    the head must fail, and reading everything must not.
    """
    from longform.reporting import ConsoleReporter

    reporter = ConsoleReporter()
    started = time.perf_counter()
    evaluations = _train_both(folder, language, reporter)
    _show(evaluations)
    bundle = folder / "whole"
    _show_predictions(bundle, folder / "test.csv")
    typer.echo(f"\nSo far {time.perf_counter() - started:.0f} s. The report: {folder}/report.html")
    raise typer.Exit(_serve(bundle, port, check, folder / "test.csv", reporter))


def _train_both(folder: Path, language: str, reporter: Reporter) -> dict[str, Evaluation]:
    from longform.cli.training_run import run_training
    from longform.config import load_config
    from longform.data.readers import read_documents
    from longform.data.samples import write_corpus
    from longform.errors import InputError
    from longform.evaluation.evaluation import evaluate
    from longform.evaluation.report import write_report
    from longform.inference.predictor import load

    if language not in {"zh", "en"}:
        raise InputError(
            "The demo speaks Chinese or English.", found=language, fix="Use --language zh or en."
        )
    reporter.say(f"Writing a corpus of long documents to {folder}.")
    corpus = write_corpus(folder, language="en" if language == "en" else "zh")
    test = read_documents(corpus.test).documents
    evaluations = {}
    readings: dict[str, dict[str, object]] = {
        "head": {"selection": "head", "head_tokens": _HEAD_TOKENS},
        "whole": {"selection": "all"},
    }
    for name, settings in readings.items():
        reading = f"the first {_HEAD_TOKENS} tokens" if name == "head" else "every token"
        reporter.say(f"\nTraining a classifier that reads {reading}.")
        paths = {
            "data": str(corpus.train),
            "validation": str(corpus.validation),
            "output_dir": str(folder / name),
        }
        config = load_config(None, {**paths, **settings})
        run_training(config, reporter, overwrite=True, restart=True)
        with load(folder / name) as predictor:
            evaluations[name] = evaluate(predictor, test, reporter)
    write_report(folder / "report.html", evaluations["whole"])
    return evaluations


def _show(evaluations: dict[str, Evaluation]) -> None:
    typer.echo(f"\n{'on unseen documents':<28}{'accuracy':>10}{'macro-F1':>10}{'tokens read':>13}")
    for name, title in (("head", f"first {_HEAD_TOKENS} tokens"), ("whole", "the whole document")):
        result = evaluations[name]
        typer.echo(
            f"{title:<28}{100 * result.accuracy:>9.1f}%{100 * result.macro_f1:>9.1f}%"
            f"{100 * result.coverage.share:>12.1f}%"
        )


def _show_predictions(bundle: Path, test: Path) -> None:
    from longform.data.readers import read_documents
    from longform.inference.predictor import load

    documents = read_documents(test).documents[:3]
    typer.echo("\nThree documents, with the passage that decided:")
    with load(bundle) as predictor:
        for document, answer in zip(
            documents, predictor.predict(documents, evidence=True), strict=True
        ):
            typer.echo(f"  true {document.label}, predicted {answer.label} ({answer.score:.3f})")
            if answer.evidence:
                part = max(answer.evidence, key=lambda item: item.score)
                passage = document.text[part.start : part.end].replace("\n", " ")
                typer.echo(f"    characters {part.start:,} to {part.end:,}: {passage[:60]}...")


def _serve(bundle: Path, port: int, check: bool, test: Path, reporter: Reporter) -> int:
    from longform.cli.serve import run_server
    from longform.serving.settings import ServerSettings

    if not check:
        typer.echo("\nOpen the page and paste a document of yours, or one of the test file.")
        settings = ServerSettings.model_validate({"port": port})
        return run_server({"default": bundle}, "auto", settings, reporter)
    return _probe(bundle, test)


def _probe(bundle: Path, test: Path) -> int:
    """Start the server on a free port, ask it once, and stop it."""
    import json
    import subprocess
    import sys
    import urllib.request

    from longform.data.readers import read_documents
    from longform.errors import LongformError

    command = [sys.executable, "-m", "longform", "serve", str(bundle), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8") as server:
        assert server.stderr is not None
        address = next(
            (word for line in server.stderr for word in line.split() if word.startswith("http")),
            None,
        )
        try:
            if address is None:
                raise LongformError(
                    "The server must start.", found="it ended at once", fix="Run longform serve."
                )
            _wait_until_ready(address)
            document = read_documents(test).documents[0]
            request = urllib.request.Request(
                f"{address}/predict",
                json.dumps({"inputs": document.text}).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as reply:
                answer = json.load(reply)["predictions"][0]
        finally:
            server.terminate()
    typer.echo(
        f"\nServed at {address}: {answer['label']} ({answer['score']:.3f}), {answer['coverage']}"
    )
    return 0


def _wait_until_ready(address: str) -> None:
    import urllib.error
    import urllib.request

    from longform.errors import LongformError

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/health/ready", timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.1)
    raise LongformError(
        "The server must be ready within two minutes.", found="it is not", fix="Run longform serve."
    )
