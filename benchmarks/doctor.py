"""Does the doctor find what is planted, and how long does it take?

Plants flaws in a corpus: labels changed at random, exact copies of training documents in the
validation file, and copies with some of their characters edited. Prints how many are found.

    python benchmarks/doctor.py --json benchmarks/results/doctor.json
    python benchmarks/doctor.py --data train.jsonl.gz --validation dev.jsonl.gz
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from machine import describe_machine

from longform.backends.threads import granted_threads
from longform.config import RunConfig
from longform.data.doctor.examination import diagnose
from longform.data.duplicates import find_leaks
from longform.data.readers import ReadResult, documents_from_rows, read_documents
from longform.types import Document

GOALS = {"label_recall": 0.6, "copy_recall": 0.99, "near_copy_recall": 0.99}
_CLASSES = 20
_COMMON, _OF_CLASS = 2_500, 150
_CLASS_SHARE = 0.04
_SENTENCE = 25
_TOP_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Planted:
    """A corpus with flaws that are known.

    Attributes:
        train: Documents with some labels changed.
        validation: Documents with copies of training documents among them.
        changed: Places in `train` whose label was changed.
        copies: Ids in `validation` of exact copies.
        near_copies: Ids in `validation` of edited copies.
    """

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    changed: tuple[int, ...]
    copies: tuple[str, ...]
    near_copies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was found of what was planted.

    Attributes:
        corpus: Its name.
        documents: For training.
        validation_documents: For validation, planted copies included.
        characters: Of all documents.
        classes: Number of classes.
        labels_changed: Labels changed at random.
        label_recall: Share of them among the tenth of the documents that is most suspected.
        label_precision: Share of them among as many suspects as labels were changed.
        copies_planted: Exact copies across the split, and as many edited ones.
        copy_recall: Share of the exact copies found.
        near_copy_recall: Share of the edited copies found.
        leaks_before: Leaks found in the corpus before anything was planted.
        seconds: For the examinations together.
        seconds_of: For each.
        peak_megabytes: Greatest memory of the process so far.
        load_average: Of the machine over the last minute, this process included: what other
            programs took.
    """

    corpus: str
    documents: int
    validation_documents: int
    characters: int
    classes: int
    labels_changed: int
    label_recall: float
    label_precision: float
    copies_planted: int
    copy_recall: float
    near_copy_recall: float
    leaks_before: int | None
    seconds: float
    seconds_of: dict[str, float]
    peak_megabytes: int
    load_average: float


def make_corpus(documents: int, characters: int, seed: int) -> list[Document]:
    """Make Chinese-looking documents whose class shows in a few characters of each sentence."""
    generator = np.random.default_rng(seed)
    alphabet = np.arange(0x4E00, 0x4E00 + 20_000)
    generator.shuffle(alphabet)
    ranks = 1 / np.arange(1, _COMMON + 1)
    ranks /= ranks.sum()
    made = []
    for index in range(documents):
        label = index % _CLASSES
        length = max(200, round(characters * generator.lognormal(-0.08, 0.4)))
        points = alphabet[generator.choice(_COMMON, length, p=ranks)]
        own = alphabet[_COMMON + _OF_CLASS * label :][:_OF_CLASS]
        is_own = generator.random(length) < _CLASS_SHARE
        points[is_own] = generator.choice(own, int(is_own.sum()))
        points[_SENTENCE::_SENTENCE] = ord("。")
        made.append(Document(f"{index:06d}", "".join(map(chr, points)), f"class {label:02d}"))
    return made


def plant(
    train: Sequence[Document],
    validation: Sequence[Document],
    share: float,
    edited: float,
    copies: int,
    seed: int,
) -> Planted:
    """Change labels and add copies.

    Args:
        train: Documents for training.
        validation: Documents for validation.
        share: Share of the labels to change, each to another class at random.
        edited: Share of the characters of a near-copy to substitute, delete or insert.
        copies: Exact copies, and as many near-copies, to add to validation.
        seed: Of all choices.
    """
    generator = np.random.default_rng(seed)
    names = sorted({str(document.label) for document in train})
    flawed = list(train)
    changed = generator.choice(len(train), round(share * len(train)), replace=False).tolist()
    for place in changed:
        others = [name for name in names if name != train[place].label]
        flawed[place] = replace(train[place], label=str(generator.choice(others)))
    chosen = generator.choice(len(train), 2 * copies, replace=False).tolist()
    exact = [
        replace(train[place], id=f"copy-{number}") for number, place in enumerate(chosen[:copies])
    ]
    near = [
        replace(train[place], id=f"near-{number}", text=edit(train[place].text, edited, generator))
        for number, place in enumerate(chosen[copies:])
    ]
    return Planted(
        train=tuple(flawed),
        validation=(*validation, *exact, *near),
        changed=tuple(changed),
        copies=tuple(document.id for document in exact),
        near_copies=tuple(document.id for document in near),
    )


