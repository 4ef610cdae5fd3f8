"""Where summaries go: standard output, at the width of the terminal or a readable one."""

from __future__ import annotations

import sys

from rich.console import Console


def summary_console(width: int) -> Console:
    """Return the console of a summary.

    Args:
        width: Columns, at most on a terminal, and exactly elsewhere.
    """
    console = Console(file=sys.stdout, highlight=False, emoji=False, markup=False)
    if console.is_terminal and console.width <= width:
        return console
    return Console(file=sys.stdout, highlight=False, emoji=False, markup=False, width=width)
