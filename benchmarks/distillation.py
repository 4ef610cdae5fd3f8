"""What does a student gain from a teacher when few documents have labels?

A frozen encoder with an attention head is trained on some documents of a corpus and teaches `bag`,
which has the same labels and, without labels, the other documents. Beside it, `bag` is trained on
the labels alone. Both are judged on the documents of another file; a tenth of the labelled ones
chooses the epoch. Everything is repeated with other labelled documents.

    python benchmarks/distillation.py --train F.jsonl --dev F.jsonl --encoder FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from longform.backends.base import Backend
from longform.backends.choice import machine_name
from longform.backends.torch import TorchBackend
from longform.config import DistillationSettings, RunConfig, load_config
from longform.data.labels import LabelMap
from longform.data.readers import read_documents
from longform.data.splits import Split, stratified_split
from longform.evaluation.metrics import accuracy, macro_f1
from longform.export.encoders import EncoderExports, fastest_encoder
from longform.inference.neural import NeuralScorer
from longform.models import LongTextClassifier
from longform.reporting import Reporter
from longform.text.segmenter import Segmenter
from longform.training.encoder_loading import load_tokenizer
from longform.training.fit import TrainedModel, fit
from longform.training.lessons import Distillation
from longform.training.rows import DIGEST_BYTES, content_digest
from longform.training.teacher import Answers, Teacher
from longform.training.vectors import VectorStore, default_cache_folder
from longform.types import Document, Floats, Integers

_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Trial:
    """One model trained on one choice of labelled documents."""

    model: str
    seed: int
    accuracy: float
    macro_f1: float
    seconds: float
    right: tuple[bool, ...]


class StoredTeacher(Teacher):
    """A frozen encoder's head over stored vectors: the answers of its bundle, without encoding.

    Args:
        trained: Of a frozen run.
        encoder: What encoded its vectors.
    """

    def __init__(self, trained: TrainedModel, encoder: Backend) -> None:
        self.name = "frozen attention"
        self._trained = trained
        self._encoder = encoder
        segmenter = Segmenter(trained.tokenizer, trained.config.segment_settings())
        self._scorer = NeuralScorer(segmenter, TorchBackend(trained.model))

    @property
    def digest(self) -> str:
        """Stands for nothing that is kept."""
        return self._trained.encoder_digest

    @property
    def parameters(self) -> int:
        """Number of its weights."""
        return sum(parameter.numel() for parameter in self._trained.model.parameters())

    @property
    def rule(self) -> Any:
        """How it decides."""
        return self._trained.rule

    def check(self, labels: LabelMap, config: RunConfig) -> None:
        """The labels must be its own: nothing else can differ here."""
        assert labels.names == self._trained.labels.names

    def answers(
        self, documents: Sequence[Document], labels: LabelMap, reporter: Reporter
    ) -> Answers:
        """Score documents, encoding only what is not stored."""
        scorer, info = self._scorer, self._encoder.info
        key = store_key(self._trained.encoder_digest, self._trained.model, info.precision)
        logits = []
        for start in range(0, len(documents), 256):
            segmented = scorer.segment(documents[start : start + 256])
            with VectorStore(
                default_cache_folder(), key, info.vector_size, self._encoder.token_budget
            ) as store:
                pad_id = scorer.segmenter.tokenizer.pad_id
                vectors = store.vectors(segmented, self._encoder.encode, pad_id)
                positions = [item.positions for item in segmented]
                logits.append(scorer.score_readings(vectors, positions))
        return Answers(np.concatenate(logits))


def store_key(digest: str, model: LongTextClassifier, precision: str) -> list[str]:
    """Return the name of a store of vectors, as `fit` has it."""
    return [digest, model.config.token_pooling, precision]


def train_teacher(config: RunConfig, split: Split) -> StoredTeacher:
    """Train a head on stored vectors."""
    opened: list[Backend] = []
    with tempfile.TemporaryDirectory() as folder:

        def open_encoder(model: LongTextClassifier, digest: str, precision: str) -> Backend:
            exports = EncoderExports(model, digest, Path(folder))
            opened.append(fastest_encoder(model, exports, precision, Reporter()))
            return opened[0]

        trained = fit(config, split.train, split.validation, Path(folder), None, open_encoder)
    return StoredTeacher(trained, opened[0])


def train_student(config: RunConfig, split: Split, teaching: Distillation | None) -> TrainedModel:
    """Train `bag`, with or without a teacher."""
    with tempfile.TemporaryDirectory() as folder:
        return fit(config, split.train, split.validation, Path(folder), distillation=teaching)


def logits_of(trained: TrainedModel, documents: Sequence[Document]) -> Floats:
    """Score documents, a bounded number at a time."""
    segmenter = Segmenter(trained.tokenizer, trained.config.segment_settings())
    scorer = NeuralScorer(segmenter, TorchBackend(trained.model))
    parts = range(0, len(documents), 256)
    return np.concatenate([scorer.score(documents[at : at + 256]).logits for at in parts])


def judge(
    model: str, seed: int, names: Sequence[str], logits: Floats, documents: Sequence[Document]
) -> Trial:
    """Hold answers against labels; a label that the model lacks counts as wrong."""
    every = sorted({*names, *(str(item.label) for item in documents)})
    labels: Integers = np.array([every.index(str(item.label)) for item in documents])
    rows: Integers = np.array([every.index(name) for name in names])
    predicted: Integers = rows[logits.argmax(axis=1)]
    return Trial(
        model,
        seed,
        round(100 * accuracy(labels, predicted), 2),
        round(100 * macro_f1(labels, predicted, len(every)), 2),
        0.0,
        tuple((labels == predicted).tolist()),
    )


def run_seed(arguments: argparse.Namespace, pool: Sequence[Document], seed: int) -> Iterator[Trial]:
    """Choose labelled documents, train all models on them and judge each."""
    chosen = stratified_split(pool, arguments.labelled / len(pool), seed)
    labelled, others = chosen.validation, chosen.train[: arguments.unlabelled]
    split = stratified_split(labelled, 0.1, seed)
    dev = read_documents(arguments.dev).documents
    started = time.perf_counter()

    def finish(trial: Trial) -> Trial:
        nonlocal started
        now = time.perf_counter()
        trial = Trial(**{**_fields(trial), "seconds": round(now - started, 1)})
        started = now
        print(
            f"  seed {seed} {trial.model:24} accuracy {trial.accuracy:6.2f}  "
            f"macro-F1 {trial.macro_f1:6.2f}  {trial.seconds:6.1f} s",
            flush=True,
        )
        return trial

    student = load_config(None, {"seed": seed})
    alone = train_student(student, split, None)
    yield finish(judge("bag alone", seed, alone.labels.names, logits_of(alone, dev), dev))
    frozen = {"encoder": str(arguments.encoder), "frozen": True, "aggregator": "attention"}
    frozen |= {"segment_prefix": arguments.prefix, "seed": seed}
    knows_all = arguments.teacher_labels == "all"
    learnt = stratified_split(pool, 0.1, seed) if knows_all else split
    teacher = train_teacher(load_config(None, frozen), learnt)
    names = LabelMap.from_documents(split.train)
    # Texts whose labels the teacher did not see judge it, since their vectors are stored.
    unseen = learnt.validation if knows_all else others
    answers = teacher.answers(unseen, names, Reporter()).logits
    yield finish(judge("teacher, on unseen", seed, names.names, answers, unseen))
    if arguments.judge_teacher:
        answers = teacher.answers(dev, names, Reporter()).logits
        yield finish(judge("teacher", seed, names.names, answers, dev))
    for share in arguments.hard_share:
        settings = DistillationSettings(temperature=arguments.temperature, hard_share=share)
        taught = train_student(student, split, Distillation(teacher, settings, tuple(others)))
        name = f"bag distilled, {share:g}"
        yield finish(judge(name, seed, taught.labels.names, logits_of(taught, dev), dev))


def _fields(trial: Trial) -> dict[str, Any]:
    return {name: getattr(trial, name) for name in Trial.__slots__}


def compare(trials: Sequence[Trial], model: str, base: str = "bag alone") -> dict[str, Any]:
    """Compare a model with another seed by seed, on the same labelled documents.

    Returns:
        Mean differences in points; of accuracy, a 95 % t-interval over the seeds, and one by the
        bootstrap over seeds and judging documents.
    """
    ours = [trial for trial in trials if trial.model == model]
    theirs = {trial.seed: trial for trial in trials if trial.model == base}
    gains = np.array([trial.accuracy - theirs[trial.seed].accuracy for trial in ours])
    f1 = np.array([trial.macro_f1 - theirs[trial.seed].macro_f1 for trial in ours])
    better = np.array([np.subtract(t.right, theirs[t.seed].right, dtype=float) for t in ours])
    generator = np.random.default_rng(0)
    means = []
    for _ in range(_RESAMPLES):
        columns = generator.integers(0, better.shape[1], better.shape[1])
        means.append(100 * better[:, columns].mean())
    reach = None
    if len(gains) > 1:
        width = float(stats.t.ppf(0.975, len(gains) - 1)) * gains.std(ddof=1) / len(gains) ** 0.5
        reach = [round(gains.mean() - width, 2), round(gains.mean() + width, 2)]
    return {
        "model": model,
        "against": base,
        "seeds": len(gains),
        "accuracy": round(float(gains.mean()), 2),
        "interval_over_seeds": reach,
        "interval_over_documents": np.percentile(means, [2.5, 97.5]).round(2).tolist(),
        "macro_f1": round(float(f1.mean()), 2),
    }


def stored_documents(
    arguments: argparse.Namespace, documents: Sequence[Document], digests: set[bytes]
) -> list[Document]:
    """Return the documents whose vectors are all stored."""
    settings = load_config(None, {"segment_prefix": arguments.prefix}).segment_settings()
    segmenter = Segmenter(load_tokenizer(str(arguments.encoder)), settings)
    kept = []
    texts = (document.text for document in documents)
    for document, segmented in zip(documents, segmenter.iterate(texts), strict=True):
        segments = segmented.segments
        if all(content_digest(segment.token_ids.tobytes()) in digests for segment in segments):
            kept.append(document)
    return kept


def describe(arguments: argparse.Namespace, pool: int, trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the figures so far, with what they depend on."""
    others = pool - arguments.labelled
    return {
        "machine": machine_name(),
        "load": round(os.getloadavg()[0], 1),
        "teacher": {"encoder": arguments.encoder.name, "frozen": True, "prefix": arguments.prefix},
        "labelled": arguments.labelled,
        "teacher_labels": arguments.teacher_labels,
        "unlabelled": min(others, arguments.unlabelled or others),
        "temperature": arguments.temperature,
        "comparisons": [
            compare(trials, f"bag distilled, {share:g}") for share in arguments.hard_share
        ],
        "trials": [
            {name: value for name, value in asdict(trial).items() if name != "right"}
            for trial in trials
        ],
    }


