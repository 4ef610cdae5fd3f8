"""A simulation of bulk scoring, event by event: readers, parts that wait, workers, lost machines.

What it follows is what `longform.scale` does. Files are read in order by so many readers at once;
a reader stops while enough parts wait (back-pressure). Storage, the network of each machine and
the driver serve one part after another; workers score parts. A part in work on a machine that is
lost goes to another worker once the loss is noticed. The engines start no second copies of slow
parts, and neither does this.

Simplifications: the text of parts that wait does not get lost with the machine that read it, and a
reader whose machine is lost reads its file over without writing anything twice.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

_NEARLY_ALWAYS = 0.85
_STEADY = (0.25, 0.75)
"""Between these shares of the parts a run is neither starting nor ending."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are read, scored and repeated as one.

    Attributes:
        documents: Of it.
        seconds: That a worker takes, alone on its thread.
        stored_bytes: That are read from storage, and written there.
        text_bytes: That go from the reader to the worker.
    """

    documents: int
    seconds: float
    stored_bytes: float = 0.0
    text_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Machines, all alike, and what they share.

    Attributes:
        machines: How many.
        workers: Of each machine.
        readers: Files that are read at once.
        waiting: Parts that may wait for each worker.
        in_order: Whether parts are only read while the oldest that is not finished is among the
            last `waiting` x workers: the engine of one machine.
        opening_seconds: Until a worker has started and opened the bundle.
        contention: What a part takes more when all workers of a machine are at work.
        reading_seconds: Of a part, for what reads it.
        storage_rate: Bytes a second of storage in all.
        network_rate: Bytes a second of a machine.
        driver_seconds: Of a part, in the one process that directs the job.
        slow_share: Of machines that are slower than the others.
        slow_factor: What these take for a part, as a multiple.
        losses_per_hour: Of a machine.
        notice_seconds: Until a loss is noticed and its parts are given to others.
        replace_seconds: Until another machine takes its place.
    """

    machines: int = 1
    workers: int = 1
    readers: int = 1
    waiting: int = 2
    in_order: bool = False
    opening_seconds: float = 0.0
    contention: float = 1.0
    reading_seconds: float = 0.0
    storage_rate: float = float("inf")
    network_rate: float = float("inf")
    driver_seconds: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 2.0
    losses_per_hour: float = 0.0
    notice_seconds: float = 60.0
    replace_seconds: float = 600.0


