"""Bulk scoring at length: two engines in turns, lost machines, killed drivers, memory.

The documents of a file are repeated under new names up to the number that is asked for, and written
as parquet files. Then, all with the same bundle:

- speed: the local engine and Ray on a cluster of the same CPUs, in turns; rows compared;
- faults: a cluster of four nodes in this machine (Ray's cluster utilities), of which two are killed
  during the run, and a worker after them;
- resume: the driver is killed (SIGKILL) five times at random and started again;
- memory: the largest resident set of the driver and of its workers, for a tenth of the documents
  and for all.

    python benchmarks/bulk.py --bundle BUNDLE --data FILE --work FOLDER --json OUT.json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
from machine import describe_machine, print_machine
from pyarrow import compute, dataset, parquet

from longform.data.readers import DocumentReader

FILES = 8
KILLS = 5
NODES = 3
STEPS = ("speed", "faults", "resume", "memory")


def write_corpus(source: Path, count: int, folder: Path) -> None:
    """Write so many documents, with ids of their own, into parquet files."""
    documents = list(DocumentReader(source, labelled=False))
    folder.mkdir(parents=True)
    for number in range(FILES):
        places = range(number * count // FILES, (number + 1) * count // FILES)
        rows = {
            "id": [f"{place}-{documents[place % len(documents)].id}" for place in places],
            "text": [documents[place % len(documents)].text for place in places],
        }
        parquet.write_table(pa.table(rows), folder / f"{number}.parquet", row_group_size=256)


class Bench:
    """One bundle, one corpus, runs of the command line."""

    def __init__(self, bundle: Path, corpus: Path, work: Path, part_rows: int) -> None:
        self.bundle, self.corpus, self.work, self.part_rows = bundle, corpus, work, part_rows

    def command(self, output: Path, *more: str, corpus: Path | None = None) -> list[str]:
        """Return the command line of a run."""
        return [
            *(sys.executable, "-m", "longform", "predict", str(self.bundle)),
            *("--input", str(corpus or self.corpus), "--output", str(output)),
            *("--part-rows", str(self.part_rows), "--json", *more),
        ]

    def run(self, name: str, *more: str) -> dict[str, Any]:
        """Run to the end and return the summary."""
        output = self.work / name
        shutil.rmtree(output, ignore_errors=True)
        started = time.perf_counter()
        done = subprocess.run(self.command(output, *more), stdout=subprocess.PIPE, check=True)
        told: dict[str, Any] = json.loads(done.stdout)
        return {**told, "wall_seconds": round(time.perf_counter() - started, 2)}

    def rows(self, name: str) -> pa.Table:
        """Return all answers, in order."""
        table = dataset.dataset(self.work / name / "answers", partitioning=None).to_table()
        return table.sort_by([("file", "ascending"), ("row", "ascending")])

    def compare(self, name: str, other: str) -> dict[str, Any]:
        """Compare the answers of two runs row for row."""
        one, two = self.rows(name), self.rows(other)
        places = two.group_by(["file", "row"]).aggregate([("id", "count")])
        gap = None
        if one.num_rows == two.num_rows:
            apart = compute.abs(compute.subtract(one["score"], two["score"]))
            gap = float(compute.max(apart).as_py())
        return {
            "rows": two.num_rows,
            "rows_twice": two.num_rows - places.num_rows,
            "is_equal": one.equals(two),
            "largest_difference_of_scores": gap,
        }


def measure_speed(bench: Bench, rounds: int) -> dict[str, Any]:
    """Run both engines in turns."""
    engines: dict[str, list[dict[str, Any]]] = {"local": [], "ray": []}
    for turn in range(rounds):
        for engine, told in engines.items():
            told.append(bench.run(f"{engine}-{turn}", "--engine", engine))
            print(engine, told[-1]["documents_per_second"], "documents/s", flush=True)
    rates = {
        name: [item["documents_per_second"] for item in told] for name, told in engines.items()
    }
    ratios = [two / one for one, two in zip(rates["local"], rates["ray"], strict=True)]
    return {
        "documents_per_second": rates,
        "wall_seconds": {
            name: [item["wall_seconds"] for item in told] for name, told in engines.items()
        },
        "ray_to_local": [round(value, 3) for value in ratios],
        "comparison": bench.compare("local-0", "ray-0"),
    }


def lose_machines(bench: Bench) -> dict[str, Any]:
    """Kill two of four nodes, then a worker, while a job runs."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(NODES)]
    output = bench.work / "faults"
    shutil.rmtree(output, ignore_errors=True)
    command = bench.command(output, "--engine", "ray", "--address", cluster.address)
    started = time.perf_counter()
    events: list[dict[str, Any]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for what in ("node", "node", "worker"):
            before = _parts(output)
            while _parts(output) < before + 2 and process.poll() is None:
                time.sleep(0.2)
            if process.poll() is not None:
                break
            if what == "node":
                cluster.remove_node(nodes.pop(), allow_graceful=False)
            else:
                next(_workers()).send_signal(signal.SIGKILL)
            seconds = round(time.perf_counter() - started, 1)
            events.append({"killed": what, "seconds": seconds, "parts_done": _parts(output)})
            print(events[-1], flush=True)
        assert process.stdout is not None
        told = json.loads(process.stdout.read())
    cluster.shutdown()
    return {
        "events": events,
        "seconds": round(time.perf_counter() - started, 1),
        "exit_status": process.returncode,
        "summary": told,
        "comparison": bench.compare("local-0", "faults"),
    }


def interrupt(bench: Bench, seed: int) -> dict[str, Any]:
    """Kill the driver at random moments, go on, and count what was done twice."""
    generator = random.Random(seed)
    output = bench.work / "resume"
    shutil.rmtree(output, ignore_errors=True)
    total = _parts(bench.work / "local-0")
    written: dict[Path, int] = {}
    kills: list[int] = []
    for _ in range(KILLS):
        process = subprocess.Popen(bench.command(output), stdout=subprocess.DEVNULL)
        until = _parts(output) + generator.randint(1, max(1, total // (KILLS + 2)))
        while _parts(output) < until and process.poll() is None:
            time.sleep(0.05)
        time.sleep(generator.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills.append(_parts(output))
        written |= {path: path.stat().st_mtime_ns for path in output.glob("answers/*/*.parquet")}
    done = subprocess.run(bench.command(output, "--resume"), stdout=subprocess.PIPE, check=True)
    again = sum(path.stat().st_mtime_ns != when for path, when in written.items())
    return {
        "killed_after_parts": kills,
        "parts": total,
        "parts_scored_twice": again,
        "summary": json.loads(done.stdout),
        "comparison": bench.compare("local-0", "resume"),
    }


def measure_memory(bench: Bench, source: Path, counts: tuple[int, int]) -> dict[str, Any]:
    """Return the largest resident sets of a small and of a large run, in MB."""
    found: dict[str, Any] = {}
    for count in counts:
        corpus = bench.work / f"corpus-{count}"
        shutil.rmtree(corpus, ignore_errors=True)
        write_corpus(source, count, corpus)
        for engine in ("local", "ray"):
            output = bench.work / "memory"
            shutil.rmtree(output, ignore_errors=True)
            command = bench.command(output, "--engine", engine, corpus=corpus)
            peaks = _watch(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            found.setdefault(engine, {})[count] = peaks
            print(engine, count, peaks, flush=True)
    return found


def _watch(process: subprocess.Popen[bytes]) -> dict[str, float]:
    """Follow a run and return the peak of the driver and of the largest worker, in MB."""
    driver, worker = 0.0, 0.0
    own = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            driver = max(driver, own.memory_full_info().uss)
            children = own.children(recursive=True)
        except psutil.NoSuchProcess:
            break
        for child in [*children, *_workers()]:
            try:
                name = " ".join(child.cmdline())
                if "spawn_main" in name or "_Scorer" in name:
                    # What is shared, such as Ray's store of objects, is counted by nobody twice.
                    worker = max(worker, child.memory_full_info().uss)
            except psutil.Error:
                continue
        time.sleep(0.2)
    return {"driver": round(driver / 1e6, 1), "largest_worker": round(worker / 1e6, 1)}


def _workers() -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or [""]
        if line[0].startswith("ray::") and "_Scorer" in " ".join(line):
            yield process


def _parts(output: Path) -> int:
    return len(list(output.glob("answers/*/*.parquet")))


def main() -> None:
    """Run the steps that are asked for and write what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--part-rows", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    corpus = arguments.work / "corpus"
    if not corpus.is_dir():
        write_corpus(arguments.data, arguments.documents, corpus)
    bench = Bench(arguments.bundle, corpus, arguments.work, arguments.part_rows)
    machine = describe_machine()
    print_machine(machine)
    found: dict[str, Any] = {"machine": machine, "documents": arguments.documents}
    if arguments.json.is_file():
        found |= json.loads(arguments.json.read_text("utf-8"))
    counts = (arguments.documents // 10, arguments.documents)
    steps = {
        "speed": lambda: measure_speed(bench, arguments.rounds),
        "faults": lambda: lose_machines(bench),
        "resume": lambda: interrupt(bench, arguments.seed),
        "memory": lambda: measure_memory(bench, arguments.data, counts),
    }
    for name in arguments.steps:
        found[name] = {**steps[name](), "load": os.getloadavg()[0]}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(json.dumps({name: found[name]}, indent=2), flush=True)


if __name__ == "__main__":
    main()
