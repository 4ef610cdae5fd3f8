"""`longform explain`: which passages the answers rest on, in colour, as JSON and as a page."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from longform.cli.arguments import (
    AsJson,
    BackendName,
    BundleFolder,
    Encoding,
    EncodingErrors,
    TextColumn,
    TextPairColumn,
    data_settings,
    open_predictor,
    print_json,
)
from longform.cli.checks import prepare_report

if TYPE_CHECKING:
    from rich.text import Text

    from longform.bundle import Bundle
    from longform.inference.explanation import ExplainedDocument
    from longform.types import Document

_SHOWN_PASSAGES = 5
_SHOWN_CHARACTERS = 400
_STYLES = {1: "on dark_green", 2: "black on green3", -1: "on dark_orange3", -2: "black on orange1"}


def explain(  # noqa: PLR0913 - one argument for each flag
    bundle: BundleFolder,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to explain.")] = None,
    input_: Annotated[
        Path | None, typer.Option("--input", help="File of documents; labels are not needed.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Documents of the file to explain, the first ones.")
    ] = 10,
    label: Annotated[
        str | None, typer.Option(help="Explain this label.", show_default="the likeliest")
    ] = None,
    tokens: Annotated[
        bool,
        typer.Option("--tokens", help="Also split the logit over tokens, for linear models."),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page with marked texts to this file.")
    ] = None,
    backend: BackendName = "auto",
    text_column: TextColumn = None,
    text_pair_column: TextPairColumn = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    text_pair: Annotated[
        str | None, typer.Option(help="Second text, for a model of pairs and one text.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell which passages of documents speak for and against their labels."""
    from longform.bundle import load_bundle
    from longform.decision.evidence import EvidenceOptions
    from longform.inference.explanation import explain_documents
    from longform.reporting import ConsoleReporter
    from longform.types import Document

    reporter = ConsoleReporter()
    _check_usage(bundle, texts, input_, report)
    opened = load_bundle(bundle)
    documents = [
        Document(str(number), text, text_pair=text_pair)
        for number, text in enumerate(texts or ([] if input_ else [sys.stdin.read()]))
    ]
    if input_ is not None:
        flags = {"text_column": text_column, "text_pair_column": text_pair_column}
        flags |= {"encoding": encoding, "encoding_errors": encoding_errors}
        documents = _read(opened, input_, limit, flags)
    with open_predictor(opened, backend, reporter) as predictor:
        options = EvidenceOptions(refine=True, label=label)
        explained = explain_documents(predictor, documents, options, tokens=tokens)
    if report is not None:
        _write(report, bundle, explained)
        reporter.say(f"Page: {report}. It quotes the documents.")
    if as_json:
        print_json({"documents": [item.as_dict() for item in explained]})
        return
    _print(explained)
    if report is None:
        reporter.say("The whole texts with all passages marked: add --report page.html.")


def _check_usage(
    bundle: Path, texts: list[str] | None, input_: Path | None, report: Path | None
) -> None:
    from longform.errors import InputError

    if report is not None:
        prepare_report(report, bundle)
    if input_ is not None and texts:
        raise InputError(
            "Documents come from a file or as arguments.",
            found="--input and texts",
            fix="Give one of them.",
        )
    if input_ is None and not texts and sys.stdin.isatty():
        raise InputError(
            "There must be something to explain.",
            found="no text, no --input and nothing on standard input",
            fix="Give texts as arguments, or --input FILE.",
        )


def _read(bundle: Bundle, source: Path, limit: int, flags: dict[str, str | None]) -> list[Document]:
    from longform.data.readers import DocumentReader

    reader = DocumentReader(source, data_settings(bundle, **flags), labelled=False)
    return list(islice(iter(reader), limit))


def _write(report: Path, bundle: Path, explained: list[ExplainedDocument]) -> None:
    from longform.evaluation.explanation_page import write_explanations

    write_explanations(report, bundle.resolve().name, explained)


def _print(explained: list[ExplainedDocument]) -> None:
    from rich.console import Console

    console = Console()
    for item in explained:
        prediction = item.prediction
        score = next(entry.score for entry in prediction.scores if entry.label == item.label)
        console.print(
            f"{item.document.id}: {item.label}  {score:.4f}", markup=False, highlight=False
        )
        explanation = prediction.explanation
        if explanation is None:
            console.print("  one passage, without which nothing would be left", highlight=False)
            continue
        told = f"  {explanation.method}: logit {explanation.logit:.3f}"
        if explanation.base is not None:
            told += f", of which {explanation.base:+.3f} is of no passage"
        console.print(told, markup=False, highlight=False)
        for line in _passages(item):
            console.print(line, highlight=False)


def _passages(item: ExplainedDocument) -> list[Text]:
    """Return the strongest passages in reading order, in the colours of their effects."""
    from rich.text import Text

    evidence = item.prediction.evidence or ()
    ranked = sorted(evidence, key=lambda part: -abs(part.log_odds))[:_SHOWN_PASSAGES]
    strongest = max(abs(part.log_odds) for part in ranked)
    lines = []
    for part in sorted(ranked, key=lambda part: (part.part, part.start)):
        level = 2 if abs(part.log_odds) > strongest / 2 else 1
        words = " ".join(item.text(part.part)[part.start : part.end].split())
        shown = "".join(sign if sign.isprintable() else " " for sign in words[:_SHOWN_CHARACTERS])
        of_second = " of the second text" if part.part else ""
        line = Text(
            f"  {part.start:,} to {part.end:,}{of_second}  {100 * part.score:+.1f} points, "
            f"log-odds {part.log_odds:+.3f}, contribution {part.contribution:+.3f}\n    "
        )
        style = _STYLES[level if part.log_odds > 0 else -level]
        line.append(shown + ("…" if len(words) > len(shown) else ""), style=style)
        lines.append(line)
    return lines
