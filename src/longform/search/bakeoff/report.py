"""A bake-off as one HTML file that needs nothing beside it: no script, no font, no network."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from longform.evaluation.charts import percent
from longform.evaluation.markup import Child, element
from longform.evaluation.page import (
    bar_cell,
    card,
    page_footer,
    page_header,
    significant,
    write_page,
)
from longform.reporting import counted, describe_seconds
from longform.search.bakeoff.charts import draw_front
from longform.search.bakeoff.result import BakeoffResult, Row
from longform.search.bakeoff.statistics import Difference
from longform.search.report import METRIC_NAMES
from longform.search.tuning import show_value


def write_bakeoff_report(path: Path, result: BakeoffResult, data: str) -> None:
    """Write a bake-off as a page for people. It quotes no document.

    Args:
        path: File to write; one that exists is replaced.
        result: What to show.
        data: What the documents are called, for example the name of their file.

    Raises:
        InputError: The file cannot be written.
    """
    write_page(
        path,
        f"Bake-off on {data}: {result.chosen or 'no choice yet'}",
        _show_header(result, data),
        element(
            "main",
            _show_advice(result),
            _show_front(result),
            _show_table(result),
            _show_unseen(result),
            _show_served(result),
            _show_settings(result),
        ),
        page_footer(False),
    )


def show_gap(gap: Difference | None) -> str:
    """Write a difference with its interval, in points."""
    if gap is None:
        return ""
    return f"{100 * gap.value:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})"


def _show_header(result: BakeoffResult, data: str) -> Element:
    told = result.protocol
    facts = [
        f"{len(result.judged)} of {counted(len(result.rows), 'contender')} judged",
        f"{sum(row.splits for row in result.rows)} trainings in {describe_seconds(result.seconds)}",
        f"{told['documents']:,} documents of {told['classes']} classes, by {told['divided_by']}",
        f"{told['judges']:,} documents judge the choice" if told["judges"] else "",
        result.machine,
    ]
    return page_header("longform bakeoff", data, facts)


def _show_advice(result: BakeoffResult) -> Element:
    title = f"Take {result.chosen}" if result.chosen else "No recommendation"
    lines = [element("p", sentence) for sentence in result.advice]
    return element("section", element("h2", title), *lines, class_="card")


def _show_front(result: BakeoffResult) -> Element:
    metric = METRIC_NAMES[result.metric]
    told = (
        f"Up is {metric}, over all judged documents; to the left is cheaper. The square is "
        f"{result.reference}. A whisker is the 95 % interval of the paired difference to it: where "
        "it crosses the dashed line, the documents do not tell the two apart. Filled circles: "
        "nothing beats them in both."
    )
    drawing = draw_front(result.rows, result.metric, result.reference)
    return card("Quality against cost", told, element("div", drawing, class_="sheet"))


def _show_table(result: BakeoffResult) -> Element:
    told = (
        "All contenders were judged on the same splits of the same documents. Differences to "
        f"{result.reference} are in points, paired, with 95 % intervals: every document counts "
        "once, and the luck of training counts by the splits (Nadeau and Bengio, 2003)."
    )
    head = (
        "Contender",
        "Accuracy",
        "Macro-F1",
        "Splits",
        "Accuracy, difference",
        "Macro-F1, difference",
        "ms a document",
        "s a split",
        "",
    )
    titles: list[Child] = [element("th", name, scope="col") for name in head]
    table = element(
        "table",
        element("thead", element("tr", *titles)),
        element("tbody", *(_row(row, result) for row in result.rows)),
        class_="contenders",
    )
    return card("Contenders", told, element("div", table, class_="sheet scroll"))


def _row(row: Row, result: BakeoffResult) -> Element:
    mark = element("span", "chosen", class_="mark") if row.name == result.chosen else None
    name = element("th", row.name, mark, element("div", row.reason, class_="note"), scope="row")
    if not row.splits:
        return element(
            "tr", name, element("td", row.out or "not reached", colspan=8, class_="note")
        )
    cost = "" if row.document_ms is None else significant(row.document_ms)
    last = row.out or row.verdict
    seconds = "" if row.train_seconds is None else f"{row.train_seconds:,.1f}"
    return element(
        "tr",
        name,
        bar_cell(row.accuracy or 0.0, percent(row.accuracy or 0.0), "f1"),
        bar_cell(row.macro_f1 or 0.0, percent(row.macro_f1 or 0.0), "part"),
        element("td", str(row.splits), class_="number"),
        element("td", show_gap(row.gaps.get("accuracy")), class_="number"),
        element("td", show_gap(row.gaps.get("macro_f1")), class_="number"),
        element("td", cost, class_="number"),
        element("td", seconds, class_="number"),
        element("td", last, class_="note"),
    )


def _show_unseen(result: BakeoffResult) -> Element | None:
    ending = result.ending
    if ending is None or not ending.figures:
        return None
    count = next(iter(ending.figures.values())).documents
    told = (
        f"{counted(count, 'document')} that no selection saw, judged once by the choice and by "
        "what it is held against, each trained on all the others. This is the figure to quote."
    )
    head = ("", "Accuracy", "95% interval", "Macro-F1", "Choice minus this, accuracy")
    titles: list[Child] = [element("th", name, scope="col") for name in head]
    rows = []
    for name, figures in ending.figures.items():
        low, high = figures.interval
        rows.append(
            element(
                "tr",
                element("th", name, scope="row"),
                bar_cell(figures.accuracy, percent(figures.accuracy), "f1"),
                element("td", f"{percent(low)} to {percent(high)}", class_="number"),
                bar_cell(figures.macro_f1, percent(figures.macro_f1), "part"),
                element("td", show_gap(ending.gaps.get(name, {}).get("accuracy")), class_="number"),
            )
        )
    head_row = element("thead", element("tr", *titles))
    table = element("table", head_row, element("tbody", *rows), class_="figures")
    return card("On documents never seen", told, table)


def _show_served(result: BakeoffResult) -> Element | None:
    measured = [row for row in result.rows if row.cost is not None]
    if not measured:
        return None
    told = (
        "Bundles of the finalists, exported and opened as a server opens them. The other costs on "
        "this page were taken as the models were trained, without an export: of neural models, a "
        "bundle may be several times faster."
    )
    head = ("", "Backend", "ms a document", "on one thread", "Bundle, MB")
    titles: list[Child] = [element("th", name, scope="col") for name in head]
    rows = [
        element(
            "tr",
            element("th", row.name, scope="row"),
            element("td", cost.backend),
            element("td", significant(cost.served_ms), class_="number"),
            element("td", significant(cost.thread_ms), class_="number"),
            element("td", significant(cost.megabytes), class_="number"),
        )
        for row in measured
        if (cost := row.cost) is not None
    ]
    head_row = element("thead", element("tr", *titles))
    table = element("table", head_row, element("tbody", *rows), class_="figures")
    return card("As served", told, table)


def _show_settings(result: BakeoffResult) -> Element:
    lines = []
    for row in result.rows:
        shown = ", ".join(f"{key}={_show(value)}" for key, value in row.settings.items())
        lines.append(f"{row.name}: {shown or 'nothing to set'}")
    content = element("pre", element("code", "\n".join(lines)))
    return card("Settings", "What each contender changes of the configuration.", content)


def _show(value: object) -> str:
    return (
        f"[{', '.join(map(str, value))}]" if isinstance(value, list | tuple) else show_value(value)
    )
