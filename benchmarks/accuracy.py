"""How accurate are models on a corpus, each trained and judged by one protocol?

A corpus with a split of its own is trained on its training part and judged on its other files; one
without is cross-validated, again and again with other folds. The best epoch is chosen on a tenth of
the training documents, never on those that judge. Beside the models stands a linear classifier of
word or character TF-IDF, trained on the same documents.

    python benchmarks/accuracy.py                        # a synthetic corpus, two minutes
    python benchmarks/accuracy.py --corpora FOLDER --corpus hyperpartisan --encoder FOLDER
    python benchmarks/accuracy.py --corpora FOLDER --corpus fudan --pool --folds 5 --seeds 1 \
        --model linear encoder=linear --model bag encoder=bag
    python benchmarks/accuracy.py --corpora FOLDER --corpus fudan --seeds 1 --view mid-512 \
        --model linear encoder=linear
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from corpora import CORPORA, VIEWS, read_part, view_documents
from scipy import stats
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from longform.backends.base import Backend
from longform.backends.choice import machine_name
from longform.backends.torch import TorchBackend
from longform.config import LINEAR, RunConfig, load_config, parse_assignments
from longform.data.readers import read_documents
from longform.data.samples import generate_documents
from longform.data.splits import k_folds, stratified_split
from longform.evaluation.metrics import accuracy, macro_f1
from longform.export.encoders import EncoderExports, fastest_encoder
from longform.inference.neural import NeuralScorer
from longform.models import LongTextClassifier
from longform.reporting import Reporter
from longform.text.segmenter import Segmenter
from longform.training.devices import pick_device
from longform.training.fit import TrainedModel, fit
from longform.training.linear import fit_linear
from longform.training.vectors import VectorStore, default_cache_folder
from longform.types import Document, Floats, Integers


@dataclass(frozen=True, slots=True)
class Trial:
    """One model on one part that judged it."""

    model: str
    judged_on: str
    seed: int
    documents: int
    accuracy: float
    macro_f1: float
    seconds: float


@dataclass(slots=True)
class Summary:
    """All trials of one model on one part.

    Attributes:
        accuracy: Mean over the trials, in percent.
        accuracy_interval: 95 % interval; None of a single trial.
    """

    model: str
    judged_on: str
    trials: int
    accuracy: float
    macro_f1: float
    seconds: float
    accuracy_interval: tuple[float, float] | None = None
    macro_f1_interval: tuple[float, float] | None = None
    differences: dict[str, Any] = field(default_factory=dict)


def linear(train: Sequence[Document], tests: Sequence[Sequence[Document]], analyzer: str) -> list:
    """Train the linear anchor, nothing tuned, and return its answers for each test part."""
    features = TfidfVectorizer(
        analyzer=analyzer, ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32
    )
    model = make_pipeline(features, LinearSVC(C=1.0))
    model.fit([item.text for item in train], [item.label for item in train])
    return [list(model.predict([item.text for item in test])) for test in tests]


def neural(
    config: RunConfig, train: Sequence[Document], tests: Sequence[Sequence[Document]]
) -> list[list[str]]:
    """Train a model of longform and return its answers for each test part."""
    split = stratified_split(train, 0.1, config.seed)
    if config.encoder == LINEAR:
        # Nothing is chosen on the held-out part: it only scales the logits.
        fitted = fit_linear(config, train, split.validation)
        judge_of = fitted.scorer()
        decided = [fitted.rule.decide(judge_of.score(test).logits) for test in tests]
        return [[fitted.labels.names[row] for row in rows] for rows in decided]
    opened: list[Backend] = []
    with tempfile.TemporaryDirectory() as folder:

        def open_encoder(model: LongTextClassifier, digest: str, precision: str) -> Backend:
            exports = EncoderExports(model, digest, Path(folder))
            opened.append(fastest_encoder(model, exports, precision, Reporter()))
            return opened[0]

        trained = fit(config, split.train, split.validation, Path(folder), None, open_encoder)
    # A fine-tuned encoder reads every token of all that judges: bf16 where it is fast.
    reduced = not opened and pick_device(Reporter(), config.device).bf16
    scorer = NeuralScorer(
        Segmenter(trained.tokenizer, config.segment_settings()),
        TorchBackend(trained.model, "bf16" if reduced else "fp32"),
        linear=trained.linear,
    )
    answers = []
    for test in tests:
        chosen = [
            trained.rule.decide(score(trained, scorer, part, opened)) for part in _parts(test)
        ]
        answers.append([trained.labels.names[row] for row in np.concatenate(chosen)])
    return answers


def score(
    trained: TrainedModel,
    scorer: NeuralScorer,
    documents: Sequence[Document],
    opened: Sequence[Backend],
) -> Floats:
    """Return logits; a frozen encoder's vectors are found from earlier folds and seeds."""
    if not opened:
        return scorer.score(documents).logits
    (encoder,) = opened
    segmented = scorer.segment(documents)
    key = [trained.encoder_digest, trained.model.config.token_pooling, encoder.info.precision]
    size, budget = encoder.info.vector_size, encoder.token_budget
    with VectorStore(default_cache_folder(), key, size, budget) as store:
        found = store.vectors(segmented, encoder.encode, scorer.segmenter.tokenizer.pad_id)
        vectors = scorer.complete(segmented, found)
        return scorer.score_readings(vectors, [item.positions for item in segmented])


