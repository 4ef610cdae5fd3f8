"""A bake-off on the screen: contenders, the choice in words, and what comes next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from longform.cli.console import summary_console
from longform.search.bakeoff.report import show_gap

if TYPE_CHECKING:
    from longform.search.bakeoff.result import BakeoffResult, Row

_WIDTH = 120
_NAME_WIDTH = 32
_REFERENCE = "against this one"


def print_bakeoff(result: BakeoffResult, report: Path) -> None:
    """Print what matters on standard output.

    Args:
        result: Of the bake-off.
        report: Where the HTML report is.
    """
    console = summary_console(_WIDTH)
    console.print(Rule("Contenders", align="left", style="dim"))
    console.print(_table(result))
    for row in result.rows:
        if row.out:
            console.print(Text(f"{row.name}: {row.out}", style="dim"))
    _print_costs(console, result)
    console.print(Rule("What to take", align="left", style="dim"))
    for number, sentence in enumerate(result.advice):
        console.print(Text(sentence, style="" if number else "bold"))
    console.print()
    if result.bundle is not None:
        next_step = f"Bundle: {result.bundle}   Next: longform serve {result.bundle}"
        console.print(Text(next_step), soft_wrap=True)
    console.print(Text(f"Report: {report}"), soft_wrap=True)


def _table(result: BakeoffResult) -> Table:
    longest = max((len(row.name) for row in result.judged), default=0)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("contender", min_width=min(_NAME_WIDTH, longest), overflow="fold")
    for name in ("accuracy", "macro-F1", "splits", "ms/document", "s/split"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("points (95 %)", no_wrap=True)
    table.add_column("")
    for row in result.judged:
        table.add_row(*_cells(row, result), style="bold" if row.name == result.chosen else "")
    return table


def _cells(row: Row, result: BakeoffResult) -> list[str]:
    return [
        row.name,
        f"{100 * (row.accuracy or 0):.2f}",
        f"{100 * (row.macro_f1 or 0):.2f}",
        str(row.splits),
        "" if row.document_ms is None else f"{row.document_ms:,.2f}",
        "" if row.train_seconds is None else f"{row.train_seconds:,.1f}",
        _REFERENCE if row.name == result.reference else show_gap(row.gaps.get(result.metric)),
        row.verdict,
    ]


def _print_costs(console: Console, result: BakeoffResult) -> None:
    measured = [(row.name, row.cost) for row in result.rows if row.cost is not None]
    if not measured:
        return
    console.print(Rule("Finalists, as served", align="left", style="dim"))
    for name, cost in measured:
        console.print(
            Text(
                f"  {name}: {cost.served_ms:,.2f} ms a document on {cost.backend}, "
                f"{cost.thread_ms:,.2f} on one thread, {cost.megabytes:,.1f} MB"
            )
        )
