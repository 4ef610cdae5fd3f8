"""A linear model beneath a neural one: its logits are added to those of the head.

The head then learns only what the linear model does not know. In training a document's linear
logits come from a model that never saw it (Wolpert, "Stacked Generalization", 1992): those of a
model that did would be far too sure, and the head would learn to trust them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longform.config import RunConfig
from longform.data.duplicates import find_duplicates
from longform.data.labels import LabelMap
from longform.data.splits import k_folds
from longform.decision.calibration import fit_temperature
from longform.inference.linear import LinearScorer, make_reader
from longform.inference.linear_model import LinearModel
from longform.reporting import Reporter
from longform.text.cleaning import Cleaner
from longform.training.linear import choose_analyzer, fit_weights, scaled, tokenize_all
from longform.types import Document, Floats, Targets

FOLDS = 5
"""Each document is scored by a model of the other four fifths."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A linear model beneath a neural one.

    Attributes:
        scorer: Fitted on all training documents; its logits are scaled by a temperature.
        config: The run, with the analyser that was taken.
        train: float32 `[docs, classes]`, logits of the training documents, out of fold.
        validation: float32 `[docs, classes]`, logits of the validation documents.
    """

    scorer: LinearScorer
    config: RunConfig
    train: Floats
    validation: Floats


def fit_stack(
    config: RunConfig,
    train: Sequence[Document],
    validation: Sequence[Document],
    labels: LabelMap,
    reporter: Reporter,
) -> Stack:
    """Fit the linear model, and score the training documents out of fold.

    Args:
        config: Its `linear_` settings and `cleaning` are read.
        train: Labelled documents.
        validation: Labelled documents.
        labels: The classes.
        reporter: Told how it goes.

    Raises:
        InputError: There are too few documents to be divided.
    """
    reporter.say(
        f"Stacked on a linear model: fitted {FOLDS} times for logits of documents that it did not "
        "see, and once on all."
    )
    analyzer = choose_analyzer(config, train, reporter)
    config = config.model_copy(update={"linear_analyzer": analyzer})
    reader = make_reader(config, texts=1 if config.text_pair_column is None else 2)
    tokens = tokenize_all(config, reader, train, reporter)
    targets = labels.targets(train)

    def fit_on(rows: Sequence[int]) -> LinearModel:
        chosen: Targets = targets[list(rows)]
        some = [tokens[row] for row in rows]
        return LinearModel(reader, fit_weights(config, reader, some, labels, chosen, reporter))

    margins = np.zeros((len(train), len(labels)), dtype=np.float32)
    held_anywhere = np.zeros(len(train), dtype=np.bool_)
    for learnt, held in _folds(train, config):
        model = fit_on(learnt)
        held_anywhere[held] = True
        for row in held:
            margins[row] = model.logits(tokens[row])
    temperature = fit_temperature(margins[held_anywhere], targets[held_anywhere]) or 1.0
    whole = fit_on(range(len(train)))
    model = LinearModel(reader, scaled(whole.weights, temperature).rounded())
    scorer = LinearScorer(model, Cleaner(config.segment_settings()))
    judged = scorer.score(validation).logits
    return Stack(scorer, config, margins / np.float32(temperature), judged)


def _folds(documents: Sequence[Document], config: RunConfig) -> list[tuple[list[int], list[int]]]:
    """Return the documents to learn from and to score of each fold, by their numbers.

    Copies, near ones where the run changes copies of documents, are scored together. The only
    document of a class is scored in no fold: its logits stay 0, which say nothing.
    """
    near = bool(config.augmentation)
    groups = find_duplicates(documents, near=near).cluster_ids.tolist()
    # Ids need not be unique in a file; places are.
    numbered = [
        Document(str(number), item.text, item.label, item.labels, item.text_pair)
        for number, item in enumerate(documents)
    ]
    return [
        (
            [int(item.id) for item in split.train],
            [int(item.id) for item in split.validation],
        )
        for split in k_folds(numbered, FOLDS, config.seed, groups)
    ]
