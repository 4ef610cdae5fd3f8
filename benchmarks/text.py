"""Is cutting texts into segments linear work, and how fast is it?

Measures texts of length n and 10 n in turns and prints t(10 n) / t(n), which should stay near 10,
for the texts that break tokenizers: no sentence end at all, or nothing but sentences.

    python benchmarks/text.py --tokenizer FOLDER/tokenizer.json --json benchmarks/results/text.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from machine import describe_machine, print_machine

from longform.config import SegmentSettings
from longform.data.samples import generate_documents
from longform.text.segmenter import Segmenter
from longform.text.tokenization import TextTokenizer
from longform.text.vocabulary import train_tokenizer

GOAL = 13.0
"""Most that ten times the text may cost: 10 for linear work, and room for caches and noise."""

_VOCABULARY_DOCUMENTS = 300
_VOCABULARY_SIZE = 20_000


@dataclass(frozen=True, slots=True)
class Measurement:
    """Times of one kind of text with one tokenizer.

    Attributes:
        tokenizer: Its name.
        text: What was cut.
        characters: Length of the longer text.
        megabytes: Its size in UTF-8.
        tokens: Its tokens.
        seconds_short: Best time of a tenth of it.
        seconds_long: Best time of the whole.
        ratio: The second over the first; 10 is linear.
        work_ratio: The same of processor time, all threads together: what other programs on the
            machine take from this one does not count.
        megabytes_per_second: Of the longer text.
    """

    tokenizer: str
    text: str
    characters: int
    megabytes: float
    tokens: int
    seconds_short: float
    seconds_long: float
    ratio: float
    work_ratio: float
    megabytes_per_second: float


def make_texts(scale: float) -> dict[str, Callable[[int], list[str]]]:
    """Return for each kind of text a function from 1 or 10 to documents of that relative size."""
    characters, sentences, documents = (
        max(1, round(scale * count)) for count in (300_000, 10_000, 60)
    )
    return {
        "one Chinese character": lambda size: ["长" * (size * characters)],
        "one Latin letter": lambda size: ["a" * (size * characters)],
        # Counted from a million, so that each has the same length and ten times is ten times.
        "different sentences": lambda size: [
            "".join(f"这是第{1_000_000 + n}句，共有许多句。" for n in range(size * sentences))
        ],
        "synthetic documents": lambda size: [
            document.text for document in generate_documents(size * documents, seed=7)
        ],
    }


def measure(
    name: str, text: str, make: Callable[[int], list[str]], segmenter: Segmenter, repeats: int
) -> Measurement:
    """Cut short and long texts in turns, so that a busy moment of the machine hits both."""
    short, long = make(1), make(10)
    best = {1: float("inf"), 10: float("inf")}
    work = dict(best)
    tokens = 0
    for _ in range(repeats):
        for size, texts in ((1, short), (10, long)):
            started, worked = time.perf_counter(), time.process_time()
            tokens = sum(item.coverage.tokens_total for item in segmenter.iterate(texts))
            best[size] = min(best[size], time.perf_counter() - started)
            work[size] = min(work[size], time.process_time() - worked)
    megabytes = sum(len(document.encode()) for document in long) / 1e6
    return Measurement(
        tokenizer=name,
        text=text,
        characters=sum(map(len, long)),
        megabytes=round(megabytes, 2),
        tokens=tokens,
        seconds_short=round(best[1], 4),
        seconds_long=round(best[10], 4),
        ratio=round(best[10] / best[1], 2),
        work_ratio=round(work[10] / work[1], 2),
        megabytes_per_second=round(megabytes / best[10], 2),
    )


def print_table(machine: dict[str, str | int], results: Sequence[Measurement]) -> None:
    """Print the machine and one line per measurement."""
    print_machine(machine)
    print(
        f"{'tokenizer':20} {'text':22} {'t(n) s':>8} {'t(10n) s':>9} {'ratio':>6} {'work':>6} "
        f"{'MB/s':>6}"
    )
    for item in results:
        print(
            f"{item.tokenizer:20} {item.text:22} {item.seconds_short:8.3f} "
            f"{item.seconds_long:9.3f} {item.ratio:6.1f} {item.work_ratio:6.1f} "
            f"{item.megabytes_per_second:6.2f}"
            f"{'' if item.ratio <= GOAL else '  over the goal'}"
        )


def load_tokenizers(paths: Sequence[Path]) -> dict[str, TextTokenizer]:
    """Return the trained bag vocabulary and those in files, by the names of their folders."""
    corpus = (document.text for document in generate_documents(_VOCABULARY_DOCUMENTS, seed=1))
    found = {"bag": train_tokenizer(corpus, _VOCABULARY_SIZE)}
    for path in paths:
        found[path.resolve().parent.name] = TextTokenizer.from_file(path)
    return found


def main() -> None:
    """Measure, print a table and, where asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--tokenizer", type=Path, action="append", default=[], help="a tokenizer.json; repeatable"
    )
    parser.add_argument("--segment-length", type=int, default=256, help="tokens of a segment")
    parser.add_argument("--segmenter", choices=["sentence", "fixed"], default="sentence")
    parser.add_argument("--repeats", type=int, default=5, help="the best of so many is taken")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1 for a quick look")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    settings = SegmentSettings(
        segmenter=arguments.segmenter, segment_length=arguments.segment_length
    )
    texts = make_texts(arguments.scale)
    results = [
        measure(name, text, make, Segmenter(tokenizer, settings), arguments.repeats)
        for name, tokenizer in load_tokenizers(arguments.tokenizer).items()
        for text, make in texts.items()
    ]
    machine = describe_machine()
    print_table(machine, results)
    if arguments.json:
        content = {
            "machine": machine,
            "settings": settings.model_dump(include={"segmenter", "segment_length"}),
            "repeats": arguments.repeats,
            "scale": arguments.scale,
            "goal": GOAL,
            "results": [asdict(item) for item in results],
        }
        arguments.json.write_text(
            json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
