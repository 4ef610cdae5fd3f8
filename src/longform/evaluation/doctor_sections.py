"""The parts of a diagnosis' page that show the documents: tables, drawings and excerpts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

from longform.data.doctor.copies import Cluster
from longform.data.doctor.examination import Diagnosis
from longform.evaluation.charts import percent
from longform.evaluation.doctor_charts import draw_headings, draw_histogram
from longform.evaluation.markup import element
from longform.evaluation.page import bar_cell, card
from longform.reporting import counted

_LONG_TABLE = 25
"""Rows from which a table scrolls within its card."""
_WIDE_TABLE = 4
"""Columns from which a table is scrolled rather than squeezed on a small screen."""
_MARKED = (128, 256, 512)
_LEAKS = 10


def show_classes(diagnosis: Diagnosis) -> Element:
    """Build the classes with their documents on each side."""
    classes = diagnosis.classes
    sided = len(diagnosis.files) > 1
    most = max((entry.train for entry in classes), default=1) or 1
    other = max((entry.validation or 0 for entry in classes), default=1) or 1
    rows = (
        element(
            "tr",
            element("th", entry.label, scope="row", dir="auto"),
            bar_cell(entry.train / most, f"{entry.train:,}", "f1"),
            bar_cell((entry.validation or 0) / other, f"{entry.validation or 0:,}", "part")
            if sided
            else None,
            **({} if entry.train and entry.validation != 0 else {"class_": "absent"}),
        )
        for entry in classes
    )
    names = ("Class", "Documents", "Validation") if sided else ("Class", "Documents")
    told = "The largest first."
    if sided:
        told += " Faint where one side has none."
    return card("Classes", told, _table(names, rows, len(classes)))


def show_lengths(diagnosis: Diagnosis) -> tuple[Element, Element]:
    """Build the histograms of characters and of tokens."""
    lengths = diagnosis.lengths
    characters, tokens = lengths.characters, lengths.tokens
    proposed = diagnosis.proposal.settings.get("segment_length", 0)
    marks = [(float(length), f"{length}") for length in sorted({*_MARKED, proposed})]
    part = "" if lengths.sampled == lengths.documents else f" among {lengths.sampled:,} documents"
    return (
        card(
            "Length in characters",
            f"Median {characters.median:,}, 90% under {characters.p90:,}, "
            f"longest {characters.longest:,}.",
            draw_histogram(
                lengths.character_histogram,
                [(characters.median, "median"), (characters.p90, "90%")],
                "characters",
            ),
            class_="half",
        ),
        card(
            "Length in tokens",
            f"Median {tokens.median:,}, 90% under {tokens.p90:,}, longest {tokens.longest:,}"
            f"{part}, by {lengths.tokenizer}. Lines: segment lengths; {proposed} is proposed.",
            draw_histogram(lengths.token_histogram, marks, "tokens"),
            class_="half",
        ),
    )


def show_plans(diagnosis: Diagnosis) -> Element:
    """Build the comparison of ways to read the documents."""
    lengths = diagnosis.lengths
    proposed = {"segment_length": diagnosis.proposal.settings.get("segment_length")}
    dearest = max(plan.relative_cost for plan in lengths.plans)
    rows = []
    for plan in lengths.plans:
        mark = "as set" if plan.is_configured else ""
        mark = "proposed" if plan.settings == proposed else mark
        rows.append(
            element(
                "tr",
                element(
                    "th",
                    plan.name,
                    element("span", mark, class_="mark") if mark else None,
                    scope="row",
                ),
                element("td", f"{plan.segments:,.1f}", class_="number"),
                bar_cell(plan.coverage, percent(plan.coverage), "f1"),
                bar_cell(plan.whole, percent(plan.whole), "part"),
                bar_cell(plan.relative_cost / dearest, f"{plan.relative_cost:.2f}×", "support"),
            )
        )
    names = ("Plan", "Segments", "Tokens read", "Read whole", "Cost")
    whole = next(plan for plan in lengths.plans if plan.relative_cost == 1)
    told = (
        f"What reading them so covers, and what it costs: 1× is {whole.gigaflops:,.1f} GFLOP a "
        f"document in {lengths.encoder}, padding included."
    )
    return card("Ways to read the documents", told, _table(names, rows, len(rows)))


def show_clusters(diagnosis: Diagnosis) -> Element | None:
    """Build the largest clusters of copies; None where there is none."""
    copies = diagnosis.copies
    if not copies.largest:
        return None
    most = len(copies.largest[0].ids)
    rows = (_show_cluster(cluster, most) for cluster in copies.largest)
    told = f"The largest of {counted(copies.clusters, 'cluster')} of documents that repeat each "
    told += "other. Copies stay on one side of the split; more labels than one contradict."
    names = ("First documents", "Documents", "Kind", "Labels")
    return card("Copies", told, _table(names, rows, len(copies.largest)))


def _show_cluster(cluster: Cluster, most: int) -> Element:
    labels = ", ".join(f"{label} {count:,}" for label, count in cluster.labels.items())
    kind = "word for word" if cluster.exact else "nearly"
    return element(
        "tr",
        element("th", ", ".join(cluster.ids[:3]), scope="row", dir="auto"),
        bar_cell(len(cluster.ids) / most, f"{len(cluster.ids):,}", "support"),
        element("td", kind, class_="word"),
        element(
            "td", labels, dir="auto", **({"class_": "said"} if len(cluster.labels) > 1 else {})
        ),
    )


def show_leaks(diagnosis: Diagnosis) -> Element | None:
    """Build the leaks that are most alike; None where there is none."""
    copies = diagnosis.copies
    if not copies.leaked:
        return None
    rows = (
        element(
            "tr",
            element("th", leak.validation, scope="row", dir="auto"),
            element("td", leak.train, dir="auto"),
            bar_cell(leak.similarity, percent(leak.similarity), "wrong"),
        )
        for leak in copies.leaks[:_LEAKS]
    )
    told = f"{copies.leaked:,} validation documents stand in training, {copies.leaked_exact:,} "
    told += "word for word. Similarity: Jaccard, of runs of 12 characters."
    return card("Leaks", told, _table(("Validation", "Training", "Similarity"), rows, _LEAKS))


def show_headings(diagnosis: Diagnosis) -> Element | None:
    """Build what beginnings tell; None where it was not judged."""
    headings = diagnosis.headings
    if not headings.judged:
        return None
    told = (
        f"Cross-validated accuracy of a linear model on {headings.judged:,} documents. A beginning "
        "that does as well as the rest may be a header that new documents will not have."
    )
    return card("What do the beginnings tell?", told, draw_headings(headings), class_="half")


def show_writing(diagnosis: Diagnosis) -> Element:
    """Build the scripts of the documents."""
    total = max(sum(diagnosis.writing.documents.values()), 1)
    rows = (
        element(
            "tr",
            element("th", name, scope="row"),
            bar_cell(count / total, f"{count:,}", "f1"),
        )
        for name, count in diagnosis.writing.documents.items()
    )
    mixed = len(diagnosis.writing.mixed)
    told = "The main script of each document."
    told += f" {counted(mixed, 'document')} with a fifth or more in a second one." if mixed else ""
    table = _table(("Writing", "Documents"), rows, len(diagnosis.writing.documents))
    return card("Writing", told, table, class_="half" if diagnosis.headings.judged else "")


def show_cleaning(diagnosis: Diagnosis) -> Element:
    """Build what each cleaning step would change."""
    rows = [
        element(
            "tr",
            element("th", element("code", step), scope="row"),
            bar_cell(share, percent(share), "support"),
        )
        for step, share in diagnosis.cleaning.items()
    ]
    told = "Share of a sample of documents that each step would change."
    table = _table(("Step", "Documents"), rows, len(rows))
    return card("Cleaning", told, table, class_="half")


def show_suspects(diagnosis: Diagnosis) -> Element:
    """Build the suspected labels with the beginnings of their documents."""
    suspects = diagnosis.suspects
    if not suspects.judged:
        return card("Suspected labels", f"Not judged: {'; '.join(suspects.unjudged)}.")
    left = "; ".join(f"{count:,} {reason}" for reason, count in suspects.unjudged.items())
    told = (
        f"A linear model that had not seen them contradicts {suspects.likely:,} of "
        f"{suspects.judged:,} labels for sure"
        f"{f' (not judged: {left})' if left else ''}. The likeliest errors first; what the model "
        "suggests is no truth either."
    )
    items = (
        element(
            "li",
            element(
                "p",
                element("b", suspect.label, class_="said", dir="auto"),
                " rather ",
                element("b", suspect.suggested, class_="meant", dir="auto"),
                element(
                    "span",
                    element("bdi", suspect.id),
                    f", quality {suspect.quality:.3f}",
                    class_="origin",
                ),
            ),
            element("blockquote", suspect.excerpt, dir="auto"),
        )
        for suspect in suspects.worst
    )
    return card("Suspected labels", told, element("ol", *items, class_="mistakes"))


def _table(names: Sequence[str], rows: Iterable[Element], count: int) -> Element:
    table = element(
        "table",
        element("thead", element("tr", *(element("th", name, scope="col") for name in names))),
        element("tbody", *rows),
        **({"class_": "wide"} if len(names) >= _WIDE_TABLE else {}),
    )
    return element("div", table, class_="sheet scroll" if count > _LONG_TABLE else "sheet")
