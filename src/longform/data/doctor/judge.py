"""A linear model that judges each document without having seen it or a copy of it.

Hinge loss, averaged stochastic gradient descent. On Fudan with 5 % of the labels changed at random
it put 98 % of them among its top tenth, as log loss did in two to four times the time; ridge
regression on a random projection 95 %, complement naive Bayes 85 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longform.data.stratification import Units, deal_folds
from longform.extras import require
from longform.reporting import Reporter
from longform.types import Document, Integers

Scores = NDArray[np.float32]

FOLDS = 5
_ALPHA = 5e-5
_EPOCHS = 4
_LEAST_STEPS = 4_000
_MOST_EPOCHS = 40
_TEMPERATURES = np.geomspace(0.05, 20, 60)


def assign_folds(documents: Sequence[Document], clusters: Integers, seed: int) -> Integers:
    """Return the fold of each document, int64 `[documents]`, every class spread over all.

    Documents of one cluster are in one fold: a model that has read a copy is no judge.

    Args:
        documents: Labelled documents, of classes with two clusters or more.
        clusters: int64 `[documents]`: equal numbers for documents that repeat each other.
        seed: Of the shuffling.
    """
    units = Units(documents, clusters)
    folds = np.zeros(len(documents), dtype=np.int64)
    for fold, dealt in enumerate(deal_folds(units, FOLDS, seed)):
        folds[units.documents(dealt)] = fold
    return folds


def cross_validate(
    features: Any, labels: Integers, folds: Integers, workers: int, reporter: Reporter
) -> Scores:
    """Return each document's score for each class by a model that has not seen it.

    Args:
        features: CSR matrix, float32 `[documents, features]`.
        labels: int64 `[documents]`, from 0.
        folds: int64 `[documents]`, of `assign_folds`.
        workers: Threads.
        reporter: Shown the progress.

    Returns:
        float32 `[documents, classes]`; -inf for a class that the model had no document of.
    """
    linear = require("sklearn.linear_model", "Judging labels by a model")
    scores = np.full((len(labels), int(labels.max()) + 1), -np.inf, dtype=np.float32)
    epochs = min(max(_EPOCHS, _LEAST_STEPS // len(labels)), _MOST_EPOCHS)

    def judge(fold: int) -> None:
        seen, unseen = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        classes = np.unique(labels[seen])
        if not len(unseen) or not len(classes):
            return
        if len(classes) == 1:
            scores[unseen, classes[0]] = 0
            return
        model = linear.SGDClassifier(
            "hinge", alpha=_ALPHA, max_iter=epochs, tol=None, average=True, random_state=0
        )
        found = model.fit(features[seen], labels[seen]).decision_function(features[unseen])
        if found.ndim == 1:
            found = np.stack((-found, found), axis=1)
        scores[np.ix_(unseen, classes)] = found
        advance(1)

    with (
        reporter.track("Judging labels", FOLDS, "folds") as advance,
        ThreadPoolExecutor(min(workers, FOLDS)) as pool,
    ):
        # A list, so that an error of a thread comes out here.
        list(pool.map(judge, range(FOLDS)))
    return scores


def to_probabilities(scores: Scores, labels: Integers) -> NDArray[np.float64]:
    """Return softmax probabilities at the temperature that makes the given labels likeliest.

    Args:
        scores: float32 `[documents, classes]`, held out.
        labels: int64 `[documents]`.
    """
    rows = np.arange(len(labels))
    known = np.isfinite(scores[rows, labels])

    def softmax(temperature: float, chosen: Any) -> NDArray[np.float64]:
        scaled = scores[chosen].astype(np.float64) / temperature
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def surprise(temperature: float) -> float:
        given = softmax(temperature, known)[np.arange(int(known.sum())), labels[known]]
        return float(-np.log(np.maximum(given, 1e-9)).mean())

    best = min(_TEMPERATURES, key=surprise) if known.any() else 1.0
    return softmax(float(best), slice(None))


def accuracy(scores: Scores, labels: Integers) -> float:
    """Return the share of documents whose best class is the given one."""
    return float((scores.argmax(axis=1) == labels).mean())


def select(values: Sequence[Any], places: Integers) -> list[Any]:
    """Return the values at some places."""
    return [values[place] for place in places.tolist()]
