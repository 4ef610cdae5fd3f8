"""An evaluation as one HTML file that needs nothing beside it: no script, no font, no network."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from longform.evaluation.charts import (
    draw_accuracy,
    draw_lengths,
    draw_reliability,
    percent,
)
from longform.evaluation.evaluation import Evaluation
from longform.evaluation.heatmap import MAX_CLASSES, draw_confusion
from longform.evaluation.markup import Child, element
from longform.evaluation.metrics import ClassScores
from longform.evaluation.mistakes import Mistake
from longform.evaluation.page import (
    bar,
    bar_cell,
    card,
    page_footer,
    page_header,
    significant,
    write_page,
)
from longform.reporting import counted

_PAIRS_BESIDE_MATRIX, _PAIRS_ALONE = 8, 25


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write an evaluation as a page for people. It quotes the beginnings of misjudged documents.

    Args:
        path: File to write; one that exists is replaced.
        evaluation: What to show.

    Raises:
        InputError: The file cannot be written.
    """
    title = f"{evaluation.bundle_name}: {percent(evaluation.accuracy)} accuracy"
    write_page(
        path,
        title,
        page_header("longform evaluation", evaluation.bundle_name, list_facts(evaluation)),
        element("main", show_headline(evaluation), *show_figures(evaluation)),
        show_footer(evaluation),
    )


def show_figures(evaluation: Evaluation) -> list[Child]:
    """Build the sections below the headline: coverage, lengths, scores, classes and mistakes."""
    return [
        _show_coverage(evaluation),
        _show_lengths(evaluation),
        _show_reliability(evaluation),
        _show_classes(evaluation),
        None if evaluation.is_multi_label else _show_confusion(evaluation),
        _show_mistakes(evaluation),
    ]


def list_facts(evaluation: Evaluation) -> list[str]:
    """Return what was measured, on what, and when."""
    return [
        evaluation.data,
        counted(evaluation.documents, "document"),
        counted(len(evaluation.label_names), "class", "classes"),
        evaluation.backend,
        f"{evaluation.created:%Y-%m-%d %H:%M %Z}",
    ]


def show_headline(evaluation: Evaluation, *notes: str) -> Element:
    """Build the first section: accuracy, and the figures beside it; notes stand below them."""
    right = int(evaluation.right.sum())
    meant = "all their labels and no others" if evaluation.is_multi_label else "the right label"
    low, high = evaluation.accuracy_interval
    error, _ = evaluation.calibration
    tiles = [
        ("Macro-F1", percent(evaluation.macro_f1), "", _describe_macro(evaluation)),
        ("Calibration error", percent(error), "", _describe_certainty(evaluation)),
        (
            "Speed",
            significant(evaluation.documents_per_second),
            " documents/s",
            f"{significant(evaluation.tokens_per_second)} tokens/s, "
            f"{_describe_seconds(evaluation.seconds)} in all",
        ),
    ]
    return element(
        "section",
        element(
            "div",
            element("h2", "Accuracy"),
            element(
                "p",
                element("strong", percent(evaluation.accuracy), class_="figure"),
                element("span", f"95% interval {percent(low)} to {percent(high)}"),
                class_="accuracy",
            ),
            draw_accuracy(evaluation.accuracy, (low, high), evaluation.majority_accuracy),
            element(
                "p",
                f"{right:,} of {counted(evaluation.documents, 'document')} got {meant}.",
                class_="note",
            ),
            *(element("p", note, class_="note") for note in notes),
            class_="lead",
        ),
        element(
            "dl",
            *(
                element(
                    "div",
                    element("dt", name),
                    element("dd", value, element("small", unit), class_="figure"),
                    element("dd", note, class_="note"),
                )
                for name, value, unit, note in tiles
            ),
        ),
        class_="headline",
    )


def _show_coverage(evaluation: Evaluation) -> Element:
    totals = evaluation.coverage
    left_out = totals.tokens_total - totals.tokens_used
    if left_out or totals.truncated_documents:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in totals.reasons.items())
        headline = f"{percent(totals.share)} of the tokens were read."
        told = (
            f"{left_out:,} of {totals.tokens_total:,} tokens were left out, in "
            f"{counted(totals.truncated_documents, 'document')} of {evaluation.documents:,}"
            f"{f' ({reasons})' if reasons else ''}. The answers rest on what was read."
        )
    else:
        headline = "Every token was read."
        told = (
            f"{counted(totals.tokens_total, 'token')} in "
            f"{counted(totals.segments_total, 'segment')}; no document was cut."
        )
    return element(
        "section",
        element("h2", "Coverage"),
        element("p", element("strong", headline), " ", told),
        bar(totals.share, "f1"),
        class_="coverage partial" if left_out else "coverage",
    )


