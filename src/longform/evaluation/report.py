"""An evaluation as one HTML file that needs nothing beside it: no script, no font, no network."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from longform.evaluation.charts import draw_lengths, draw_reliability, percent
from longform.evaluation.evaluation import Evaluation
from longform.evaluation.markup import Child, element
from longform.evaluation.page import bar, card, page_footer, page_header, write_page
from longform.evaluation.report_classes import show_classes, show_confusion
from longform.evaluation.report_confidence import show_confidence
from longform.evaluation.report_headline import show_headline
from longform.evaluation.report_mistakes import show_mistakes
from longform.reporting import counted


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
        show_confidence(evaluation.confidence),
        show_classes(evaluation),
        None if evaluation.is_multi_label else show_confusion(evaluation),
        show_mistakes(evaluation),
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
    before = evaluation.calibration_before
    rings = " Bands are 95% intervals" + ("; rings are before calibration." if before else ".")
    return card(
        "Do the scores mean what they say?",
        f"{told}; below it, the model promises too much.{rings}",
        draw_reliability(bins, before),
        class_="half",
    )


def show_footer(evaluation: Evaluation) -> Element:
    """Build the end of the page, with the digest of the bundle."""
    digest = element("code", evaluation.bundle_digest)
    return page_footer(bool(evaluation.mistakes), "Bundle ", digest)
