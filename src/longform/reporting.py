"""How long work speaks to whoever waits for it: lines and progress bars on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

HEARTBEAT_SECONDS = 60.0
"""Least time between two lines about the same work where no bar can be shown."""

_HEARTBEAT_SHARE = 0.05
"""And the least share of the time so far: a night's work fills no log."""

_WIDE = 130
"""Columns of a terminal that hold a bar with all its figures on one line."""


class Advance(Protocol):
    """Called with each amount of work that is done."""

    def __call__(self, amount: float, description: str | None = None, /, **details: str) -> None:
        """Move on.

        Args:
            amount: What was done since the last call, in the unit of the whole.
            description: What is being done from now on; None goes on with what it was.
            details: Figures to show beside the progress, each under its name, such as
                `loss="0.42"`; they stay until they are given anew.
        """


class Reporter:
    """Says nothing: the default of every function that can take long."""

    def say(self, message: str) -> None:
        """Tell one thing that was decided or found."""

    @contextmanager
    def track(
        self, description: str, total: float, unit: str = "documents", done: float = 0
    ) -> Iterator[Advance]:
        """Show progress while the context lasts.

        Args:
            description: What is being done.
            total: Amount of work.
            unit: What is counted.
            done: Amount that an earlier, interrupted run did.

        Yields:
            A function to call with each amount done, and a new description where there is one.
        """
        yield lambda amount, description=None, /, **details: None


class ConsoleReporter(Reporter):
    """Speaks on standard error: bars on a terminal, now and then a line in a log."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True, emoji=False)

    def say(self, message: str) -> None:
        """Print one line."""
        self._console.print(message, markup=False)

    @contextmanager
    def track(
        self, description: str, total: float, unit: str = "documents", done: float = 0
    ) -> Iterator[Advance]:
        """Show a bar with details and remaining time; see `Reporter.track`."""
        if self._console.is_terminal:
            with _bar(self._console, description, total, unit, done) as advance:
                yield advance
        else:
            yield _Heartbeat(self, description, total, unit, done)


class RecordingReporter(Reporter):
    """Keeps what is said, and passes it on.

    Args:
        listener: Told everything as if it were asked itself.
    """

    def __init__(self, listener: Reporter) -> None:
        self._listener = listener
        self.told: list[str] = []

    def say(self, message: str) -> None:
        """Keep a line and pass it on."""
        self.told.append(message)
        self._listener.say(message)

    @contextmanager
    def track(
        self, description: str, total: float, unit: str = "documents", done: float = 0
    ) -> Iterator[Advance]:
        """Show progress where the listener shows it."""
        with self._listener.track(description, total, unit, done) as advance:
            yield advance


@contextmanager
def _bar(
    console: Console, description: str, total: float, unit: str, done: float
) -> Iterator[Advance]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    def fixed() -> Column:
        return Column(no_wrap=True)

    elapsed = (TextColumn("elapsed"), TimeElapsedColumn(table_column=fixed()))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(min(max(console.width - 105, 10), 40)),
        MofNCompleteColumn(table_column=fixed()),
        TextColumn(unit),
        *(elapsed if console.width >= _WIDE else ()),
        TextColumn("left"),
        TimeRemainingColumn(table_column=fixed()),
        # The one that may take a second line where the terminal is narrow.
        TextColumn("{task.fields[details]}", markup=False, table_column=Column()),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=total, details="")
        progress.update(task, completed=done)
        shown: dict[str, str] = {}

        def advance(amount: float, description: str | None = None, /, **details: str) -> None:
            shown.update(details)
            text = _join_details(shown)
            progress.update(task, advance=amount, description=description, details=text)

        yield advance


class _Heartbeat:
    """A line now and then: in a log, hours of silence look like a process that hangs."""

    def __init__(
        self, reporter: ConsoleReporter, description: str, total: float, unit: str, done: float
    ) -> None:
        self._reporter = reporter
        self._description = description
        self._total = total
        self._unit = unit
        self._before = self._done = done
        self._details: dict[str, str] = {}
        self._started = self._spoke = time.monotonic()

    def __call__(self, amount: float, description: str | None = None, /, **details: str) -> None:
        self._description = description or self._description
        self._done += amount
        self._details.update(details)
        now = time.monotonic()
        elapsed = now - self._started
        if now - self._spoke < max(HEARTBEAT_SECONDS, _HEARTBEAT_SHARE * elapsed):
            return
        self._spoke = now
        own = self._done - self._before
        parts = [
            f"  {self._description}: {self._done:,.0f} of {self._total:,.0f} {self._unit}",
            _join_details(self._details),
        ]
        if own > 0:
            left = elapsed * (self._total - self._done) / own
            parts.append(f"about {describe_seconds(left)} left")
        self._reporter.say("   ".join(part for part in parts if part))


def describe_seconds(seconds: float) -> str:
    """Return a duration in the two units that matter, such as `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def _join_details(details: dict[str, str]) -> str:
    return "   ".join(f"{name.replace('_', ' ')} {value}" for name, value in details.items())


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun in the right form; `many` where it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
