"""A search as one HTML file that needs nothing beside it: no script, no font, no network."""

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
from longform.reporting import counted
from longform.search.charts import draw_cost, draw_history, draw_importances
from longform.search.result import SearchResult, TestFigures
from longform.search.trials import TrialRecord
from longform.search.tuning import show_value

METRIC_NAMES = {"macro_f1": "macro-F1", "accuracy": "accuracy"}


def write_search_report(path: Path, result: SearchResult, data: str) -> None:
    """Write a search as a page for people. It quotes no document.

    Args:
        path: File to write; one that exists is replaced.
        result: What to show.
        data: What the documents are called, for example the name of their file.

    Raises:
        InputError: The file cannot be written.
    """
    metric = METRIC_NAMES[result.metric]
    write_page(
        path,
        f"Search on {data}: {percent(result.comparison.best.accuracy)} accuracy",
        _show_header(result, data),
        element(
            "main",
            _show_verdict(result),
            _show_history(result, metric),
            _show_importances(result),
            _show_cost(result, metric, "seconds"),
            _show_cost(result, metric, "document_ms"),
            _show_trials(result, metric),
            _show_space(result),
        ),
        page_footer(False),
    )


def verdict(result: SearchResult) -> str:
    """Say in a sentence what the search found, as carefully as the test documents allow."""
    both = result.comparison
    if result.keeps_defaults:
        return "Nothing better than the defaults was found."
    gain = both.best.accuracy - both.defaults.accuracy
    pairs = f"{both.only_best} to {both.only_defaults}, sign test p = {both.p_value:.2g}"
    if both.p_value < 0.05 and gain > 0:
        return f"The choice is better than the defaults on the test documents ({pairs})."
    if both.p_value < 0.05:
        return f"The choice is worse than the defaults on the test documents ({pairs})."
    return f"The test documents do not tell the choice from the defaults ({pairs})."


def _show_header(result: SearchResult, data: str) -> Element:
    pruned = sum(trial.value is None for trial in result.trials)
    parts = result.parts
    facts = [
        f"{counted(len(result.trials), 'trial')}, {pruned} of them pruned",
        f"{result.seconds:,.0f} s of trials",
        f"{parts['train']:,} documents to train on, {parts['validation']:,} that chose, "
        f"{parts['test']:,} that judged",
    ]
    return page_header("longform search", data, facts)


def _show_verdict(result: SearchResult) -> Element:
    both = result.comparison
    told = (
        f"Measured once, on {counted(both.best.documents, 'document')} that no trial saw. The "
        f"value on the validation documents, {percent(result.best.value or 0)}, is the best of "
        f"{len(result.trials)} and therefore too good."
    )
    rows = [_test_row(f"Choice, trial {result.best.number}", both.best)]
    if not result.keeps_defaults:
        rows.append(_test_row("Defaults", both.defaults))
    head = ("", "Accuracy", "95% interval", "Macro-F1")
    return element(
        "section",
        element("h2", verdict(result)),
        element("p", told, class_="note"),
        _table(head, rows),
        element("h3", "Settings of the choice"),
        element("pre", element("code", _settings(result.best))),
        class_="card",
    )


def _test_row(name: str, figures: TestFigures) -> Element:
    low, high = figures.interval
    return element(
        "tr",
        element("th", name, scope="row"),
        bar_cell(figures.accuracy, percent(figures.accuracy), "f1"),
        element("td", f"{percent(low)} to {percent(high)}", class_="number"),
        bar_cell(figures.macro_f1, percent(figures.macro_f1), "part"),
    )


def _settings(trial: TrialRecord) -> str:
    if trial.start == "defaults":
        return "as they were given"
    return "\n".join(f"{key}: {show_value(value)}" for key, value in trial.settings.items())


def _show_history(result: SearchResult, metric: str) -> Element:
    told = (
        "Circles: complete trials; hollow: pruned ones, at the best they had reached; squares: the "
        "settings that the search began with. The line is the best so far."
    )
    drawing = draw_history(result.trials, metric)
    return card("Optimisation history", told, drawing, class_="half")


def _show_importances(result: SearchResult) -> Element:
    told = (
        "How much of the differences between trials each parameter explains by itself (functional "
        "ANOVA, pruned trials at the best they had reached); the shares add up to 100%."
    )
    if not result.importances:
        told = "There are too few trials to say: at least eight with a parameter are needed."
        return card("Importance", told, class_="half")
    return card("Importance", told, draw_importances(result.importances), class_="half")


def _show_cost(result: SearchResult, metric: str, cost: str) -> Element:
    title, told, unit = _COSTS[cost]
    drawing = draw_cost(result.trials, cost, unit, metric)  # type: ignore[arg-type]
    return card(title, told, drawing, class_="half")


_COSTS = {
    "seconds": (
        "Quality against training time",
        "The line joins the trials that no other beats in both. Vectors of a frozen encoder that "
        "an earlier trial had encoded cost the later ones nothing.",
        "seconds of training",
    ),
    "document_ms": (
        "Quality against the cost of an answer",
        "Milliseconds to segment, encode and score one validation document in torch on this "
        "machine, while the search ran.",
        "milliseconds a document",
    ),
}


def _show_trials(result: SearchResult, metric: str) -> Element:
    told = "Best first; those that were pruned follow, each with the reason."
    ranked = sorted(result.trials, key=lambda trial: (trial.value is None, -(trial.value or 0)))
    head = ("Trial", f"Validation {metric}", "Epochs", "Seconds", "ms a document", "Settings")
    table = _table(head, [_trial_row(trial, result) for trial in ranked], "wide")
    return card("Trials", told, element("div", table, class_="sheet scroll"))


def _trial_row(trial: TrialRecord, result: SearchResult) -> Element:
    mark = element("span", "chosen", class_="mark") if trial.number == result.best.number else None
    if trial.value is not None:
        value = bar_cell(trial.value, percent(trial.value), "f1")
    else:
        value = element("td", trial.reason or "pruned", class_="note")
    shown = ", ".join(f"{key}={show_value(item)}" for key, item in trial.settings.items())
    cost = significant(trial.document_ms) if trial.document_ms is not None else ""
    return element(
        "tr",
        element("th", str(trial.number), mark, scope="row", class_="word"),
        value,
        element("td", str(trial.epochs), class_="number"),
        element("td", f"{trial.seconds:,.1f}", class_="number"),
        element("td", cost, class_="number"),
        element("td", f"{trial.start}: " if trial.start else None, shown, class_="note"),
    )


def _show_space(result: SearchResult) -> Element:
    lines = []
    for name, described in result.space.items():
        values = described["values"]
        shown = (
            ", ".join(show_value(value) for value in values)
            if isinstance(values, list)
            else f"{values['low']:g} to {values['high']:g}"
            + (f" by {values['step']:g}" if values.get("step") else "")
            + (", evenly in its logarithm" if values.get("log") else "")
        )
        when = " and ".join(
            f"{key} is {' or '.join(show_value(value) for value in items)}"
            for key, items in described.get("when", {}).items()
        )
        lines.append(f"{name}: {shown}{f', when {when}' if when else ''}")
    content = element("pre", element("code", "\n".join(lines)))
    return card("Space", "What the trials could choose among.", content)


def _table(head: tuple[str, ...], rows: list[Element], class_: str = "") -> Element:
    titles: list[Child] = [element("th", name, scope="col") for name in head]
    return element(
        "table",
        element("thead", element("tr", *titles)),
        element("tbody", *rows),
        class_=class_ or "figures",
    )