def main() -> None:
    """Train, judge, print a table and, where asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--train", type=Path, required=True, help="labelled documents to draw from")
    parser.add_argument("--dev", type=Path, required=True, help="documents that judge")
    parser.add_argument("--encoder", type=Path, required=True, help="of the teacher")
    parser.add_argument("--prefix", default="query: ", help="segment_prefix of the encoder")
    parser.add_argument("--labelled", type=int, default=1_000)
    parser.add_argument(
        "--teacher-labels",
        choices=["same", "all"],
        default="same",
        help="the teacher has the labels that its student has, or those of all training documents",
    )
    parser.add_argument("--unlabelled", type=int, default=None, help="at most; all others")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--hard-share", type=float, nargs="+", default=[0.7])
    parser.add_argument("--judge-teacher", action="store_true", help="encode the judging documents")
    parser.add_argument("--stored", type=Path, help="segments.hash of a store: take what it has")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    pool: Sequence[Document] = read_documents(arguments.train).documents
    if arguments.stored:
        hashes = arguments.stored.read_bytes()
        digests = {hashes[at : at + DIGEST_BYTES] for at in range(0, len(hashes), DIGEST_BYTES)}
        pool = stored_documents(arguments, pool, digests)
    print(f"{len(pool):,} documents to draw from", flush=True)
    trials: list[Trial] = []
    for seed in arguments.seeds:
        trials += run_seed(arguments, pool, seed)
        # After each, so that a run which is stopped leaves what it measured.
        content = describe(arguments, len(pool), trials)
        if arguments.json:
            text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
            arguments.json.write_text(text, encoding="utf-8")
    for item in content["comparisons"]:
        print(item)


if __name__ == "__main__":
    main()