def edit(text: str, share: float, generator: np.random.Generator) -> str:
    """Substitute, delete or insert, with equal chance, at a share of the visible characters."""
    characters = list(text)
    visible = [place for place, character in enumerate(text) if not character.isspace()]
    for place in generator.choice(visible, round(share * len(visible)), replace=False).tolist():
        other = text[visible[generator.integers(len(visible))]]
        kind = generator.integers(3)
        characters[place] = ("", other, characters[place] + other)[kind]
    return "".join(characters)


def measure(
    name: str, train: Sequence[Document], validation: Sequence[Document], seed: int, copies: int
) -> Measurement:
    """Plant flaws, diagnose, and compare."""
    before = len(find_leaks(train, validation).other) if validation else None
    copies = min(copies, len(train) // 4)
    planted = plant(train, validation, 0.05, 0.05, copies, seed)
    started = time.perf_counter()
    diagnosis = diagnose(
        _as_result(planted.train),
        _as_result(planted.validation),
        RunConfig(),
        workers=granted_threads(),
    )
    seconds = time.perf_counter() - started
    ranking = diagnosis.suspects.ranking
    changed = set(planted.changed)
    top = changed & set(ranking[: round(_TOP_SHARE * len(ranking))])
    first = changed & set(ranking[: len(changed)])
    leaks = diagnosis.copies.all_leaks
    assert leaks is not None
    found = {planted.validation[place].id for place in leaks.other}
    return Measurement(
        corpus=name,
        documents=len(planted.train),
        validation_documents=len(planted.validation),
        characters=sum(len(d.text) for d in (*planted.train, *planted.validation)),
        classes=len(diagnosis.classes),
        labels_changed=len(changed),
        label_recall=round(len(top) / len(changed), 4),
        label_precision=round(len(first) / len(changed), 4),
        copies_planted=copies,
        copy_recall=round(len(found & set(planted.copies)) / copies, 4),
        near_copy_recall=round(len(found & set(planted.near_copies)) / copies, 4),
        leaks_before=before,
        seconds=round(seconds, 1),
        seconds_of=diagnosis.seconds,
        peak_megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        load_average=round(os.getloadavg()[0], 1),
    )


def _as_result(documents: Sequence[Document]) -> ReadResult:
    rows = ({"id": d.id, "text": d.text, "label": d.label} for d in documents)
    return documents_from_rows(rows, name="benchmark")


def print_table(results: Sequence[Measurement]) -> None:
    """Print one line per corpus."""
    print(
        f"{'corpus':24} {'docs':>7} {'M chars':>8} {'labels':>7} {'copies':>7} {'near':>7} "
        f"{'s':>6} {'MB':>6}"
    )
    for item in results:
        missed = [name for name, goal in GOALS.items() if getattr(item, name) < goal]
        print(
            f"{item.corpus:24} {item.documents + item.validation_documents:7,} "
            f"{item.characters / 1e6:8.1f} {item.label_recall:7.1%} {item.copy_recall:7.1%} "
            f"{item.near_copy_recall:7.1%} {item.seconds:6.1f} {item.peak_megabytes:6,}"
            f"{'  below the goal: ' + ', '.join(missed) if missed else ''}"
        )


def main() -> None:
    """Measure, print a table and, where asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="labelled documents instead of synthetic ones")
    parser.add_argument("--validation", type=Path, help="validation file beside --data")
    parser.add_argument("--name", help="of the corpus in the results")
    parser.add_argument("--documents", type=int, default=1_000, help="synthetic documents")
    parser.add_argument("--characters", type=int, default=1_500, help="mean length of them")
    parser.add_argument("--copies", type=int, default=300, help="copies to plant, of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--append", action="store_true", help="keep other corpora in that file")
    arguments = parser.parse_args()
    if arguments.data:
        train = read_documents(arguments.data).documents
        held = read_documents(arguments.validation).documents if arguments.validation else ()
        name = arguments.name or arguments.data.stem
    else:
        made = make_corpus(arguments.documents, arguments.characters, arguments.seed)
        train, held = tuple(made), ()
        name = arguments.name or f"synthetic {arguments.documents} x {arguments.characters}"
    result = measure(name, train, held, arguments.seed, arguments.copies)
    print_table([result])
    if arguments.json:
        known = []
        if arguments.append and arguments.json.is_file():
            known = json.loads(arguments.json.read_text(encoding="utf-8"))["results"]
        results = [item for item in known if item["corpus"] != name] + [asdict(result)]
        content = {"machine": describe_machine(), "goals": GOALS, "results": results}
        arguments.json.write_text(
            json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
