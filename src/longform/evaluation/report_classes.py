"""The classes on an evaluation's page: the scores of each, and which is taken for which."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np

from longform.evaluation.charts import percent
from longform.evaluation.evaluation import Evaluation
from longform.evaluation.heatmap import MAX_CLASSES, draw_confusion
from longform.evaluation.markup import Child, element
from longform.evaluation.metrics import ClassScores
from longform.evaluation.page import bar_cell, card
from longform.reporting import counted

_PAIRS_BESIDE_MATRIX, _PAIRS_ALONE = 8, 25


def show_classes(evaluation: Evaluation) -> Element:
    """Build the table of all classes, the weakest first."""
    known = [scores for scores in evaluation.per_class if scores.support]
    absent = [scores for scores in evaluation.per_class if not scores.support]
    ranked = [*sorted(known, key=lambda scores: (scores.f1, -scores.support)), *absent]
    most = max((scores.support for scores in known), default=1)
    given = evaluation.predicted
    rows = np.flatnonzero(given.any(axis=0)) if given.ndim == 2 else np.unique(given)
    claimed = {evaluation.label_names[row] for row in rows}
    names = ("Class", "F1", "Precision", "Recall", "Documents")
    told = "Weakest first. Precision: how often the label is right when it is given; "
    told += "recall: how many documents of the class get it."
    if absent:
        told += f" {counted(len(absent), 'class', 'classes')} without documents stand last."
    return card(
        "Classes",
        told,
        element(
            "table",
            element("thead", element("tr", *(element("th", name, scope="col") for name in names))),
            element("tbody", *(_show_class(row, most, row.label in claimed) for row in ranked)),
            class_="classes",
        ),
    )


def _show_class(scores: ClassScores, most: int, is_claimed: bool) -> Element:
    figures = (
        ("f1", scores.f1, is_claimed or scores.support),
        ("part", scores.precision, is_claimed),
        ("part", scores.recall, scores.support),
    )
    return element(
        "tr",
        element("th", scores.label, scope="row", dir="auto"),
        # A ratio without cases is no 0%.
        *(
            bar_cell(share, percent(share) if cases else "–", kind)
            for kind, share, cases in figures
        ),
        bar_cell(scores.support / most, f"{scores.support:,}", "support"),
        **({} if scores.support else {"class_": "absent"}),
    )


def show_confusion(evaluation: Evaluation) -> Element:
    """Build the matrix of true and predicted classes; of many classes, the pairs that stand out."""
    names = evaluation.label_names
    pairs = evaluation.confusions()
    if len(names) > MAX_CLASSES:
        told = f"With {len(names)} classes, the pairs tell more than a matrix would."
        return card("Most confused classes", told, _list_pairs(evaluation, pairs[:_PAIRS_ALONE]))
    told = "Rows are true classes, columns predicted ones, colours shares of the row."
    children: list[Child] = [element("div", draw_confusion(evaluation.confusion, names))]
    if len(names) > 2 and pairs:
        children.append(element("h3", "Most confused"))
        children.append(_list_pairs(evaluation, pairs[:_PAIRS_BESIDE_MATRIX]))
    return card("What is taken for what", told, *children, class_="confusion")


def _list_pairs(evaluation: Evaluation, pairs: list[tuple[str, str, int]]) -> Element:
    if not pairs:
        return element("p", "No document was taken for another class.")
    support = {scores.label: scores.support for scores in evaluation.per_class}
    names = ("True class", "Predicted", "Documents", "Of the true class")
    rows = (
        element(
            "tr",
            element("th", label, scope="row", dir="auto"),
            element("td", predicted, dir="auto"),
            element("td", f"{count:,}", class_="number"),
            bar_cell(count / support[label], percent(count / support[label]), "wrong"),
        )
        for label, predicted, count in pairs
    )
    return element(
        "table",
        element("thead", element("tr", *(element("th", name, scope="col") for name in names))),
        element("tbody", *rows),
        class_="pairs",
    )