def _show_lengths(evaluation: Evaluation) -> Element:
    told = (
        "Length in tokens, whatever was read of it. Bands are 95% intervals; the dashed line is "
        "the accuracy over all documents."
    )
    return card(
        "Accuracy by document length",
        told,
        draw_lengths(evaluation.by_length, evaluation.accuracy),
        class_="half",
    )


def _show_reliability(evaluation: Evaluation) -> Element:
    _, bins = evaluation.calibration
    told = "How often answers of a score were right. On the dashed line, a score means what it says"
    return card(
        "Do the scores mean what they say?",
        f"{told}; below it, the model promises too much.",
        draw_reliability(bins),
        class_="half",
    )


def _show_classes(evaluation: Evaluation) -> Element:
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


def _show_confusion(evaluation: Evaluation) -> Element:
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


def _show_mistakes(evaluation: Evaluation) -> Element:
    wrong = int((~evaluation.right).sum())
    if not wrong:
        return card("Mistakes", "There is none.")
    shown = len(evaluation.mistakes)
    told = f"The {shown} most certain of {wrong:,}" if shown < wrong else f"All {wrong:,}"
    note = ". Look here first: a sure mistake is often a wrong label in the data."
    if any(mistake.passages is not None for mistake in evaluation.mistakes):
        note += (
            " Marked passages decided: without one, the probability of the label that was given "
            "falls by so many points."
        )
    items = (_show_mistake(mistake) for mistake in evaluation.mistakes)
    return card("Mistakes", told + note, element("ol", *items, class_="mistakes"))


def _show_mistake(mistake: Mistake) -> Element:
    return element(
        "li",
        element(
            "p",
            element("b", mistake.predicted, class_="said", dir="auto"),
            element("span", percent(mistake.score), class_="said"),
            " instead of ",
            element("b", mistake.label, class_="meant", dir="auto"),
            element("span", percent(mistake.label_score), class_="meant"),
            element(
                "span",
                element("bdi", mistake.id),
                f", {counted(mistake.tokens, 'token')}",
                class_="origin",
            ),
        ),
        element("blockquote", mistake.excerpt, dir="auto"),
        *_show_passages(mistake),
    )


def _show_passages(mistake: Mistake) -> list[Element]:
    if mistake.passages is None:
        return []
    if not mistake.passages:
        return [element("p", "No single passage decided: it is the whole.", class_="passage")]
    return [
        element(
            "p",
            element("span", f"{100 * passage.score:+.1f}", class_="weight"),
            element("b", passage.label, dir="auto") if passage.label != mistake.predicted else None,
            element("small", "second text") if passage.part else None,
            element("mark", passage.text, dir="auto"),
            class_="passage",
        )
        for passage in mistake.passages
    ]


def show_footer(evaluation: Evaluation) -> Element:
    """Build the end of the page, with the digest of the bundle."""
    digest = element("code", evaluation.bundle_digest)
    return page_footer(bool(evaluation.mistakes), "Bundle ", digest)


def _describe_certainty(evaluation: Evaluation) -> str:
    scores, right = evaluation.decisions
    points = 100 * float(scores.mean() - right.mean()) if len(scores) else 0.0
    if abs(points) < 0.5:
        return "scores are right on average"
    return f"scores are {abs(points):.1f} points too {'high' if points > 0 else 'low'} on average"


def _describe_macro(evaluation: Evaluation) -> str:
    if not evaluation.is_multi_label:
        return _describe_weakest(evaluation)
    area = evaluation.macro_roc_auc
    ranked = f", mean area under the ROC curve {percent(area)}" if area is not None else ""
    return f"micro-F1 {percent(evaluation.micro_f1)}{ranked}"


def _describe_weakest(evaluation: Evaluation) -> str:
    known = [scores for scores in evaluation.per_class if scores.support]
    weakest = min(known, key=lambda scores: scores.f1, default=None)
    return f"weakest: {weakest.label} with {percent(weakest.f1)}" if weakest else ""


def _describe_seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{significant(seconds)} s"
