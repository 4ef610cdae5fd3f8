"""Contenders that take turns: each in a process of its own, one at work at a time."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Protocol

from longform.reporting import Reporter
from longform.types import Document


class Runner(Protocol):
    """A contender that was opened."""

    def run(self, documents: Sequence[Document]) -> list[str]:
        """Classify documents and return their labels."""

    def matrix_rate(self) -> float | None:
        """Return the GFLOP/s of a large matrix product in its library; None where unknown."""

    def close(self) -> None:
        """Free what it holds."""


class Contender(Protocol):
    """How to open a contender, in a process of its own. It is pickled on the way there."""

    @property
    def name(self) -> str:
        """What it is called in the table."""

    def open(self) -> Runner:
        """Open it, ready to run."""


@dataclass(slots=True)
class Turns:
    """What one contender did.

    Attributes:
        name: Of the contender.
        seconds: Of each round over all documents.
        labels: Of the documents, by the last round.
        latencies: Seconds of single documents, alone.
        matrix_rates: GFLOP/s of a large matrix product, one beside each round.
        memory_bytes: Most memory that its process ever held.
        failure: Why it could not run; then all else is empty.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    matrix_rates: list[float] = field(default_factory=list)
    memory_bytes: int = 0
    failure: str | None = None

    @property
    def median_seconds(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.seconds)

    @property
    def matrix_rate(self) -> float | None:
        """The best rate that was seen: what the machine can do, whatever else it did."""
        return max(self.matrix_rates, default=None)


def take_turns(
    contenders: Sequence[Contender],
    documents: Sequence[Document],
    rounds: int,
    alone: Sequence[Document],
    reporter: Reporter,
) -> list[Turns]:
    """Let contenders classify the same documents, round after round, so that noise hits all alike.

    Args:
        contenders: In the order of their turns.
        documents: What each round classifies.
        rounds: Rounds that count; one more before them warms up on a few documents.
        alone: Documents that are also classified one by one, in the last round.
        reporter: Shows the progress.
    """
    context = multiprocessing.get_context("spawn")
    workers = [_Worker(context, contender) for contender in contenders]
    steps = (2 + rounds) * len(workers)
    try:
        with reporter.track("Measuring", steps, unit="turns") as advance:
            for worker in workers:
                advance(0, f"Opening {worker.turns.name}")
                # Opened one after the other: compiling beside a measurement would disturb it.
                worker.ask("open", None)
                advance(1)
            for number in range(rounds + 1):
                for worker in workers:
                    advance(0, f"Round {number} of {rounds}: {worker.turns.name}")
                    worker.take(documents if number else documents[:4], counts=number > 0)
                    advance(1)
            for worker in workers:
                worker.latencies(alone)
    finally:
        for worker in workers:
            worker.stop()
    return [worker.turns for worker in workers]


class _Worker:
    """The parent's end of one contender."""

    def __init__(self, context: Any, contender: Contender) -> None:
        self.turns = Turns(contender.name)
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(contender, other), daemon=True)
        self._process.start()
        other.close()

    def ask(self, command: str, content: Any) -> Any:
        """Send a command and wait; a failure is kept, and nothing is asked any more."""
        if self.turns.failure is not None:
            return None
        try:
            self._connection.send((command, content))
            worked, answer = self._connection.recv()
        except (EOFError, OSError) as error:
            worked, answer = False, f"its process ended ({error or 'killed'})"
        if worked:
            return answer
        self.turns.failure = str(answer)
        return None

    def take(self, documents: Sequence[Document], *, counts: bool) -> None:
        rate = self.ask("rate", None) if counts else None
        answer = self.ask("run", list(documents))
        if answer is None or not counts:
            return
        seconds, self.turns.labels, self.turns.memory_bytes = answer
        self.turns.seconds.append(seconds)
        if rate is not None:
            self.turns.matrix_rates.append(rate)

    def latencies(self, documents: Sequence[Document]) -> None:
        for document in documents:
            answer = self.ask("run", [document])
            if answer is not None:
                self.turns.latencies.append(answer[0])

    def stop(self) -> None:
        if self._process.is_alive():
            try:
                self._connection.send(("stop", None))
            except OSError:
                self._process.kill()
            self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()


def _serve(contender: Contender, connection: Connection) -> None:
    """The contender's end: answers commands until it is told to stop."""
    runner: Runner | None = None
    while True:
        command, content = connection.recv()
        if command == "stop":
            if runner is not None:
                runner.close()
            return
        try:
            if command == "open":
                runner = contender.open()
                answer: Any = True
            else:
                assert runner is not None
                answer = runner.matrix_rate() if command == "rate" else _run(runner, content)
            connection.send((True, answer))
        except Exception as error:
            connection.send((False, f"{type(error).__name__}: {error}"))


def _run(runner: Runner, documents: Sequence[Document]) -> tuple[float, list[str], int]:
    started = time.perf_counter()
    labels = runner.run(documents)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts kibibytes, macOS bytes.
    return seconds, labels, peak if sys.platform == "darwin" else 1024 * peak