def _parts(documents: Sequence[Document], size: int = 256) -> Iterator[Sequence[Document]]:
    for start in range(0, len(documents), size):
        yield documents[start : start + size]


def judge(documents: Sequence[Document], answers: Sequence[str]) -> tuple[float, float]:
    """Return accuracy and macro-F1 in percent; classes that training lacked count as wrong."""
    names = sorted({str(item.label) for item in documents} | set(answers))
    number = {name: row for row, name in enumerate(names)}
    labels: Integers = np.array([number[str(item.label)] for item in documents])
    predicted: Integers = np.array([number[name] for name in answers])
    return 100 * accuracy(labels, predicted), 100 * macro_f1(labels, predicted, len(names))


def run(
    models: dict[str, RunConfig | None],
    train: Sequence[Document],
    tests: dict[str, Sequence[Document]],
    analyzer: str,
    seed: int,
) -> Iterator[Trial]:
    """Train every model on the same documents and judge it on the same others."""
    for name, config in models.items():
        started = time.perf_counter()
        parts = list(tests.values())
        if config is None:
            answers = linear(train, parts, analyzer)
        else:
            answers = neural(config.model_copy(update={"seed": seed}), train, parts)
        seconds = time.perf_counter() - started
        for (part, documents), given in zip(tests.items(), answers, strict=True):
            right, f1 = judge(documents, given)
            trial = Trial(name, part, seed, len(documents), right, f1, round(seconds, 1))
            print(
                f"  {name:16} {part:10} seed {seed:3}  accuracy {right:6.2f}  macro-F1 {f1:6.2f}"
                f"  {seconds:6.1f} s",
                flush=True,
            )
            yield trial


def cross_validate(
    models: dict[str, RunConfig | None],
    documents: Sequence[Document],
    analyzer: str,
    folds: int,
    seeds: int,
    group: str | None = None,
) -> Iterator[Trial]:
    """Judge each model on every fold, with `seeds` ways to fold the documents."""
    groups = None if group is None else [document.fields[group] for document in documents]
    for seed in range(seeds):
        for split in k_folds(documents, folds, seed, groups):
            yield from run(models, split.train, {"fold": split.validation}, analyzer, seed)


def interval(values: Sequence[float], test_share: float | None) -> tuple[float, float] | None:
    """Return a 95 % interval of the mean of cross-validated figures.

    The corrected resampled t-test of Nadeau and Bengio, "Inference for the Generalization Error"
    (2003): folds share training documents, so their variance is widened by the share of test to
    training documents. Without it, five times ten folds look surer than they are.
    """
    if len(values) < 2 or test_share is None:
        return None
    count = len(values)
    widened = (1 / count + test_share / (1 - test_share)) * float(np.var(values, ddof=1))
    reach = float(stats.t.ppf(0.975, count - 1)) * widened**0.5
    mean = float(np.mean(values))
    return round(mean - reach, 2), round(mean + reach, 2)


def p_value(paired: Sequence[float], test_share: float | None) -> float | None:
    """Return the two-sided p-value of no difference, by the test that `interval` is of."""
    if len(paired) < 2 or test_share is None:
        return None
    count = len(paired)
    widened = (1 / count + test_share / (1 - test_share)) * float(np.var(paired, ddof=1))
    if not widened:
        return 1.0 if not np.mean(paired) else 0.0
    return float(2 * stats.t.sf(abs(float(np.mean(paired))) / widened**0.5, count - 1))


