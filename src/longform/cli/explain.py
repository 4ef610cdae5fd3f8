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
    from longform.bundle import Bundle
    from longform.inference.explanation import ExplainedDocument
    from longform.types import Document

Tokens = Annotated[
    bool,
    typer.Option(
        "--tokens",
        help="Also split the logit over tokens: exactly for linear models, by gradients for "
        "neural ones, with torch.",
    ),
]
Attention = Annotated[
    bool,
    typer.Option(
        "--attention",
        help="Also tell what the aggregator 'attention' attends to, which is no contribution; "
        "with torch.",
    ),
]


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
    tokens: Tokens = False,
    attention: Attention = False,
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
    from longform.cli.explain_summary import print_explained
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
        explained = explain_documents(
            predictor, documents, options, tokens=tokens, attention=attention
        )
    if report is not None:
        _write(report, bundle, explained)
        reporter.say(f"Page: {report}. It quotes the documents.")
    if as_json:
        print_json({"documents": [item.as_dict() for item in explained]})
        return
    print_explained(explained)
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
