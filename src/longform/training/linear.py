"""Fitting a linear model over hashed n-grams: the baseline that any encoder has to beat.

One linear support vector machine a class over TF-IDF features, after Fan et al., "LIBLINEAR"
(2008); one temperature makes its margins the logits of honest probabilities.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from longform.backends.threads import granted_threads
from longform.config import RunConfig
from longform.data.labels import LabelMap
from longform.decision.calibration import fit_temperature
from longform.decision.rule import DecisionRule
from longform.decision.sketch import Sketch
from longform.decision.thresholds import tune_thresholds
from longform.evaluation.metrics import headline
from longform.inference.linear import LinearScorer, make_reader, tokenize_document
from longform.inference.linear_model import LinearModel, LinearWeights
from longform.reporting import Reporter
from longform.text.cleaning import Cleaner
from longform.text.features import FeatureReader
from longform.text.ngrams import Analyzer, Tokens, ideograph_share
from longform.training.linear_counts import (
    build_matrix,
    choose_features,
    count_documents,
    keep_features,
)
from longform.types import Document, Floats, Targets

_MOSTLY = 0.5
"""Share of Han characters and kana from which on every character is taken for a token."""
_BYTES_BESIDE = 12
"""Of a feature, beside one byte a class: its bucket, its rarity, its scale."""


@dataclass(frozen=True, slots=True)
class TrainedLinear:
    """A fitted linear model.

    Attributes:
        model: In fp32, its logits scaled by a temperature.
        labels: The classes.
        config: The run, with the analyser that was taken.
        metrics: Accuracy and macro-F1 of the validation documents.
        rule: How labels are decided from logits.
        summary: What training did.
    """

    model: LinearModel
    labels: LabelMap
    config: RunConfig
    metrics: dict[str, float]
    rule: DecisionRule
    summary: dict[str, Any] = field(default_factory=dict)

    def scorer(self) -> LinearScorer:
        """Return what scores documents by the model."""
        return LinearScorer(self.model, Cleaner(self.config.segment_settings()))


def fit_linear(
    config: RunConfig,
    train: Sequence[Document],
    validation: Sequence[Document],
    reporter: Reporter | None = None,
) -> TrainedLinear:
    """Fit a linear model.

    Args:
        config: The run; its `linear_` settings and `cleaning` are read.
        train: Labelled documents to learn from.
        validation: Labelled documents that scale the logits and choose thresholds.
        reporter: Told how it goes.

    Raises:
        InputError: The documents and their labels do not fit each other, or one has no text.
    """
    reporter, started = reporter or Reporter(), time.perf_counter()
    labels = LabelMap.from_documents(train)
    targets, held_out = labels.targets(train), labels.targets(validation)
    config = config.model_copy(update={"linear_analyzer": choose_analyzer(config, train, reporter)})
    reader = make_reader(config, texts=1 if config.text_pair_column is None else 2)
    weights = fit_weights(
        config, reader, tokenize_all(config, reader, train, reporter), labels, targets, reporter
    )
    scorer = LinearScorer(LinearModel(reader, weights), Cleaner(config.segment_settings()))
    scores = scorer.score(validation)
    # Where no document is answered wrongly no temperature can be told: margins stay as they are.
    temperature = fit_temperature(scores.logits, held_out) or 1.0
    weights = scaled(weights, temperature)
    logits = scores.logits / np.float32(temperature)
    rule = _rule(labels, logits, held_out)
    metrics = headline(held_out, rule.decide(logits), len(labels))
    tokens = [coverage.tokens_total for coverage in scores.coverage]
    sketch = Sketch.of_answers(labels.names, tokens, rule.probabilities(logits))
    seconds = time.perf_counter() - started
    summary = {
        "documents": len(train),
        "validation_documents": len(validation),
        "kind": "linear model over n-grams",
        "seconds": round(seconds, 1),
        "epochs": 1,
        "features": len(weights.buckets),
        "temperature_of_margins": round(temperature, 4),
        "coverage": {"share": 1.0, "truncated_documents": 0},
        "sketch": sketch.as_json(),
    }
    reporter.say(
        f"{len(weights.buckets):,} n-grams of {len(train):,} documents, {len(labels)} classes, "
        f"fitted in {seconds:,.1f} s."
    )
    return TrainedLinear(LinearModel(reader, weights), labels, config, metrics, rule, summary)


def choose_analyzer(
    config: RunConfig, documents: Sequence[Document], reporter: Reporter
) -> Analyzer:
    """Return the analyser of a run; `auto` looks at what the documents are written in."""
    if config.linear_analyzer != "auto":
        return config.linear_analyzer
    step = max(1, len(documents) // 200)
    share = float(np.mean([ideograph_share(item.text[:5_000]) for item in documents[::step]]))
    analyzer: Analyzer = "char" if share >= _MOSTLY else "word"
    reporter.say(
        f"{100 * share:.0f} % of the letters are Chinese or Japanese: tokens of the linear model "
        f"are {'characters' if analyzer == 'char' else 'words'} (linear_analyzer)."
    )
    return analyzer


def tokenize_all(
    config: RunConfig, reader: FeatureReader, documents: Sequence[Document], reporter: Reporter
) -> list[list[Tokens]]:
    """Clean and tokenise documents.

    Raises:
        InputError: A document has no token, or not the texts that the model wants.
    """
    cleaner = Cleaner(config.segment_settings())
    found = []
    with reporter.track("Reading", len(documents)) as advance:
        for document in documents:
            found.append(tokenize_document(reader, cleaner, document))
            advance(1)
    return found


def fit_weights(
    config: RunConfig,
    reader: FeatureReader,
    documents: Sequence[Sequence[Tokens]],
    labels: LabelMap,
    targets: Targets,
    reporter: Reporter,
) -> LinearWeights:
    """Fit one machine a class; where the weights would be too large, twice: on the best n-grams.

    Args:
        config: The resolved run.
        reader: Reads the documents.
        documents: The tokens of the texts of each.
        labels: The classes.
        targets: int64 `[docs]`, or bool `[docs, classes]`.
        reporter: Told how it goes.

    Returns:
        Weights in fp32; their products with features are margins.
    """
    frequencies = count_documents(reader, documents)
    empty = choose_features(frequencies, config.linear_min_documents, len(labels))
    most = int(config.linear_megabytes * 1e6 / (len(labels) + _BYTES_BESIDE))
    fitted = _fit_classes(config, reader, empty, documents, targets, reporter)
    if len(empty.buckets) <= most:
        return fitted
    reporter.say(
        f"The {most:,} n-grams that weigh most, of {len(empty.buckets):,}, are kept and fitted "
        f"again: the weights are to stay within {config.linear_megabytes:g} MB (linear_megabytes)."
    )
    return _fit_classes(config, reader, keep_features(fitted, most), documents, targets, reporter)


def scaled(weights: LinearWeights, temperature: float) -> LinearWeights:
    """Return weights whose logits are divided by a temperature."""
    factor = np.float32(1.0 / temperature)
    return replace(weights, scales=weights.scales * factor, bias=weights.bias * factor)


def _fit_classes(
    config: RunConfig,
    reader: FeatureReader,
    empty: LinearWeights,
    documents: Sequence[Sequence[Tokens]],
    targets: Targets,
    reporter: Reporter,
) -> LinearWeights:
    from sklearn.svm import LinearSVC

    matrix = build_matrix(reader, empty, documents)
    columns = list(_columns(targets, empty.weights.shape[1]))

    def fit_one(wanted: Targets) -> tuple[Floats, float]:
        if wanted.all() or not wanted.any():
            # A label that all documents have, or none has: nothing to tell apart.
            return np.zeros(matrix.shape[1], np.float32), 1.0 if wanted.all() else -1.0
        balance = "balanced" if config.class_weights == "auto" else None
        machine = LinearSVC(
            C=config.linear_c, dual=True, random_state=config.seed, class_weight=balance
        )
        machine.fit(matrix, wanted)
        return machine.coef_[0].astype(np.float32), float(machine.intercept_[0])

    bias = np.zeros(len(empty.bias), dtype=np.float32)
    weights = np.zeros_like(empty.weights)
    with (
        reporter.track("Fitting", len(columns), unit="classes") as advance,
        # liblinear lets go of Python while it works.
        ThreadPoolExecutor(granted_threads()) as pool,
    ):
        for row, (coefficients, intercept) in enumerate(pool.map(fit_one, columns)):
            weights[:, row], bias[row] = coefficients, intercept
            advance(1)
    return replace(empty, weights=weights, bias=bias)


def _columns(targets: Targets, classes: int) -> Iterator[Targets]:
    for row in range(classes):
        yield targets[:, row] if targets.ndim == 2 else targets == row


def _rule(labels: LabelMap, logits: Floats, targets: Targets) -> DecisionRule:
    rule = DecisionRule(labels.names, labels.problem_type)
    if not labels.is_multi_label:
        return rule
    tuned = tune_thresholds(rule.probabilities(logits), targets.astype(np.bool_))
    thresholds = {
        name: round(float(least), 6) for name, least in zip(labels.names, tuned, strict=True)
    }
    return replace(rule, thresholds=thresholds)
