"""Which contender is judged on which split next, while the budget lasts.

Knows nothing of how a contender is trained: that is handed in.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from longform.errors import LongformError
from longform.reporting import Advance, Reporter, counted, describe_seconds
from longform.search.bakeoff.contenders import MAJORITY, Contender
from longform.search.bakeoff.protocol import Protocol, Round
from longform.search.bakeoff.records import Attempt, Records, Standing
from longform.search.bakeoff.selection import drop_dominated, metric_of
from longform.search.bakeoff.statistics import Metric
from longform.search.watch import BudgetSpent, Deadline

_FIRST_SHARE = 0.5
"""Share of the time left that the first split of a contender may take: others want theirs too."""
_CUT_SHARE = 0.75
"""Share at which it is cut, if it was expected to take less: estimates leave the head's training
out, and what is cut shortly before its end helps nobody."""

JudgeContender = Callable[[Contender, Round, Deadline], Attempt]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the first split of a contender will take.

    Attributes:
        seconds: By the speed of the machine.
        kind: Of training; what one took beyond its estimate, others of its kind will too.
    """

    seconds: float
    kind: str = ""


EstimateSeconds = Callable[[Contender], "Estimate | None"]


@dataclass(frozen=True, slots=True)
class Limits:
    """When the rounds end, what earlier runs took included.

    Attributes:
        seconds: Of all attempts together.
        splits: Most that a contender is judged on.
    """

    seconds: float
    splits: int


