"""Measure what the simulation of bulk scoring starts from, and the run that it must predict.

Four things are measured with one corpus and one bundle on one machine:

- alone: a job with one worker;
- beside: two jobs with one worker each at the same time, from which what two workers take from each
  other is known without a job of two workers;
- opening: a job with two workers and a document for each, for what comes before the work;
- together: a job with two workers, which the others must predict.

They take turns of two seconds: all but one are stopped (SIGSTOP), so that whatever else loads the
machine weighs on all alike. Times are those of a job's own turns.

    python benchmarks/scale_measurement.py --bundle BUNDLE --data FILE --work FOLDER --json F
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from machine import describe_machine

from longform.config import DataSettings
from longform.data.readers import DocumentReader
from longform.scale.answers import ANSWERS, read_account
from longform.scale.job import FILES, SUMMARY
from longform.scale.parts import PartLimits, read_parts
from longform.scale.storage import Storage

TURN_SECONDS = 2.0
_NAMES = ("alone", "beside-0", "beside-1", "together", "opening")


@dataclass(slots=True)
class Contender:
    """Processes that run in the same turns.

    They are one session: Linux gives each session an equal share of a loaded machine (autogroup),
    however many processes it has.

    Attributes:
        commands: Command line of each.
        turns: When they ran, in seconds since 1970.
    """

    commands: list[list[str]]
    turns: list[tuple[float, float]] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def is_running(self) -> bool:
        """Tell whether one of them is not finished."""
        return self.process is None or self.process.poll() is None

    def take_turn(self, seconds: float) -> None:
        """Run for so long, or to the end."""
        begun = time.time()
        if self.process is None:
            line = " & ".join(shlex.join(command) for command in self.commands)
            self.process = subprocess.Popen(
                ["sh", "-c", f"{line} & wait"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        else:
            self._signal(signal.SIGCONT)
        while self.is_running() and time.time() - begun < seconds:
            time.sleep(0.02)
        self._signal(signal.SIGSTOP)
        self.turns.append((begun, time.time()))

    def seconds(self, begin: float, end: float) -> float:
        """Return how much of a stretch of time lay in its turns."""
        return sum(max(0.0, min(end, late) - max(begin, early)) for early, late in self.turns)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)


class Measurement:
    """One bundle, one corpus, one folder to work in."""

    def __init__(self, bundle: Path, corpus: Path, work: Path, part_rows: int) -> None:
        self.bundle, self.corpus, self.work, self.part_rows = bundle, corpus, work, part_rows
        work.mkdir(parents=True, exist_ok=True)
        self.two_documents = work / "two.jsonl"
        with corpus.open(encoding="utf-8") as lines:
            self.two_documents.write_text("".join(islice(lines, 2)), encoding="utf-8")

    def run(self) -> dict[str, Any]:
        """Measure the four things once, in turns."""
        load = os.getloadavg()[0]
        for name in _NAMES:
            shutil.rmtree(self.work / name, ignore_errors=True)
        rows = self.part_rows
        alone = Contender([self._job("alone", 1, rows)])
        beside = Contender([self._job(f"beside-{number}", 1, rows) for number in range(2)])
        together = Contender([self._job("together", 2, rows)])
        opening = Contender([self._job("opening", 2, 1)])
        all_of_them = (alone, beside, together, opening)
        while any(item.is_running() for item in all_of_them):
            for contender in all_of_them:
                if contender.is_running():
                    contender.take_turn(TURN_SECONDS)
        return {
            "load": [round(load, 1), round(os.getloadavg()[0], 1)],
            "alone": self._account(alone, "alone"),
            "beside": [self._account(beside, f"beside-{number}") for number in range(2)],
            "together": self._account(together, "together"),
            "opening_seconds": self._account(opening, "opening")["seconds"],
            "reading_seconds_per_part": round(self.time_reading(), 4),
        }

    def time_reading(self) -> float:
        """Return the processor seconds that reading takes for a part."""
        limits = PartLimits(rows=self.part_rows)
        reader = DocumentReader(self.corpus, DataSettings(), labelled=False)
        started = time.process_time()
        count = sum(1 for _ in read_parts(reader, 0, limits))
        return (time.process_time() - started) / count

    def _job(self, name: str, workers: int, part_rows: int) -> list[str]:
        corpus = self.two_documents if name == "opening" else self.corpus
        return [
            *(sys.executable, "-m", "longform", "predict", str(self.bundle)),
            *("--input", str(corpus), "--output", str(self.work / name)),
            *("--part-rows", str(part_rows), "--workers", str(workers), "--json"),
        ]

    def _account(self, contender: Contender, name: str) -> dict[str, Any]:
        """Return what a job took of its turns.

        The engine's clock runs from when it has written the list of files to when it writes its
        summary.
        """
        output = self.work / name
        summary = json.loads((output / SUMMARY).read_text(encoding="utf-8"))
        begun, ended = _modified(output / FILES), _modified(output / SUMMARY)
        seconds = contender.seconds(begun, ended)
        storage = Storage(str(output))
        accounts = sorted(
            (
                (_modified(output / file), read_account(storage, file))
                for file in storage.names(ANSWERS)
                if file.endswith(".parquet")
            ),
            key=lambda item: item[0],
        )
        # Of one worker, a part is what lies between two that are written; the first is left out,
        # since the bundle is opened before it.
        written = [when for when, _ in accounts]
        taken = [round(contender.seconds(*stretch), 4) for stretch in pairwise(written)]
        return {
            "seconds": round(seconds, 3),
            "documents": summary["documents"],
            "documents_per_second": round(summary["documents"] / seconds, 2),
            "part_seconds": taken,
            "part_documents": [item.answers + item.errors for _, item in accounts[1:]],
        }


def _modified(path: Path) -> float:
    return path.stat().st_mtime


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure so many rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="one file of JSON lines")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part-rows", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, required=True)
    told = parser.parse_args(arguments)
    measurement = Measurement(told.bundle, told.data, told.work, told.part_rows)
    rounds: list[dict[str, Any]] = []
    for _ in range(told.rounds):
        rounds.append(measurement.run())
        record = {"machine": describe_machine(), "bundle": told.bundle.name, "rounds": rounds}
        told.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        last = rounds[-1]
        told_of = [item["seconds"] for item in (last["alone"], *last["beside"], last["together"])]
        print(last["load"], told_of, last["opening_seconds"], flush=True)


if __name__ == "__main__":
    main()
