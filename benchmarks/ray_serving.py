"""What Ray Serve costs: the same bundle behind the plain server and behind one replica of Ray.

    python benchmarks/ray_serving.py --bundle e5 --bag bag --data dev.jsonl

Both servers are started as users do, in turns, on the same processors, and loaded from a second
process on loopback: whole documents from 32 clients, short requests from 32, and short requests
from one, whose time shows what a request takes on its way. Vectors are not kept. Writes
`benchmarks/results/ray_serving.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from machine import describe_machine, print_machine
from serving import Bodies, load, serving

RESULTS = Path(__file__).parent / "results" / "ray_serving.json"


def engines(threads: int) -> dict[str, tuple[str, ...]]:
    """Return the flags of each engine; both may use all threads."""
    return {
        "plain": ("--no-grpc",),
        "ray": ("--engine", "ray", "--cpus-per-replica", str(threads)),
    }


def compare(bundle: str, bodies: Bodies, rounds: int, seconds: float) -> dict[str, Any]:
    """Load both engines in turns with the three kinds of requests."""
    kinds: dict[str, tuple[Path, dict[str, Any]]] = {
        "documents, 32 clients": (bodies.documents, {"clients": 32, "seconds": seconds}),
        "short, 32 clients": (bodies.short, {"clients": 32, "seconds": seconds}),
        "short, one client": (bodies.short, {"clients": 1, "seconds": seconds / 2}),
    }
    runs: dict[str, dict[str, list[Any]]] = {kind: {"plain": [], "ray": []} for kind in kinds}
    for _ in range(rounds):
        for engine, flags in engines(os.cpu_count() or 1).items():
            with serving(bundle, "--cache-memory", "0", engine=flags) as server:
                for kind, (file, how) in kinds.items():
                    load(server, file, clients=how["clients"], seconds=3)
                    runs[kind][engine].append(load(server, file, **how))
                    print(kind, engine, runs[kind][engine][-1], flush=True)
    return {kind: {**told, **_ratios(told)} for kind, told in runs.items()}


def _ratios(told: dict[str, list[Any]]) -> dict[str, Any]:
    """Ratios of runs of the same round."""
    pairs = list(zip(told["plain"], told["ray"], strict=True))
    rates = [two["per_second"] / one["per_second"] for one, two in pairs]
    return {
        "ray_to_plain_rate": [round(value, 3) for value in rates],
        "median_ray_to_plain_rate": round(statistics.median(rates), 3),
        "ray_minus_plain_p50_ms": [round(two["p50_ms"] - one["p50_ms"], 2) for one, two in pairs],
    }


def main() -> None:
    """Measure the bundles that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="e5", help="an encoder's bundle")
    parser.add_argument("--bag", default="runs/demo", help="a bag's bundle")
    parser.add_argument("--data", default="data/test.csv")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12.0, help="of a run")
    given = parser.parse_args()
    named = {"encoder": given.bundle, "bag": given.bag}
    there = {name: bundle for name, bundle in named.items() if Path(bundle).exists()}
    for name in named.keys() - there.keys():
        print(f"No bundle in {named[name]}: {name} is not measured.")
    if not there:
        return
    found: dict[str, Any] = {"machine": describe_machine()}
    print_machine(found["machine"])
    with tempfile.TemporaryDirectory() as folder:
        bodies = Bodies(Path(given.data), Path(folder))
        for name, bundle in there.items():
            found[name] = compare(bundle, bodies, given.rounds, given.seconds)
            found[name]["load"] = round(os.getloadavg()[0], 2)
            RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
