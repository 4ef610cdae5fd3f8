"""Token vectors distilled from an encoder beside `bag` and the linear model, with few labels.

    python benchmarks/static.py --corpora FOLDER --encoder FOLDER --json FILE

The distilling comes first and is timed by itself: it is done once for an encoder and kept. Then
each model learns from the same documents of the training file, drawn anew for each seed, of which a
tenth chooses the epoch, and is judged on the same documents of the other file. Times are seconds of
the processor, of all threads together, which other work on the machine disturbs less than those of
the clock.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import judge

from longform.backends.choice import machine_name
from longform.backends.torch import TorchBackend
from longform.config import LINEAR, RunConfig, load_config
from longform.data.readers import read_documents
from longform.data.splits import stratified_split
from longform.inference.neural import NeuralScorer
from longform.reporting import Reporter
from longform.text.segmenter import Segmenter
from longform.training.fit import fit
from longform.training.initialization import weights_digest
from longform.training.linear import fit_linear
from longform.training.static_vectors import open_source, token_vectors
from longform.types import Document

_PART = 250

Answer = Callable[[Sequence[Document]], list[str]]


@dataclass(frozen=True, slots=True)
class Measured:
    """One model, trained once.

    Attributes:
        accuracy: In percent, as `macro_f1`.
        training_seconds: Of the processor, cutting the documents included.
        milliseconds_per_document: Of the processor, from text to label.
    """

    model: str
    train_documents: int
    judged_documents: int
    seed: int
    accuracy: float
    macro_f1: float
    training_seconds: float
    milliseconds_per_document: float


def learn(config: RunConfig, documents: Sequence[Document]) -> Answer:
    """Train a model and return what answers."""
    split = stratified_split(documents, 0.1, config.seed)
    if config.encoder == LINEAR:
        fitted = fit_linear(config, documents, split.validation)
        reader = fitted.scorer()
        names, decide, score = fitted.labels.names, fitted.rule.decide, reader.score
    else:
        with tempfile.TemporaryDirectory() as folder:
            trained = fit(config, split.train, split.validation, Path(folder))
        segmenter = Segmenter(trained.tokenizer, config.segment_settings())
        scorer = NeuralScorer(segmenter, TorchBackend(trained.model), linear=trained.linear)
        names, decide, score = trained.labels.names, trained.rule.decide, scorer.score

    def answer(asked: Sequence[Document]) -> list[str]:
        parts = [asked[start : start + _PART] for start in range(0, len(asked), _PART)]
        rows = np.concatenate([decide(score(part).logits) for part in parts])
        return [names[row] for row in rows]

    return answer


def measure(
    name: str, config: RunConfig, train: Sequence[Document], test: Sequence[Document]
) -> Measured:
    """Train a model and judge it."""
    started = time.process_time()
    answer = learn(config, train)
    trained = time.process_time()
    answers = answer(test)
    answered = time.process_time()
    right, f1 = judge(test, answers)
    return Measured(
        name,
        len(train),
        len(test),
        config.seed,
        round(right, 2),
        round(f1, 2),
        round(trained - started, 1),
        round(1_000 * (answered - trained) / len(test), 2),
    )


def part(documents: Sequence[Document], count: int, seed: int) -> Sequence[Document]:
    """Take so many documents, every class in its share."""
    if count >= len(documents):
        return documents
    return stratified_split(documents, count / len(documents), seed).validation


def distil(config: RunConfig) -> float:
    """Read the encoder's token vectors, or find them in the cache; return the seconds it took."""
    started = time.process_time()
    source = open_source(config, Reporter())
    token_vectors(source, config, weights_digest(source.model), Reporter())
    return time.process_time() - started


def table(results: Sequence[Measured]) -> list[dict[str, Any]]:
    """Average over seeds: one row for each number of documents and model."""
    groups: dict[tuple[int, str], list[Measured]] = {}
    for item in results:
        groups.setdefault((item.train_documents, item.model), []).append(item)
    rows = []
    for (count, model), group in groups.items():
        row: dict[str, Any] = {"train_documents": count, "model": model, "seeds": len(group)}
        for name in ("accuracy", "macro_f1", "training_seconds", "milliseconds_per_document"):
            values = [getattr(item, name) for item in group]
            row[name] = round(float(np.mean(values)), 2)
            if name in {"accuracy", "macro_f1"} and len(values) > 1:
                row[f"{name}_deviation"] = round(float(np.std(values, ddof=1)), 2)
        rows.append(row)
    return rows


def main() -> None:
    """Measure each model and print a line for it; write the figures after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True, help="folder to distil from")
    parser.add_argument("--corpus", default="fudan")
    parser.add_argument("--train-documents", type=int, nargs="+", default=[100, 300, 1_000])
    parser.add_argument("--judged-documents", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", nargs="+", metavar="MODEL", help="these models alone")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    folder = arguments.corpora / arguments.corpus
    learnt = read_documents(folder / "train.jsonl.gz").documents
    test = part(read_documents(folder / "dev.jsonl.gz").documents, arguments.judged_documents, 0)
    distilled = {
        "encoder": "static",
        "static_from": str(arguments.encoder),
        "segment_prefix": "query: ",
    }
    models = {
        "linear": {"encoder": LINEAR},
        "bag": {},
        "static": distilled,
        "static frozen": {**distilled, "frozen": True},
        "static stacked": {**distilled, "stacked": True},
    }
    seconds = distil(load_config(None, distilled))
    print(f"distilling, or finding what was distilled: {seconds:.1f} s", flush=True)
    results: list[Measured] = []
    for count, seed in product(arguments.train_documents, range(arguments.seeds)):
        train = part(learnt, count, seed)
        for name in arguments.model or models:
            config = load_config(None, {**models[name], "seed": seed})
            results.append(measure(name, config, train, test))
            print(results[-1], flush=True)
            if arguments.json:
                content = {
                    "machine": machine_name(),
                    "corpus": arguments.corpus,
                    "distilling_seconds": round(seconds, 1),
                    "means": table(results),
                    "results": [asdict(item) for item in results],
                }
                text = json.dumps(content, ensure_ascii=False, indent=1)
                arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
