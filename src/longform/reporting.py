"""How long work speaks to whoever waits for it: lines and progress bars on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Moves a bar by an amount, and may rename it."""

    def __call__(self, amount: float, description: str | None = None, /) -> None:
        """Add to what is done."""


class Reporter:
    """Says nothing: the default of every function that can take long."""

    def say(self, message: str) -> None:
        """Tell one thing that was decided or found."""

    @contextmanager
    def track(self, description: str, total: float, unit: str = "documents") -> Iterator[Advance]:
        """Show progress while the context lasts.

        Args:
            description: What is being done.
            total: Amount of work.
            unit: What is counted.

        Yields:
            A function to call with each amount done, and a new description where there is one.
        """
        yield lambda amount, description=None: None


class ConsoleReporter(Reporter):
    """Speaks on standard error; progress bars appear only on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True, emoji=False)

    def say(self, message: str) -> None:
        """Print one line."""
        self._console.print(message, markup=False)

    @contextmanager
    def track(self, description: str, total: float, unit: str = "documents") -> Iterator[Advance]:
        """Show a bar with rate and remaining time."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{unit}  elapsed"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        hidden = not self._console.is_terminal
        with Progress(*columns, console=self._console, disable=hidden, transient=True) as progress:
            task = progress.add_task(description, total=total)
            yield lambda amount, description=None: progress.update(
                task, advance=amount, description=description
            )


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun in the right form; `many` where it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
