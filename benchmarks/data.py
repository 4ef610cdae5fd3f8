"""How fast does a file become segments, beside the tokenizer alone, and in how much memory?

Measures in turns, in one run: the tokenizer alone on the sentences of a corpus; reading, cleaning
and segmenting its files; reading alone; cleaning alone. Then the peak memory of child processes
that stream the file, and one ten times as long.

    python benchmarks/data.py
    python benchmarks/data.py --data F.jsonl.gz --tokenizer FOLDER/tokenizer.json --json OUT.json
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import get_args

from machine import describe_machine, print_machine

from longform.config import CleaningStep, SegmentSettings
from longform.data.readers import DocumentReader
from longform.data.samples import generate_documents
from longform.extras import is_available
from longform.text.cleaning import Cleaner
from longform.text.segmenter import Segmenter
from longform.text.sentences import sentence_boundaries
from longform.text.tokenization import TextTokenizer
from longform.text.vocabulary import train_tokenizer
from longform.types import Document

GOAL = 0.8
"""Least share of the tokenizer's speed that the whole way from file to segments must reach."""
READING_GOAL = 50.0
"""Least megabytes a second of reading alone."""
MEMORY_GOAL = 1.1
"""Most memory for ten times the file."""

_CALL_CHARACTERS = 1_000_000
_VOCABULARY_DOCUMENTS = 300
_VOCABULARY_SIZE = 20_000


@dataclass(frozen=True, slots=True)
class Measurement:
    """Speed of one kind of work over the rounds.

    Attributes:
        work: What was done.
        best: Megabytes (UTF-8 of the texts) a second in the best round.
        median: In the median round.
        per_processor_second: Megabytes a second of processor time, all threads together, in the
            best round: what other programs take from this one does not count.
    """

    work: str
    best: float
    median: float
    per_processor_second: float


