"""Token vectors distilled from an encoder beside `bag` and the linear model, with few labels.

    python benchmarks/static.py --corpora FOLDER --encoder FOLDER --json FILE

Each model learns from the same documents of the training file, of which a tenth chooses the epoch,
and is judged on the same documents of the other file. Times are seconds of the processor, of all
threads together, which other work on the machine disturbs less than those of the clock.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from accuracy import judge

from longform.backends.choice import machine_name
from longform.backends.torch import TorchBackend
from longform.config import LINEAR, RunConfig, load_config
from longform.data.readers import read_documents
from longform.data.splits import stratified_split
from longform.inference.neural import NeuralScorer
from longform.text.segmenter import Segmenter
from longform.training.fit import fit
from longform.training.linear import fit_linear
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
        scorer = NeuralScorer(segmenter, TorchBackend(trained.model))
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


def main() -> None:
    """Measure each model and print a line for it; write the figures after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True, help="folder to distil from")
    parser.add_argument("--corpus", default="fudan")
    parser.add_argument("--train-documents", type=int, default=1_000)
    parser.add_argument("--judged-documents", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    folder = arguments.corpora / arguments.corpus
    train = part(read_documents(folder / "train.jsonl.gz").documents, arguments.train_documents, 0)
    test = part(read_documents(folder / "dev.jsonl.gz").documents, arguments.judged_documents, 0)
    distilled = {
        "encoder": "static",
        "static_from": str(arguments.encoder),
        "segment_prefix": "query: ",
    }
    models = {
        "linear": {"encoder": LINEAR},
        "static": distilled,
        "bag": {},
        "static frozen": {**distilled, "frozen": True},
    }
    results: list[Measured] = []
    for name, settings in models.items():
        config = load_config(None, {**settings, "seed": arguments.seed})
        results.append(measure(name, config, train, test))
        print(results[-1], flush=True)
        if arguments.json:
            content = {
                "machine": machine_name(),
                "corpus": arguments.corpus,
                "results": [asdict(item) for item in results],
            }
            text = json.dumps(content, ensure_ascii=False, indent=1)
            arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