@dataclass(slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        seconds: Until the last part was finished.
        documents: That were scored; those of repeated parts count once.
        finished: How often each part was finished, in the order in which they are read.
        repeated: Parts that were begun again.
        lost_machines: How many.
        worker_seconds: That finished parts took.
        steady_rate: Documents a second in the middle half of the run.
        use: Share of the time from opening to the last quarter in which each resource was at work.
    """

    seconds: float = 0.0
    documents: int = 0
    finished: list[int] = field(default_factory=list)
    repeated: int = 0
    lost_machines: int = 0
    worker_seconds: float = 0.0
    steady_rate: float = 0.0
    use: dict[str, float] = field(default_factory=dict)

    @property
    def bottleneck(self) -> str:
        """Name what was at work for the largest share of the time.

        Workers that are nearly always at work come first: others also work ahead of them.
        """
        if self.use["workers"] > _NEARLY_ALWAYS:
            return "workers"
        return max(self.use, key=lambda name: self.use[name])


class _Line:
    """Serves one after another, such as storage or a network, at so many units a second."""

    __slots__ = ("busy", "free_at", "rate")

    def __init__(self, rate: float) -> None:
        self.rate, self.free_at, self.busy = rate, 0.0, 0.0

    def serve(self, now: float, amount: float) -> float:
        """Return when so much is done that was asked for now."""
        seconds = amount / self.rate
        self.busy += seconds
        self.free_at = max(self.free_at, now) + seconds
        return self.free_at


@dataclass(slots=True)
class _Machine:
    factor: float
    receives: _Line
    sends: _Line
    life: int = 0
    """Counts its replacements: what belongs to an earlier life is lost."""
    working: dict[int, int] = field(default_factory=dict)
    """Worker -> part."""


class Simulation:
    """One job on one cluster.

    Args:
        cluster: The machines.
        files: Parts of each file, in order.
        seed: Of losses and of the choice of slow machines.
    """

    def __init__(self, cluster: Cluster, files: Sequence[Sequence[Part]], seed: int = 0) -> None:
        self._cluster, self._random = cluster, random.Random(seed)
        slow = round(cluster.slow_share * cluster.machines)
        self._machines = [
            _Machine(cluster.slow_factor if number < slow else 1.0, self._line(), self._line())
            for number in range(cluster.machines)
        ]
        self._parts = [part for file in files for part in file]
        self._files = deque(_numbered(files))
        self._source: dict[int, _Machine] = {}
        self._storage = _Line(cluster.storage_rate)
        self._driver = _Line(1.0)
        self._waiting: deque[int] = deque()
        self._idle: deque[tuple[_Machine, int, int]] = deque()
        self._stopped: list[_Reader] = []
        self._read = self._done = self._oldest = 0
        self._busy = {"workers": 0.0, "readers": 0.0}
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        self._milestones = frozenset(round(share * len(self._parts)) for share in _STEADY)
        self._marks: list[tuple[float, int, dict[str, float]]] = []
        self.outcome = Outcome(finished=[0] * len(self._parts))

    def run(self) -> Outcome:
        """Run the job to its end."""
        cluster = self._cluster
        for machine in self._machines:
            self._open(machine, 0.0)
            self._plan_loss(machine, 0.0)
        for number in range(min(cluster.readers, len(self._files))):
            reader = _Reader(self._machines[number % cluster.machines])
            self._at(0.0, lambda now, reader=reader: self._read_on(reader, now))
        now = 0.0
        while self._done < len(self._parts):
            now, _, act = heapq.heappop(self._events)
            act(now)
        self.outcome.seconds = now
        self._conclude()
        return self.outcome

    def _line(self) -> _Line:
        return _Line(self._cluster.network_rate)

    def _at(self, when: float, act: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, act))

    def _open(self, machine: _Machine, now: float) -> None:
        life = machine.life
        for worker in range(self._cluster.workers):
            self._at(
                now + self._cluster.opening_seconds,
                lambda now, worker=worker: self._free(machine, worker, life, now),
            )

    # Reading

    def _may_read(self) -> bool:
        room = self._cluster.waiting * self._cluster.workers * self._cluster.machines
        if self._cluster.in_order:
            return self._read - self._oldest < room
        return len(self._waiting) < room

    def _read_on(self, reader: _Reader, now: float) -> None:
        if not reader.numbers:
            if not self._files:
                return
            reader.numbers, reader.count = deque(self._files.popleft()), 0
        if not self._may_read():
            self._stopped.append(reader)
            return
        number = reader.numbers.popleft()
        self._read += 1
        part = self._parts[number]
        self._busy["readers"] += self._cluster.reading_seconds
        ready = max(
            now + self._cluster.reading_seconds,
            self._storage.serve(now, part.stored_bytes),
            reader.machine.receives.serve(now, part.stored_bytes),
        )
        reader.count += 1
        self._at(ready, lambda now: self._was_read(reader, number, now))

    def _was_read(self, reader: _Reader, number: int, now: float) -> None:
        if reader.machine.life != reader.life:
            reader.life = reader.machine.life
            over = reader.count * self._cluster.reading_seconds
            again = now + self._cluster.notice_seconds + over
            self._at(again, lambda now: self._was_read(reader, number, now))
            return
        self._source[number] = reader.machine
        self._waiting.append(number)
        self._hand_out(now)
        self._read_on(reader, now)

    # Scoring

    def _free(self, machine: _Machine, worker: int, life: int, now: float) -> None:
        if machine.life == life:
            self._idle.append((machine, worker, life))
            self._hand_out(now)

    def _hand_out(self, now: float) -> None:
        while self._waiting and self._idle:
            machine, worker, life = self._idle.popleft()
            if machine.life != life:
                continue
            number = self._waiting.popleft()
            part = self._parts[number]
            machine.working[worker] = number
            told = self._driver.serve(now, self._cluster.driver_seconds)
            begun = max(told, self._send(number, machine, now))
            seconds = part.seconds * self._cluster.contention * machine.factor
            self._at(
                begun + seconds,
                lambda now, m=machine, w=worker, li=life, n=number, s=seconds: self._finish(
                    m, w, li, n, s, now
                ),
            )
        while self._stopped and self._may_read():
            self._read_on(self._stopped.pop(), now)

    def _send(self, number: int, machine: _Machine, now: float) -> float:
        """Return when the text of a part has come from where it was read."""
        source, size = self._source[number], self._parts[number].text_bytes
        if source is machine:
            return now
        return max(source.sends.serve(now, size), machine.receives.serve(now, size))

    def _finish(
        self, machine: _Machine, worker: int, life: int, number: int, seconds: float, now: float
    ) -> None:
        if machine.life != life:
            return
        del machine.working[worker]
        self._done += 1
        self._busy["workers"] += seconds
        self.outcome.finished[number] += 1
        self.outcome.documents += self._parts[number].documents
        finished = self.outcome.finished
        while self._oldest < len(finished) and finished[self._oldest]:
            self._oldest += 1
        if self._done in self._milestones:
            self._marks.append((now, self.outcome.documents, self._work()))
        self._free(machine, worker, life, now)

    # Losses

    def _plan_loss(self, machine: _Machine, now: float) -> None:
        if self._cluster.losses_per_hour:
            wait = self._random.expovariate(self._cluster.losses_per_hour / 3_600)
            self._at(now + wait, lambda now: self._lose(machine, now))

    def _lose(self, machine: _Machine, now: float) -> None:
        machine.life += 1
        self.outcome.lost_machines += 1
        self.outcome.repeated += len(machine.working)
        lost = list(machine.working.values())
        machine.working.clear()
        self._at(now + self._cluster.notice_seconds, lambda now: self._repeat(lost, now))
        back = now + self._cluster.replace_seconds
        self._at(back, lambda now: self._open(machine, now))
        self._plan_loss(machine, back)

    def _repeat(self, numbers: Iterable[int], now: float) -> None:
        self._waiting.extendleft(numbers)
        self._hand_out(now)

    # Accounts

    def _work(self) -> dict[str, float]:
        """Return the seconds of work so far: means of workers and readers, the busiest network."""
        cluster = self._cluster
        network = max(max(m.receives.busy, m.sends.busy) for m in self._machines)
        return {
            "workers": self._busy["workers"] / (cluster.machines * cluster.workers),
            "readers": self._busy["readers"] / cluster.readers,
            "storage": self._storage.busy,
            "network": network,
            "driver": self._driver.busy,
        }

    def _conclude(self) -> None:
        self.outcome.worker_seconds = self._busy["workers"]
        if len(self._marks) < 2 or self._marks[1][0] <= self._marks[0][0]:
            self._marks = [(0.0, 0, dict.fromkeys(self._work(), 0.0))]
            self._marks.append((self.outcome.seconds, self.outcome.documents, self._work()))
        (begin, before, _), (end, after, late) = self._marks[:2]
        self.outcome.steady_rate = (after - before) / max(end - begin, 1e-9)
        span = max(end - self._cluster.opening_seconds, 1e-9)
        self.outcome.use = {name: seconds / span for name, seconds in late.items()}


@dataclass(slots=True)
class _Reader:
    machine: _Machine
    numbers: deque[int] = field(default_factory=deque)
    count: int = 0
    """Parts of its file that it has begun."""
    life: int = 0
    """Of its machine, when it last read there."""


def _numbered(files: Sequence[Sequence[Part]]) -> Iterator[range]:
    begin = 0
    for file in files:
        yield range(begin, begin + len(file))
        begin += len(file)
