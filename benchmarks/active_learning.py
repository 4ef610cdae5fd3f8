"""How many labels does a strategy save, and do the passages that it names tell the label?

A pool of labelled documents plays a pool without labels. Each strategy starts with the same few
random documents, fits a linear model, picks the next ones by it, is told their labels, and so on;
documents that were never in the pool judge after each round. Nothing is tuned on them. At the end
the passages of unseen documents, named by the model of the default strategy, are read alone, and
beside them as much text drawn at random.

    python benchmarks/active_learning.py                   # a synthetic corpus, a minute or two
    python benchmarks/active_learning.py --corpora FOLDER --corpus fudan --json OUT.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, print_machine

from longform.annotation.passages import choose_passages
from longform.annotation.pool import describe
from longform.annotation.strategies import (
    DEFAULT_STRATEGY,
    STRATEGIES,
    Candidates,
    Strategy,
    check_strategy,
    pick,
    prioritize,
)
from longform.config import RunConfig, load_config
from longform.data.duplicates import find_duplicates
from longform.data.labels import LabelMap
from longform.data.readers import read_documents
from longform.data.samples import generate_documents
from longform.decision.calibration import fit_temperature
from longform.decision.rule import DecisionRule
from longform.evaluation.metrics import accuracy, macro_f1
from longform.inference.linear import FeatureSegment, LinearScorer, make_reader
from longform.inference.linear_model import LinearModel
from longform.inference.scorer import Reading
from longform.reporting import Reporter
from longform.text.cleaning import Cleaner
from longform.text.features import FeatureReader
from longform.text.ngrams import Tokens
from longform.training.linear import choose_analyzer, fit_weights, scaled, tokenize_all
from longform.types import Coverage, Document, Floats, Integers, SegmentedDocument

_HELD_OUT = 5
"""One labelled document in so many scales the logits, and is not fitted on."""
_FILES = {
    "fudan": ("fudan/train.jsonl.gz", "fudan/dev.jsonl.gz"),
    "newsgroups": ("newsgroups/train.jsonl.gz", "newsgroups/test.jsonl.gz"),
    "iflytek": ("iflytek/train.jsonl.gz", "iflytek/dev.jsonl.gz"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """Documents that were tokenised once.

    Attributes:
        documents: With their labels.
        tokens: Of each document's text.
        targets: int64 `[docs]`.
    """

    documents: list[Document]
    tokens: list[list[Tokens]]
    targets: Integers


@dataclass(frozen=True, slots=True)
class Point:
    """A model on its way.

    Attributes:
        strategy: What picked its documents.
        seed: Of the first documents, and of what a strategy draws.
        labels: Documents that it was given with their labels.
        accuracy: On the documents that judge.
        macro_f1: On the same.
        seen: Classes of which it was given a document.
    """

    strategy: str
    seed: int
    labels: int
    accuracy: float
    macro_f1: float
    seen: int


@dataclass(frozen=True, slots=True)
class PassageFigures:
    """What passages alone tell.

    Attributes:
        documents: Judged.
        share: Of the characters, that the passages have.
        accuracy: Of the model on whole documents.
        passages_accuracy: Of the same model on the passages alone.
        random_accuracy: Of the same on as many parts drawn at random.
        kept_answers: Share of documents that get the same label from the passages.
        kept_answers_random: The same of parts drawn at random.
    """

    documents: int
    share: float
    accuracy: float
    passages_accuracy: float
    random_accuracy: float
    kept_answers: float
    kept_answers_random: float


class Simulation:
    """One pool, one judge, any number of strategies.

    Args:
        config: Of the linear model.
        pool: Documents to pick from.
        judge: Documents that judge.
        labels: Of both.
    """

    def __init__(
        self, config: RunConfig, pool: list[Document], judge: list[Document], labels: LabelMap
    ) -> None:
        analyzer = choose_analyzer(config, pool, Reporter())
        self.config = config.model_copy(update={"linear_analyzer": analyzer})
        self.labels = labels
        self.reader: FeatureReader = make_reader(self.config, texts=1)
        self.pool, self.judge = self._read(pool), self._read(judge)
        self.clusters = find_duplicates(pool).cluster_ids
        self.cleaner = Cleaner(self.config.segment_settings())

    def run(
        self, strategy: Strategy, seed: int, start: int, step: int, stop: int
    ) -> Iterator[tuple[Point, LinearModel, DecisionRule]]:
        """Yield a point and its model after each round."""
        generator = np.random.default_rng(seed)
        order = generator.permutation(len(self.pool.documents))
        known = order[:start].tolist()
        while True:
            model, rule = self._fit(known)
            logits = self._logits(model, self.judge.tokens)
            decided = logits.argmax(axis=1)
            yield (
                Point(
                    strategy=strategy,
                    seed=seed,
                    labels=len(known),
                    accuracy=accuracy(self.judge.targets, decided),
                    macro_f1=macro_f1(self.judge.targets, decided, len(self.labels)),
                    seen=len(set(self.pool.targets[known].tolist())),
                ),
                model,
                rule,
            )
            if len(known) + step > stop:
                return
            known += self._pick(strategy, model, rule, known, step, generator)

    def passages(
        self, model: LinearModel, rule: DecisionRule, share: float, seed: int
    ) -> PassageFigures:
        """Let a model read the passages of the judging documents alone."""
        generator = np.random.default_rng(seed)
        scorer = LinearScorer(model, self.cleaner)
        named, drawn, characters, whole = [], [], 0, 0
        for document in self.judge.documents:
            (reading,) = scorer.read([document])
            logits = scorer.score_readings([reading.vectors], [reading.document.positions])
            order = np.argsort(-rule.probabilities(logits)[0], kind="stable")[:2]
            likeliest = [rule.labels[place] for place in order.tolist()]
            chosen = choose_passages(scorer, document, reading, rule, likeliest, share)
            length = sum(passage.end - passage.start for passage in chosen)
            characters, whole = characters + length, whole + len(document.text)
            named.append(replace(document, text="\n".join(item.text for item in chosen)))
            parts, _ = scorer.evidence(document, reading, rule)
            drawn.append(replace(document, text=_draw(document, parts, length, generator)))
        answers = [
            scorer.score(documents).logits.argmax(axis=1)
            for documents in (self.judge.documents, named, drawn)
        ]
        targets = self.judge.targets
        return PassageFigures(
            documents=len(targets),
            share=characters / whole,
            accuracy=accuracy(targets, answers[0]),
            passages_accuracy=accuracy(targets, answers[1]),
            random_accuracy=accuracy(targets, answers[2]),
            kept_answers=float((answers[0] == answers[1]).mean()),
            kept_answers_random=float((answers[0] == answers[2]).mean()),
        )

    def _read(self, documents: list[Document]) -> Part:
        tokens = tokenize_all(self.config, self.reader, documents, Reporter())
        return Part(documents, tokens, self.labels.targets(documents))

    def _fit(self, known: Sequence[int]) -> tuple[LinearModel, DecisionRule]:
        """Fit on four fifths of what is known, and scale the logits by the rest."""
        held = known[::_HELD_OUT]
        fitted = [row for place, row in enumerate(known) if place % _HELD_OUT]
        tokens = [self.pool.tokens[row] for row in fitted]
        targets = self.pool.targets[fitted]
        weights = fit_weights(self.config, self.reader, tokens, self.labels, targets, Reporter())
        model = LinearModel(self.reader, weights)
        logits = self._logits(model, [self.pool.tokens[row] for row in held])
        temperature = fit_temperature(logits, self.pool.targets[held]) or 1.0
        rule = DecisionRule(self.labels.names, self.labels.problem_type)
        return LinearModel(self.reader, scaled(weights, temperature)), rule

    def _logits(self, model: LinearModel, documents: Sequence[list[Tokens]]) -> Floats:
        rows = [model.contributions(model.features(texts)) for texts in documents]
        logits: Floats = np.stack(rows) + model.weights.bias
        return logits

    def _pick(
        self,
        strategy: Strategy,
        model: LinearModel,
        rule: DecisionRule,
        known: Sequence[int],
        count: int,
        generator: np.random.Generator,
    ) -> list[int]:
        banned = set(self.clusters[known].tolist())
        rest = [row for row, cluster in enumerate(self.clusters.tolist()) if cluster not in banned]
        logits, vectors = [], []
        for row in rest:
            features = model.features(self.pool.tokens[row])
            added = model.contributions(features)
            logits.append(added + model.weights.bias)
            segment = FeatureSegment(0, 0, features.rows, 0, features.values)
            document = SegmentedDocument((segment,), np.zeros((1, 4), np.float32), _NOTHING)
            vectors.append(describe(Reading(document, added[np.newaxis])))
        probabilities = rule.probabilities(np.stack(logits))
        candidates = Candidates(
            probabilities=probabilities,
            vectors=np.stack(vectors),
            priorities=prioritize(strategy, probabilities, rule, generator),
            clusters=self.clusters[rest],
        )
        return [rest[place] for place in pick(strategy, candidates, count, generator)]


_NOTHING = Coverage(0, 0, 1, 1)


def _draw(
    document: Document, parts: Sequence[Any], length: int, generator: np.random.Generator
) -> str:
    """Join parts of a document, drawn until they are as long as the passages."""
    if not parts:
        return document.text
    drawn: list[Any] = []
    for place in generator.permutation(len(parts)).tolist():
        if drawn and sum(part.end - part.start for part in drawn) >= length:
            break
        drawn.append(parts[place])
    drawn.sort(key=lambda part: part.start)
    return "\n".join(document.text[part.start : part.end] for part in drawn)


def labels_needed(points: Sequence[Point], strategy: str, goal: float) -> float | None:
    """Return how many labels bring the mean accuracy of a strategy to a goal, by interpolation.

    Args:
        points: Of all strategies and seeds.
        strategy: Whose.
        goal: An accuracy.

    Returns:
        None where it is never reached.
    """
    curve = mean_curve(points, strategy)
    for (before, low), (after, high) in pairwise(curve):
        if low >= goal:
            return float(before)
        if high >= goal:
            return before + (after - before) * (goal - low) / (high - low)
    return None


def mean_curve(points: Sequence[Point], strategy: str) -> list[tuple[int, float]]:
    """Return labels and mean accuracy over the seeds."""
    by_labels: dict[int, list[float]] = {}
    for point in points:
        if point.strategy == strategy:
            by_labels.setdefault(point.labels, []).append(point.accuracy)
    return [(labels, float(np.mean(values))) for labels, values in sorted(by_labels.items())]


def summarize(points: Sequence[Point], start: int) -> list[dict[str, Any]]:
    """Compare each strategy with random picking, seed by seed."""
    last = max(point.labels for point in points)
    random_curve = mean_curve(points, "random")
    goal = random_curve[-1][1]
    ends = {(point.strategy, point.seed): point for point in points if point.labels == last}
    rows = []
    for strategy in dict.fromkeys(point.strategy for point in points):
        gains = np.array(
            [
                ends[strategy, seed].accuracy - ends["random", seed].accuracy
                for name, seed in ends
                if name == strategy
            ]
        )
        area = np.mean([value for labels, value in mean_curve(points, strategy) if labels > start])
        needed = labels_needed(points, strategy, goal)
        mine = [point for (name, _), point in ends.items() if name == strategy]
        rows.append(
            {
                "strategy": strategy,
                "accuracy": round(float(np.mean([point.accuracy for point in mine])), 4),
                "macro_f1": round(float(np.mean([point.macro_f1 for point in mine])), 4),
                "classes_seen": round(float(np.mean([point.seen for point in mine])), 1),
                "mean_accuracy_of_the_way": round(float(area), 4),
                "gain": round(float(gains.mean()), 4),
                "gain_standard_error": round(
                    float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else 0.0, 4
                ),
                "labels_to_match_random": None if needed is None else round(needed, 1),
            }
        )
    return rows


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("--corpora", type=Path, help="folder that holds the corpora")
    parser.add_argument("--corpus", choices=sorted(_FILES), default="fudan")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--pool", type=int, default=2_000, help="documents of the pool")
    parser.add_argument("--judge", type=int, default=1_000, help="documents that judge")
    parser.add_argument("--start", type=int, default=60, help="labels to start with")
    parser.add_argument("--step", type=int, default=60, help="labels of a round")
    parser.add_argument("--stop", type=int, default=360, help="labels at the end")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--passages", type=float, default=0.1)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    machine = describe_machine()
    print_machine(machine)
    started = time.perf_counter()
    pool, judge = _documents(given)
    labels = LabelMap.from_documents(pool)
    judge = [document for document in judge if document.label in labels.label2id]
    config = load_config(None, {"encoder": "linear"})
    simulation = Simulation(config, pool, judge, labels)
    points: list[Point] = []
    figures: list[PassageFigures] = []
    for seed in range(given.seeds):
        for name in given.strategies:
            strategy = check_strategy(name)
            rounds = list(simulation.run(strategy, seed, given.start, given.step, given.stop))
            for point, _, _ in rounds:
                points.append(point)
                print(f"seed {seed} {name:17} {point.labels:4} labels {point.accuracy:.4f}")
            if name == DEFAULT_STRATEGY:
                _, model, rule = rounds[-1]
                figures.append(simulation.passages(model, rule, given.passages, seed))
                print(figures[-1])
    rows = summarize(points, given.start)
    for row in rows:
        print(row)
    if given.json:
        content = {
            "machine": machine,
            "corpus": given.corpus if given.corpora else "synthetic",
            "settings": {
                name: getattr(given, name)
                for name in ("start", "step", "stop", "seeds", "passages")
            },
            "documents": {"pool": len(pool), "judge": len(judge), "classes": len(labels)},
            "strategies": rows,
            "passages": [asdict(item) for item in figures],
            "points": [asdict(point) for point in points],
            "seconds": round(time.perf_counter() - started, 1),
        }
        given.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _documents(given: argparse.Namespace) -> tuple[list[Document], list[Document]]:
    if given.corpora is None:
        documents = list(generate_documents(given.pool + given.judge, seed=0))
        return documents[: given.pool], documents[given.pool :]
    parts = []
    for name, size in zip(_FILES[given.corpus], (given.pool, given.judge), strict=True):
        documents = list(read_documents(given.corpora / name).documents)
        order = np.random.default_rng(0).permutation(len(documents))[:size]
        parts.append([documents[place] for place in order.tolist()])
    return parts[0], parts[1]


class _Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Shows the description as written, and defaults."""


if __name__ == "__main__":
    main()
