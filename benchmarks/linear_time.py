"""How long does a linear model take for one document, on one core?

    python benchmarks/linear_time.py                         # a synthetic corpus, half a minute
    python benchmarks/linear_time.py --bundle FOLDER --data FILE --json F

The process is bound to one core. Documents of 5,000 characters are answered one by one: the whole
way from text to answer (`predict`), and stages of it by themselves. Of each document the fastest of
all rounds counts, which what else runs on the machine disturbs least; the median of all
measurements stands beside it, and the load of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from machine import describe_machine, print_machine

import longform
from longform.config import load_config
from longform.data.readers import read_documents
from longform.data.samples import generate_documents
from longform.data.splits import stratified_split
from longform.export.linear_bundle import write_linear_bundle
from longform.inference.linear import LinearScorer
from longform.inference.predictor import Predictor
from longform.training.linear import fit_linear
from longform.types import Document


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage takes for a document, in milliseconds.

    Attributes:
        fastest: The fastest round of each document, averaged over documents.
        median: Of all rounds of all documents.
    """

    name: str
    fastest: float
    median: float


def documents_of_length(documents: Sequence[Document], size: int, count: int) -> list[Document]:
    """Cut documents to so many characters, after those of half of it or more were doubled."""
    long = [item.text for item in documents if len(item.text) >= size // 2]
    return [Document(str(row), (text * 2)[:size]) for row, text in enumerate(long[:count])]


def stages(predictor: Predictor, documents: Sequence[Document], rounds: int) -> list[Stage]:
    """Measure all stages in turns, document by document."""
    scorer = predictor.scorer
    assert isinstance(scorer, LinearScorer)
    model, reader = scorer.model, scorer.model.reader
    texts = [scorer.cleaner.clean(item.text).text for item in documents]
    tokens = [[reader.tokenize(text)] for text in texts]
    features = [model.features(item) for item in tokens]
    calls: dict[str, Callable[[int], object]] = {
        "clean": lambda row: scorer.cleaner.clean(documents[row].text),
        "tokenize": lambda row: reader.tokenize(texts[row]),
        "features": lambda row: model.features(tokens[row]),
        "add up": lambda row: model.contributions(features[row]),
        "predict": lambda row: predictor.predict([documents[row]]),
    }
    taken = {name: np.empty((rounds, len(documents))) for name in calls}
    for turn in range(rounds):
        for name, call in calls.items():
            for row in range(len(documents)):
                started = time.perf_counter()
                call(row)
                taken[name][turn, row] = time.perf_counter() - started
    return [
        Stage(
            name,
            round(1_000 * float(seconds.min(axis=0).mean()), 3),
            round(1_000 * float(np.median(seconds)), 3),
        )
        for name, seconds in taken.items()
    ]


def make_bundle(folder: Path) -> tuple[Path, Sequence[Document]]:
    """Train a linear model on a synthetic corpus; return its bundle and the documents."""
    documents = generate_documents(240, seed=3)
    split = stratified_split(documents, 0.2, 0)
    trained = fit_linear(load_config(None, {"encoder": "linear"}), split.train, split.validation)
    write_linear_bundle(trained, split.validation, folder / "bundle")
    return folder / "bundle", documents


def main() -> None:
    """Measure, print a table and, where asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--characters", type=int, default=5_000)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    machine = describe_machine()
    print_machine(machine)
    with TemporaryDirectory() as work:
        if arguments.bundle:
            bundle, found = arguments.bundle, read_documents(arguments.data).documents
        else:
            bundle, found = make_bundle(Path(work))
        documents = documents_of_length(found, arguments.characters, arguments.documents)
        load = [os.getloadavg()[0]]
        with longform.load(bundle) as predictor:
            predictor.warm_up()
            measured = stages(predictor, documents, arguments.rounds)
            weights = predictor.scorer.model.weights
            features, classes = weights.weights.shape
        load.append(os.getloadavg()[0])
    print(f"{'stage':10} {'fastest ms':>11} {'median ms':>11}")
    for stage in measured:
        print(f"{stage.name:10} {stage.fastest:11.3f} {stage.median:11.3f}")
    print(f"load average of a minute: {load[0]:.2f} before, {load[1]:.2f} after")
    if arguments.json:
        content = {
            "machine": machine,
            "load_average": {"before": round(load[0], 2), "after": round(load[1], 2)},
            "characters": arguments.characters,
            "documents": len(documents),
            "rounds": arguments.rounds,
            "classes": classes,
            "features": features,
            "milliseconds_per_document": [asdict(stage) for stage in measured],
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
