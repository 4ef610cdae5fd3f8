"""What a token costs in documents of any length, and what the cache of segment vectors saves.

For each length a process of its own reads documents of so many tokens, about as many tokens in all,
and tells tokens/s and the most memory that it held. Then one process reads documents twice with the
cache, and documents that grew by a tenth.

    python benchmarks/long_documents.py --bundle DIR --data FILE --json F
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from inference import make_bundle
from machine import describe_machine, print_machine

from longform.data.readers import read_documents
from longform.inference.cache import CacheSettings
from longform.inference.predictor import Predictor, load
from longform.types import Document

LENGTHS = (2_000, 8_000, 32_000, 100_000)


def documents_of(texts: Sequence[str], tokens: int, total: int, share: float) -> list[Document]:
    """Join texts to documents of about so many tokens each, and about `total` together.

    Args:
        texts: What to join, again and again.
        tokens: Of each document.
        total: Of all documents.
        share: Tokens of a character.
    """
    characters = int(tokens / share)
    stock = "".join(texts)
    stock *= 1 + (total + tokens) * 2 // max(1, int(len(stock) * share))
    starts = range(0, max(1, total // tokens) * characters, characters)
    return [Document(str(start), stock[start : start + characters]) for start in starts]


def read_length(
    bundle: Path, backend: str, documents: list[Document], rounds: int, queue: Any
) -> None:
    """Read documents in a process of its own and tell seconds, tokens and the most memory."""
    with load(bundle, backend) as predictor:
        predictor.warm_up()
        predictor.predict(documents[:1])
        seconds = []
        for _ in range(rounds):
            started = time.perf_counter()
            tokens = sum(
                item.tokens_used
                for _, scores in predictor.iterate_scores(documents)
                for item in scores.coverage
            )
            seconds.append(time.perf_counter() - started)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    queue.put((seconds, tokens, peak))


def measure_lengths(
    bundle: Path, backend: str, texts: Sequence[str], total: int, rounds: int
) -> list[dict[str, Any]]:
    """Return the figures of each length."""
    with load(bundle, "onnx") as predictor:
        (sample,) = predictor.scorer.segment([Document("0", texts[0])])
        share = sample.coverage.tokens_total / len(texts[0])
    context = multiprocessing.get_context("spawn")
    found = []
    for length in LENGTHS:
        documents = documents_of(texts, length, total, share)
        queue = context.Queue()
        arguments = (bundle, backend, documents, rounds, queue)
        process = context.Process(target=read_length, args=arguments)
        process.start()
        seconds, tokens, peak = queue.get()
        process.join()
        row = {
            "tokens": round(tokens / len(documents)),
            "documents": len(documents),
            "tokens_per_second": round(tokens / statistics.median(seconds)),
            "peak_memory_mb": round(peak / 1e6, 1),
        }
        print(row, flush=True)
        found.append(row)
    return found


def timed(predictor: Predictor, documents: Sequence[Document]) -> float:
    """Return the seconds of one pass."""
    started = time.perf_counter()
    for _ in predictor.iterate_scores(documents):
        pass
    return time.perf_counter() - started


def measure_cache(bundle: Path, backend: str, documents: Sequence[Document]) -> dict[str, Any]:
    """Return seconds of a first and a second pass, and of documents that grew by a tenth."""
    grown = [
        replace(item, text=item.text + other.text[: len(item.text) // 10])
        for item, other in zip(documents, [*documents[1:], documents[0]], strict=True)
    ]
    with load(bundle, backend, cache=CacheSettings()) as predictor:
        predictor.warm_up()
        first, second = timed(predictor, documents), timed(predictor, documents)
        with_cache = timed(predictor, grown)
        statistics_ = predictor.cache_statistics
    with load(bundle, backend) as predictor:
        predictor.warm_up()
        fresh = timed(predictor, grown)
    assert statistics_ is not None
    found = {
        "documents": len(documents),
        "first_seconds": round(first, 3),
        "second_seconds": round(second, 3),
        "second_pass_speed_up": round(first / second, 1),
        "grown_over_fresh": round(with_cache / fresh, 3),
        "cache_bytes": statistics_.bytes,
    }
    print(found, flush=True)
    return found


def main() -> None:
    """Measure, print and, where asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--documents", type=int, default=200, help="read twice with the cache")
    parser.add_argument("--tokens", type=int, default=200_000, help="read of each length")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    machine = describe_machine()
    print_machine(machine)
    with tempfile.TemporaryDirectory() as work:
        if arguments.bundle:
            bundle = arguments.bundle
            documents = list(read_documents(arguments.data).documents[: arguments.documents])
        else:
            bundle, documents = make_bundle(Path(work))
        with load(bundle, arguments.backend) as predictor:
            info = predictor.backend_info
            backend = f"{info.name}:{info.precision}"
        texts = [document.text for document in documents]
        lengths = measure_lengths(bundle, backend, texts, arguments.tokens, arguments.rounds)
        cache = measure_cache(bundle, backend, documents)
    content = {"machine": machine, "backend": backend, "lengths": lengths, "cache": cache}
    if arguments.json:
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