class Schedule:
    """The rounds of a bake-off, in the order of their cost.

    Each contender gets its first split early: first the cheapest of each kind of training, so that
    no kind goes unseen for the sake of many of another, then the others, the cheap ones first.
    After each round those that are clearly dominated are out, and the time is left to the others.

    Args:
        protocol: The splits.
        standings: Who takes part.
        records: Where attempts are kept.
        limits: When to end.
        metric: What is to be high.
        reporter: Told each result.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        protocol: Protocol,
        standings: Sequence[Standing],
        records: Records,
        limits: Limits,
        metric: Metric,
        reporter: Reporter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._protocol = protocol
        self._standings = standings
        self._records = records
        self._limits = limits
        self._metric = metric
        self._reporter = reporter or Reporter()
        self._clock = clock
        most = protocol.most_rounds
        self._rounds = limits.splits if most is None else min(limits.splits, most)
        # Those that there was no time for: less will be left later.
        self._untimely: set[str] = set()
        self._estimating = 0.0
        # What first splits took, of what had been estimated, by kind of training: others may be at
        # work on the machine, and an estimate counts tokens alone.
        self._overruns: dict[str, list[float]] = {}

    def run(self, judge: JudgeContender, estimate: EstimateSeconds) -> bool:
        """Go through the rounds.

        Args:
            judge: Trains a contender and judges it on a split.
            estimate: Says, before the first split of a contender, what it will take; None when
                nothing is known.

        Returns:
            Whether all rounds were done, and not the budget ended them.
        """
        self.restore()
        spent = self._records.spent()
        with self._reporter.track("Comparing", self._limits.seconds, "s", spent) as advance:
            for number in range(self._rounds):
                self._round(number, judge, estimate, advance)
                for line in drop_dominated(self._protocol.truth, self._standings, self._metric):
                    self._reporter.say(line)
        return not self._untimely

    def restore(self) -> None:
        """Take in what earlier runs did."""
        protocol = self._protocol
        several = protocol.labels.is_multi_label
        rounds: dict[int, Round] = {}
        for standing in self._standings:
            known = {attempt.split for attempt in standing.attempts}
            for attempt in self._records.read(
                standing.contender, len(protocol.labels), several=several
            ):
                if attempt.split in known or attempt.split >= self._rounds:
                    continue
                if attempt.split not in rounds:
                    rounds[attempt.split] = protocol.round(attempt.split)
                standing.add(attempt, rounds[attempt.split].places)
        done = sum(len(standing.judged) for standing in self._standings)
        if done:
            self._reporter.say(
                f"Going on after {counted(done, 'judgement')} in "
                f"{describe_seconds(self._records.spent())}."
            )

    def _round(
        self, number: int, judge: JudgeContender, estimate: EstimateSeconds, advance: Advance
    ) -> None:
        """Judge all that are left on a split, as far as there is time."""
        waiting = [
            item
            for item in self._standings
            if not item.out and number not in item.judged and item.name not in self._untimely
        ]
        if not waiting:
            return
        divided = self._protocol.round(number)
        costly: list[tuple[Estimate, Standing]] = []
        for standing in waiting:
            expected = self._expected(standing, estimate)
            if expected is not None and expected.seconds:
                costly.append((expected, standing))
            else:
                # Those of which nothing is known keep their place in the table, among the cheap.
                seconds = None if expected is None else expected.seconds
                self._try(standing, seconds, divided, judge, advance)
        for expected, standing in _by_kind_and_cost(costly):
            if standing.judged:
                self._try(standing, expected.seconds, divided, judge, advance)
                continue
            seen = self._overruns.setdefault(expected.kind, [])
            factor = max(1.0, statistics.median(seen or (1.0,)))
            attempt = self._try(standing, factor * expected.seconds, divided, judge, advance)
            if attempt is not None and attempt.state != "failed":
                seen.append(attempt.seconds / expected.seconds)

    def _try(
        self,
        standing: Standing,
        seconds: float | None,
        divided: Round,
        judge: JudgeContender,
        advance: Advance,
    ) -> Attempt | None:
        """Judge a contender, or return None where there is no time for it."""
        left = self._limits.seconds - self._records.spent() - self._estimating
        share = 1.0 if standing.judged else _FIRST_SHARE
        if left <= 0 or (seconds is not None and seconds > share * left):
            self._untimely.add(standing.name)
            self._skip(standing, seconds, max(left, 0.0))
            return None
        # An estimate that was much too low must not take the time of the others.
        most = share if seconds is None else max(share, _CUT_SHARE)
        return self._judge(standing, divided, judge, (most * left, advance))

    def _expected(self, standing: Standing, estimate: EstimateSeconds) -> Estimate | None:
        known = standing.split_seconds
        if known is not None or standing.name == MAJORITY:
            return Estimate(known or 0.0)
        begun = self._clock()
        try:
            return estimate(standing.contender)
        except LongformError as error:
            standing.out = _first_line(error)
            return None
        finally:
            self._estimating += self._clock() - begun

    def _skip(self, standing: Standing, seconds: float | None, left: float) -> None:
        """Say that there is no time for a contender."""
        if standing.out:
            return
        wanted = "an unknown time" if seconds is None else f"about {describe_seconds(seconds)}"
        what = "its first split" if not standing.judged else "a further split"
        reason = f"{what} would take {wanted}, and {describe_seconds(left)} of the budget are left"
        if not standing.judged:
            standing.out = f"skipped: {reason}"
        self._reporter.say(f"{standing.name}: {reason}.")

    def _judge(
        self,
        standing: Standing,
        divided: Round,
        judge: JudgeContender,
        budget: tuple[float, Advance],
    ) -> Attempt | None:
        if standing.out:
            self._reporter.say(f"{standing.name} is out: {standing.out}.")
            return None
        most, advance = budget
        begun = self._clock()
        deadline = Deadline(begun + most, self._clock, advance)
        contender = standing.contender
        try:
            attempt = judge(contender, divided, deadline)
        except BudgetSpent as stop:
            seconds = self._clock() - begun
            attempt = Attempt(contender.name, divided.number, "cut", seconds, str(stop))
            self._untimely.add(standing.name)
        except (LongformError, RuntimeError, MemoryError) as error:
            # One contender that cannot be trained here says nothing about the others.
            seconds = self._clock() - begun
            told = _first_line(error)
            attempt = Attempt(contender.name, divided.number, "failed", seconds, told)
            standing.out = f"failed: {told}"
        self._records.write(contender, attempt)
        standing.add(attempt, divided.places)
        advance(max(0.0, attempt.seconds - deadline.ticked), f"Comparing, split {divided.number}")
        self._reporter.say(self._describe(standing, attempt))
        return attempt

    def _describe(self, standing: Standing, attempt: Attempt) -> str:
        head = f"split {attempt.split:>2}   {standing.name:<24}"
        if attempt.state != "done":
            return f"{head} {attempt.state}: {attempt.reason}"
        value = metric_of(self._protocol.truth, standing, self._metric)
        cost = "" if attempt.document_ms is None else f"{attempt.document_ms:10,.2f} ms/document"
        return f"{head} {100 * value:6.2f} so far {attempt.seconds:8,.1f} s {cost}"


def _by_kind_and_cost(
    waiting: Sequence[tuple[Estimate, Standing]],
) -> list[tuple[Estimate, Standing]]:
    """Return the cheapest of each kind, then the others, both by cost."""
    seen: set[str] = set()
    first: list[tuple[Estimate, Standing]] = []
    others: list[tuple[Estimate, Standing]] = []
    for expected, standing in sorted(waiting, key=lambda pair: pair[0].seconds):
        is_new = expected.kind not in seen and not standing.judged
        (first if is_new else others).append((expected, standing))
        seen.add(expected.kind)
    return [*first, *others]


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"