@dataclass(frozen=True, slots=True)
class Ratios:
    """What share of the tokenizer's speed each whole way reaches.

    Attributes:
        wall: By the clock: what the goal is about.
        processor: By processor time: what other programs take does not count, and neither does
            what work on both cores at once gains.
    """

    wall: dict[str, float]
    processor: dict[str, float]


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak resident memory of a process that streams a file, in megabytes.

    Attributes:
        work: What it did.
        once: For the file.
        ten_times: For one of ten times as many documents.
        ratio: The second over the first.
    """

    work: str
    once: float
    ten_times: float
    ratio: float


def write_files(folder: Path, documents: Sequence[Document], times: int) -> dict[str, Path]:
    """Write the documents so many times over as csv and as JSON lines."""
    paths = {name: folder / f"corpus-{times}.{name}" for name in ("csv", "jsonl")}
    with (
        paths["csv"].open("w", encoding="utf-8", newline="") as table,
        paths["jsonl"].open("w", encoding="utf-8") as lines,
    ):
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("id", "text", "label"))
        for copy in range(times):
            for document in documents:
                name = f"{document.id}-{copy}"
                writer.writerow((name, document.text, document.label))
                row = {"id": name, "text": document.text, "label": document.label}
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    return paths


def encode_in_calls(tokenizer: TextTokenizer, sentences: Sequence[str], characters: int) -> None:
    """Run the tokenizer alone, with so many characters in each call, and drop what it returns."""
    call: list[str] = []
    length = 0
    for sentence in sentences:
        call.append(sentence)
        length += len(sentence)
        if length >= characters:
            tokenizer._tokenizer.encode_batch_fast(call, add_special_tokens=False)
            call, length = [], 0
    if call:
        tokenizer._tokenizer.encode_batch_fast(call, add_special_tokens=False)


def exhaust(items: Iterable[object]) -> None:
    """Take all items and keep none."""
    for _ in items:
        pass


def segment_file(path: Path, segmenter: Segmenter) -> None:
    """Read, clean and segment a file, keeping nothing."""
    exhaust(segmenter.iterate(document.text for document in DocumentReader(path)))


def make_work(
    documents: Sequence[Document], paths: dict[str, Path], segmenter: Segmenter
) -> dict[str, Callable[[], None]]:
    """Return what is measured, by name."""
    texts = [document.text for document in documents]
    sentences = [
        text[start:end]
        for text in (segmenter.cleaner.clean(text).text for text in texts)
        for start, end in pairwise(sentence_boundaries(text))
    ]
    tokenizer = segmenter.tokenizer
    work: dict[str, Callable[[], None]] = {
        "tokenizer alone, one call": lambda: encode_in_calls(tokenizer, sentences, sys.maxsize),
        "tokenizer alone, calls of a million characters": lambda: encode_in_calls(
            tokenizer, sentences, _CALL_CHARACTERS
        ),
    }
    for name, path in paths.items():
        work[f"{name}: read, clean and segment"] = lambda path=path: segment_file(path, segmenter)  # type: ignore[misc]
    for name, path in paths.items():
        work[f"{name}: read"] = lambda path=path: exhaust(DocumentReader(path))  # type: ignore[misc]
    steps = [
        step
        for step in get_args(CleaningStep)
        if step != "traditional_to_simplified" or is_available("opencc")
    ]
    chosen = {"default steps": None, "all steps": steps, **{step: [step] for step in steps}}
    for name, named in chosen.items():
        settings = SegmentSettings() if named is None else SegmentSettings(cleaning=tuple(named))
        clean = Cleaner(settings).clean
        work[f"clean: {name}"] = lambda clean=clean: exhaust(map(clean, texts))  # type: ignore[misc]
    return work


def measure(
    work: dict[str, Callable[[], None]], megabytes: float, repeats: int
) -> tuple[list[Measurement], Ratios]:
    """Do all work in turns, so that a busy moment of the machine hits none alone.

    The order differs from round to round: what ran before decides in which state the allocator
    is, which is worth a tenth of the tokenizer's time.
    """
    shuffle = random.Random(1).shuffle
    order = list(work.items())
    seconds: dict[str, list[float]] = {name: [] for name in work}
    processor: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        shuffle(order)
        for name, run in order:
            started, worked = time.perf_counter(), time.process_time()
            run()
            seconds[name].append(time.perf_counter() - started)
            processor[name].append(time.process_time() - worked)
    found = [
        Measurement(
            work=name,
            best=round(megabytes / min(times), 2),
            median=round(megabytes / median(times), 2),
            per_processor_second=round(megabytes / min(processor[name]), 2),
        )
        for name, times in seconds.items()
    ]
    return found, Ratios(compare(seconds), compare(processor))


def compare(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Return the tokenizer's median time, in the better of its two ways, over each whole way's."""
    alone = min(median(times) for name, times in seconds.items() if name.startswith("tokenizer"))
    return {
        name: round(alone / median(times), 3)
        for name, times in seconds.items()
        if name.endswith("segment")
    }