def summarize(trials: Sequence[Trial], test_share: float | None) -> list[Summary]:
    """Average the trials of each model; compare each with the first model, pair by pair."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.model, trial.judged_on), []).append(trial)
    first = next(iter(groups))[0]
    found = []
    for (model, part), group in groups.items():
        scores, f1 = [t.accuracy for t in group], [t.macro_f1 for t in group]
        summary = Summary(
            model,
            part,
            len(group),
            round(float(np.mean(scores)), 2),
            round(float(np.mean(f1)), 2),
            round(float(np.mean([t.seconds for t in group])), 1),
            interval(scores, test_share),
            interval(f1, test_share),
        )
        if model != first:
            paired = [
                ours.accuracy - theirs.accuracy
                for ours, theirs in zip(group, groups[first, part], strict=True)
            ]
            paired_f1 = [
                ours.macro_f1 - theirs.macro_f1
                for ours, theirs in zip(group, groups[first, part], strict=True)
            ]
            summary.differences = {
                "against": first,
                "accuracy": round(float(np.mean(paired)), 2),
                "interval": interval(paired, test_share),
                "p": p_value(paired, test_share),
                "macro_f1": round(float(np.mean(paired_f1)), 2),
                "macro_f1_interval": interval(paired_f1, test_share),
                "macro_f1_p": p_value(paired_f1, test_share),
            }
        found.append(summary)
    return found


def choose_models(arguments: argparse.Namespace) -> dict[str, RunConfig | None]:
    """Return the models by name; None stands for the linear classifier."""
    if arguments.model:
        return {
            name: None if settings == ["anchor"] else load_config(None, parse_assignments(settings))
            for name, *settings in arguments.model
        }
    models: dict[str, RunConfig | None] = {"linear": None, "bag": load_config(None, {})}
    if arguments.encoder:
        for aggregator in arguments.aggregator:
            overrides = {
                "encoder": str(arguments.encoder),
                "frozen": True,
                "aggregator": aggregator,
                "segment_prefix": arguments.prefix,
            }
            models[f"frozen {aggregator}"] = load_config(None, overrides)
    if arguments.fine_tune:
        recipe = parse_assignments(arguments.fine_tune)
        overrides = {"encoder": str(arguments.encoder), "segment_prefix": arguments.prefix}
        models["fine-tuned"] = load_config(None, overrides | recipe)
    return {name: models[name] for name in arguments.only or models}


def print_table(summaries: Sequence[Summary]) -> None:
    """Print one line for each model and part."""
    print(f"{'model':16} {'judged on':10} {'accuracy':>9} {'95 % interval':>16} {'macro-F1':>9}")
    for item in summaries:
        reach = item.accuracy_interval
        shown = f"{reach[0]:.2f} to {reach[1]:.2f}" if reach else "-"
        print(
            f"{item.model:16} {item.judged_on:10} {item.accuracy:9.2f} {shown:>16} "
            f"{item.macro_f1:9.2f}"
        )


def main() -> None:
    """Train, judge, print a table and, where asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--corpora", type=Path, help="folder that holds the corpora")
    parser.add_argument("--corpus", choices=sorted(CORPORA), default="hyperpartisan")
    parser.add_argument("--encoder", type=Path, help="also try its frozen vectors")
    parser.add_argument("--aggregator", nargs="+", default=["attention"])
    parser.add_argument("--files", nargs=2, type=Path, metavar=("TRAIN", "TEST"), help="own files")
    parser.add_argument("--fine-tune", nargs="+", metavar="key=value", help="train the encoder too")
    parser.add_argument(
        "--model",
        nargs="+",
        action="append",
        metavar="NAME key=value",
        help="a model of its own, instead of the usual ones; 'NAME anchor' is scikit-learn's",
    )
    parser.add_argument("--pool", action="store_true", help="cross-validate over all files")
    parser.add_argument("--view", choices=VIEWS, help="train on this of each text alone")
    parser.add_argument(
        "--judged-view", nargs="+", choices=VIEWS, help="judge on these; by default on --view"
    )
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="these models alone")
    parser.add_argument("--prefix", default="query: ", help="segment_prefix of the encoder")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5, help="ways to fold, or seeds of a model")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    models = choose_models(arguments)
    share: float | None = None
    if arguments.files:
        arguments.corpus = arguments.files[0].name
        documents, judging = (read_documents(path).documents for path in arguments.files)
        trials = [
            trial
            for seed in range(arguments.seeds)
            for trial in run(models, documents, {"test": judging}, "char", seed)
        ]
    elif arguments.corpora is None:
        arguments.corpus = "synthetic"
        documents = generate_documents(240, seed=3)
        share = 1 / 3
        trials = list(cross_validate(models, documents, "char", 3, 1))
    else:
        corpus = CORPORA[arguments.corpus]
        documents = read_part(arguments.corpora / corpus.train, corpus)
        tests = {
            Path(name).name.partition(".")[0]: read_part(arguments.corpora / name, corpus)
            for name in corpus.tests
        }
        if arguments.view:
            documents = view_documents(documents, arguments.view)
            tests = {
                name: view_documents(part, name)
                for name in arguments.judged_view or [arguments.view]
                for part in tests.values()
            }
        if arguments.pool:
            documents = [*documents, *(item for part in tests.values() for item in part)]
            tests = {}
        elif corpus.cleaned:
            documents = stratified_split(documents, 0.1, 0).train
        if tests:
            trials = [
                trial
                for seed in range(arguments.seeds)
                for trial in run(models, documents, tests, corpus.analyzer, seed)
            ]
        else:
            share = 1 / arguments.folds
            trials = list(
                cross_validate(
                    models,
                    documents,
                    corpus.analyzer,
                    arguments.folds,
                    arguments.seeds,
                    corpus.group,
                )
            )
    summaries = summarize(trials, share)
    print_table(summaries)
    if arguments.json:
        content = {
            "machine": machine_name(),
            "corpus": arguments.corpus,
            "view": arguments.view,
            "documents": len(documents),
            "protocol": f"{arguments.folds}-fold, {arguments.seeds} seeds" if share else "split",
            "results": [asdict(item) for item in summaries],
            "trials": [asdict(item) for item in trials],
        }
        arguments.json.write_text(
            json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
