"""What a running trial is told and asked: how good it is so far, and whether it may go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import optuna

BUDGET_SPENT = "the budget was spent"
"""Reason of a trial that ended for want of time alone."""


class Stopped(Exception):
    """A trial ends before its training does; the message says why."""


class BudgetSpent(Stopped):
    """The time of the whole search is over."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a trial that went to its end came to.

    Attributes:
        value: The metric on the validation documents.
        document_ms: Milliseconds that the trained model takes to read one document.
    """

    value: float
    document_ms: float | None = None


class Checks(Protocol):
    """What trainings call while they run."""

    def check(self) -> None:
        """Ask whether to go on, at least every few seconds.

        Raises:
            Stopped: It ends here.
        """

    def report(self, epoch: int, value: float) -> None:
        """Tell the metric after an epoch.

        Raises:
            Stopped: It ends here.
        """


class Deadline:
    """A time at which training ends, whatever it has reached.

    Args:
        end: On the clock.
        clock: Seconds.
        tick: Called with the seconds since it was called last.

    Attributes:
        ticked: Seconds that were told to `tick`.
    """

    def __init__(
        self, end: float, clock: Callable[[], float], tick: Callable[[float], None]
    ) -> None:
        self._end = end
        self._clock = clock
        self._tick = tick
        self._last = clock()
        self.ticked = 0.0

    def check(self) -> None:
        """Move the bar.

        Raises:
            BudgetSpent: The time is over.
        """
        now = self._clock()
        self._tick(now - self._last)
        self.ticked += now - self._last
        self._last = now
        if now >= self._end:
            raise BudgetSpent(BUDGET_SPENT)

    def report(self, epoch: int, value: float) -> None:
        """Move the bar; what was reached is not looked at."""
        self.check()


class Watch:
    """What a running trial is told and asked. `check` is to be called at least every few seconds.

    Args:
        trial: Of the study.
        may_prune: False for a start, which is to be known whole.
        deadline: On the clock; None for none.
        clock: Seconds.
        tick: Called with the seconds since it was called last.
    """

    def __init__(
        self,
        trial: optuna.Trial,
        may_prune: bool,
        deadline: float | None,
        clock: Callable[[], float],
        tick: Callable[[float], None],
    ) -> None:
        self._trial = trial
        self._may_prune = may_prune
        self._deadline = deadline
        self._clock = clock
        self._tick = tick
        self._reported: set[int] = set()
        self.begun = self._last = clock()

    def check(self) -> None:
        """Move the bar.

        Raises:
            BudgetSpent: The budget is.
        """
        now = self._clock()
        self._tick(now - self._last)
        self._last = now
        if self._deadline is not None and now >= self._deadline:
            raise BudgetSpent(BUDGET_SPENT)

    def report(self, epoch: int, value: float) -> None:
        """Tell the metric after an epoch; of several reports, the first counts.

        Raises:
            Stopped: Earlier trials were better at this epoch.
            BudgetSpent: The budget is.
        """
        if epoch not in self._reported and epoch > 0:
            self._reported.add(epoch)
            self._trial.report(value, epoch)
            if self._may_prune and self._trial.should_prune():
                raise Stopped(f"below the median at epoch {epoch}")
        self.check()