def peak_memory(arguments: Sequence[str]) -> float:
    """Run this script as a child that streams a file, and return its peak memory in megabytes."""
    command = [sys.executable, __file__, "--child", *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_child(path: Path, tokenizer: str) -> None:
    """Stream a file, through the segmenter where a tokenizer is named, and print the peak."""
    os.nice(10)  # Memory does not depend on haste.
    if tokenizer:
        segment_file(path, Segmenter(TextTokenizer.from_file(Path(tokenizer)), SegmentSettings()))
    else:
        exhaust(DocumentReader(path))
    # The peak that getrusage tells may be that of the parent.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) / 1024)


def measure_memory(
    once: dict[str, Path], ten_times: dict[str, Path], tokenizer: Path
) -> list[Memory]:
    """Measure reading, and the whole way, for both files of each format."""
    found = []
    for name in once:
        for work, argument in (("read", ""), ("read, clean and segment", str(tokenizer))):
            # The whole way differs between formats only in the reading.
            if argument and name != "jsonl":
                continue
            peaks = [peak_memory([str(paths[name]), argument]) for paths in (once, ten_times)]
            ratio = round(peaks[1] / peaks[0], 3)
            found.append(Memory(f"{name}: {work}", round(peaks[0], 1), round(peaks[1], 1), ratio))
    return found


def print_table(results: Sequence[Measurement], ratios: Ratios, memory: Sequence[Memory]) -> None:
    """Print one line per measurement, and what misses its goal."""
    print(
        f"{'':46} {'MB/s best':>10} {'median':>8} {'per CPU s':>10} {'of tokenizer':>13} {'CPU':>5}"
    )
    for item in results:
        ratio = ratios.wall.get(item.work)
        share = "" if ratio is None else f"{ratio:13.0%} {ratios.processor[item.work]:5.0%}"
        missed = ratio is not None and ratio < GOAL
        missed = missed or (item.work.endswith(": read") and item.best < READING_GOAL)
        print(
            f"{item.work:46} {item.best:10.2f} {item.median:8.2f} {item.per_processor_second:10.2f}"
            f" {share}{'  misses the goal' if missed else ''}"
        )
    if memory:
        print(f"\n{'peak memory, MB':46} {'1x':>10} {'10x':>8} {'ratio':>10}")
    for peak in memory:
        missed = peak.ratio > MEMORY_GOAL
        print(
            f"{peak.work:46} {peak.once:10.1f} {peak.ten_times:8.1f} {peak.ratio:10.3f}"
            f"{'  misses the goal' if missed else ''}"
        )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="a labelled data file; default: made up")
    parser.add_argument("--documents", type=int, default=200, help="documents that are used")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json; default: one is trained")
    parser.add_argument("--segment-length", type=int, default=256, help="tokens of a segment")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument(
        "--memory-megabytes",
        type=float,
        default=8.0,
        help="least size of the shorter file for peak memory; below 15 batches may still fill",
    )
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, print a table and, where asked, write the figures."""
    arguments = parse_arguments()
    if arguments.child:
        run_child(Path(arguments.child[0]), arguments.child[1])
        return
    documents = (
        list(islice(DocumentReader(arguments.data), arguments.documents))
        if arguments.data
        else generate_documents(arguments.documents, seed=7)
    )
    megabytes = sum(len(document.text.encode()) for document in documents) / 1e6
    settings = SegmentSettings(segment_length=arguments.segment_length)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = arguments.tokenizer
        if path is None:
            corpus = [document.text for document in documents[:_VOCABULARY_DOCUMENTS]]
            path = folder / "tokenizer.json"
            trained = train_tokenizer(corpus, _VOCABULARY_SIZE).serialized
            path.write_text(trained, encoding="utf-8")
        segmenter = Segmenter(TextTokenizer.from_file(path), settings)
        paths = write_files(folder, documents, 1)
        work = make_work(documents, paths, segmenter)
        results, ratios = measure(work, megabytes, arguments.repeats)
        memory = []
        if not arguments.no_memory and Path("/proc/self/status").is_file():
            times = math.ceil(arguments.memory_megabytes / megabytes)
            files = [write_files(folder, documents, count * times) for count in (1, 10)]
            memory = measure_memory(files[0], files[1], path)
    machine = describe_machine()
    print_machine(machine)
    print(
        f"{len(documents):,} documents, {megabytes:.1f} MB, tokenizer "
        f"{arguments.tokenizer.resolve().parent.name if arguments.tokenizer else 'bag'}, "
        f"{arguments.repeats} rounds, load before: {load:.1f}"
    )
    print_table(results, ratios, memory)
    if arguments.json:
        content = {
            "machine": machine,
            "load_before": round(load, 2),
            "corpus": {
                "name": "/".join(arguments.data.parts[-2:]) if arguments.data else "made up",
                "documents": len(documents),
                "megabytes": round(megabytes, 2),
            },
            "tokenizer": arguments.tokenizer.resolve().parent.name
            if arguments.tokenizer
            else "bag",
            "segment_length": arguments.segment_length,
            "repeats": arguments.repeats,
            "goals": {"of_tokenizer": GOAL, "reading": READING_GOAL, "memory": MEMORY_GOAL},
            "of_tokenizer": asdict(ratios),
            "results": [asdict(item) for item in results],
            "memory": [asdict(item) for item in memory],
        }
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        arguments.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
