"""A search on the screen: the trials, what decided, and the judgement of the test documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from longform.cli.console import summary_console
from longform.search.report import METRIC_NAMES, verdict
from longform.search.tuning import show_value

if TYPE_CHECKING:
    from longform.search.result import SearchResult, TestFigures
    from longform.search.trials import TrialRecord

_WIDTH = 110
_SHOWN = 12


def print_search(result: SearchResult, report: Path) -> None:
    """Print what matters on standard output.

    Args:
        result: Of the search.
        report: Where the HTML report is.
    """
    console = summary_console(_WIDTH)
    console.print(Rule("Trials", align="left", style="dim"))
    console.print(_table_of_trials(result))
    pruned = sum(trial.value is None for trial in result.trials)
    hidden = max(0, len(result.trials) - pruned - _SHOWN)
    told = f"{len(result.trials)} trials, {pruned} of them pruned"
    console.print(Text(f"{told}; {hidden} more in the report." if hidden else f"{told}."))
    if result.importances:
        console.print(Rule("What decides", align="left", style="dim"))
        for name, share in list(result.importances.items())[:6]:
            console.print(Text(f"  {100 * share:5.1f} %  {name}"))
    console.print(Rule("Test documents, never seen by the search", align="left", style="dim"))
    console.print(_table_of_figures(result))
    console.print(Text(verdict(result), style="bold"))
    console.print()
    console.print(Text(f"Bundle: {result.bundle}   Report: {report}"), soft_wrap=True)
    settings = result.bundle.parent / "best.yaml"
    console.print(
        Text(f"Settings: longform train {settings} --data FILE --output FOLDER"), soft_wrap=True
    )


def _table_of_trials(result: SearchResult) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("trial", METRIC_NAMES[result.metric], "epochs", "s", "ms/document"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("settings", overflow="fold")
    complete = [trial for trial in result.trials if trial.value is not None]
    ranked = sorted(complete, key=lambda trial: -(trial.value or 0))
    shown = ranked[:_SHOWN]
    if result.defaults not in shown:
        shown.append(result.defaults)
    for trial in shown:
        table.add_row(*_cells(trial), style="bold" if trial.number == result.best.number else "")
    return table


def _cells(trial: TrialRecord) -> list[str]:
    settings = " ".join(f"{key}={show_value(value)}" for key, value in trial.settings.items())
    return [
        str(trial.number),
        f"{100 * (trial.value or 0):.2f}",
        str(trial.epochs),
        f"{trial.seconds:,.1f}",
        f"{trial.document_ms:,.1f}" if trial.document_ms is not None else "",
        trial.start or settings,
    ]


def _table_of_figures(result: SearchResult) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for name in ("documents", "accuracy", "95 % interval", "macro-F1"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [(f"choice, trial {result.best.number}", result.comparison.best)]
    if not result.keeps_defaults:
        rows.append(("defaults", result.comparison.defaults))
    for name, figures in rows:
        table.add_row(name, *_figures(figures))
    return table


def _figures(figures: TestFigures) -> list[str]:
    low, high = figures.interval
    return [
        f"{figures.documents:,}",
        f"{100 * figures.accuracy:.2f}",
        f"{100 * low:.2f} to {100 * high:.2f}",
        f"{100 * figures.macro_f1:.2f}",
    ]
