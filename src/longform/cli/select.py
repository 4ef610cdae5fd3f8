"""`longform select`: which documents of a pool to label next, and what to read of them."""

from __future__ import annotations

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
    from longform.annotation.selection import Selection
    from longform.bundle import Bundle
    from longform.config import DataSettings
    from longform.reporting import Reporter
    from longform.types import Document

Pool = Annotated[Path, typer.Option(help="Documents to choose from; labels are not read.")]
Count = Annotated[int, typer.Option(min=1, help="How many documents to pick.")]
Output = Annotated[Path, typer.Option(help="File of tasks to write.")]
Labelled = Annotated[
    list[Path] | None,
    typer.Option(
        help="Documents that have labels, such as the training file: neither they nor near-copies "
        "of them are picked. May be repeated."
    ),
]
StrategyName = Annotated[
    str | None,
    typer.Option(
        help="How to pick: badge (uncertain in different ways), diverse, margin, entropy, "
        "least-confidence, k-center or random.",
        show_default="badge",
    ),
]
FormatName = Annotated[
    str, typer.Option("--format", help="Of the tasks: jsonl, doccano or label-studio.")
]
Passages = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Share of each text that its passages may have.")
]
NearDuplicates = Annotated[
    str, typer.Option(help="skip picks one of several near-copies; ignore looks for equal texts.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of what is drawn.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is at --output.")]


def select(  # noqa: PLR0913 - one argument for each flag
    bundle: BundleFolder,
    data: Pool,
    count: Count,
    output: Output,
    labelled: Labelled = None,
    strategy: StrategyName = None,
    format_: FormatName = "jsonl",
    passages: Passages = 0.1,
    near_duplicates: NearDuplicates = "skip",
    seed: Seed = 42,
    overwrite: Overwrite = False,
    backend: BackendName = "auto",
    text_column: TextColumn = None,
    text_pair_column: TextPairColumn = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    cache_memory: CacheMemory = "256MB",
    cache_folder: CacheFolder = None,
    as_json: AsJson = False,
) -> None:
    """Pick the documents of a pool that are worth labelling, and the passages to read in them.

    The tasks go to annotators, and come back as a training file: longform reads what doccano and
    Label Studio export.
    """
    from longform.annotation.selection import SelectionPlan
    from longform.annotation.selection import select as select_documents
    from longform.annotation.strategies import DEFAULT_STRATEGY, check_strategy
    from longform.annotation.tasks import check_format, write_tasks
    from longform.bundle import load_bundle
    from longform.data.readers import DocumentReader
    from longform.reporting import ConsoleReporter

    reporter = ConsoleReporter()
    opened = load_bundle(bundle)
    form = check_format(format_, pairs=opened.description.text_pair)
    chosen, near = check_strategy(strategy or DEFAULT_STRATEGY), _is_near(near_duplicates)
    plan = SelectionPlan(count=count, strategy=chosen, passages=passages, near=near, seed=seed)
    _check_output(output, overwrite)
    columns = {"text_column": text_column, "text_pair_column": text_pair_column}
    settings = data_settings(opened, **columns, encoding=encoding, encoding_errors=encoding_errors)
    known = _read_labelled(labelled or [], settings, reporter)
    cache = cache_settings(cache_memory, cache_folder)
    pool = DocumentReader(data, settings, labelled=False)
    total = sum(1 for _ in pool)
    with open_predictor(opened, backend, reporter, cache) as predictor:
        found = select_documents(predictor, pool, plan, known, reporter, total)
        labels = predictor.labels
    reporter.say(pool.report.summary())
    written = write_tasks(output, found.tasks, form, labels, f"{bundle.name} {opened.digest[:12]}")
    for note in found.notes:
        reporter.say(f"Note: {note}.")
    if as_json:
        print_json({**found.as_json(), "format": form, "files": [str(path) for path in written]})
        return
    _print(found, written, opened)


def _print(found: Selection, written: list[Path], bundle: Bundle) -> None:
    figures: dict[str, Any] = found.as_json()
    share = 100 * figures["passage_share"]
    labels = ", ".join(f"{name} {count}" for name, count in list(figures["labels"].items())[:8])
    typer.echo(
        f"{figures['documents']:,} of {figures['pool']['documents']:,} documents, picked by "
        f"{figures['strategy']}\n"
        f"  to read       {figures['passage_tokens']:,} tokens in the passages, {share:.1f} % of "
        f"{figures['tokens']:,} in the whole documents\n"
        f"  predicted     {labels}"
    )
    for path in written:
        typer.echo(f"  written       {path}")
    typer.echo(
        "Next: label them, then train on what comes back beside what you have:\n"
        f"  longform train --data FILE --output DIR   (the bundle now: {bundle.folder.name})"
    )


def _read_labelled(paths: list[Path], settings: DataSettings, reporter: Reporter) -> list[Document]:
    """Read documents that have labels; which labels, is nothing to the choice."""
    from longform.data.readers import read_documents

    documents: list[Document] = []
    for path in paths:
        result = read_documents(path, settings, labelled=False)
        reporter.say(result.report.summary())
        documents += result.documents
    return documents


def _is_near(name: str) -> bool:
    from longform.errors import InputError
    from longform.extras import check_installed

    if name not in ("skip", "ignore"):
        raise InputError(
            "Near-copies are skipped or ignored.",
            found=f"--near-duplicates {name}",
            fix="Give --near-duplicates skip or ignore.",
        )
    if name == "skip":
        check_installed("datasketch", "Looking for near-copies")
    return name == "skip"


def _check_output(output: Path, overwrite: bool) -> None:
    from longform.errors import InputError

    if output.exists() and not overwrite:
        raise InputError(
            "The file of tasks must not be there yet: labels may have been written into it.",
            found=f"a file at {output}",
            fix="Choose another --output, or replace it with --overwrite.",
        )
