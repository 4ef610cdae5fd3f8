"""Will it scale? Predict a measured run of two workers, then runs of up to 2,000 machines.

First the simulation (`scale_simulation.py`) must reproduce a job of two workers from what was
measured without one (`scale_measurement.py`); where the two differ by more than 15 %, nothing is
extrapolated and the exit status is 1. Then it runs a billion documents of 5,000 characters through
clusters, calm ones and such with slow and lost machines, and names what each is bound by.

    python benchmarks/scale.py                                # again from committed measurements
    python benchmarks/scale.py --measured F --bulk F          # from your own
    python benchmarks/scale.py --validate-only --measured F
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cost_model
from machine import describe_machine
from scale_plot import Curve, write_plot
from scale_simulation import Cluster, Part, Simulation

from longform.scale.ray_engine import count_readers

TOLERANCE = 0.15
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000)
PART_ROWS = 1_000
PARTS_OF_FILE = 100
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "scale.svg"


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the extrapolation takes for granted; none of it was measured on a cluster.

    Attributes:
        threads: Hardware threads of a machine.
        network_rate: Bytes a second of a machine: 25 Gbit/s.
        storage_rate: Bytes a second of storage in all.
        reading_rate: Bytes of text a second of a reader: `data.json`, jsonl, the median.
        driver_seconds: Of a part: processor time of Ray's driver, measured by `scale_driver.py`
            with two actors; more actors cost it more.
        opening_seconds: Until a worker is ready.
        slow_share: Of machines, in the second scenario.
        slow_factor: What they take, as a multiple.
        losses_per_hour: Of a machine, in the second scenario: cheap machines that are taken back.
        devices: Accelerators of a machine that has any.
    """

    threads: int = 32
    network_rate: float = 25e9 / 8
    storage_rate: float = 10e9
    reading_rate: float = 122.4e6
    driver_seconds: float = 0.013
    opening_seconds: float = 30.0
    slow_share: float = 0.05
    slow_factor: float = 2.0
    losses_per_hour: float = 0.2
    devices: int = 8


@dataclass(frozen=True, slots=True)
class Load:
    """A model on machines of one kind.

    Attributes:
        workers: Of a machine.
        seconds: That one of them takes for a document.
        device: `cpu`, or `gpu`, whose seconds rest on no measured figures.
    """

    name: str
    workers: int
    seconds: float
    device: str


def validate(measured: dict[str, Any]) -> dict[str, Any]:
    """Predict the job of two workers of each round, and compare medians over the rounds."""
    predicted, seen, contentions = [], [], []
    for number, turn in enumerate(measured["rounds"]):
        reading = turn["reading_seconds_per_part"]
        alone = statistics.fmean(turn["alone"]["part_seconds"])
        both = [value for item in turn["beside"] for value in item["part_seconds"]]
        contentions.append(statistics.fmean(both) / alone)
        cluster = Cluster(
            workers=2,
            in_order=True,
            opening_seconds=turn["opening_seconds"],
            contention=contentions[-1],
            reading_seconds=reading,
        )
        # The first part, which is not measured alone, is taken for an average one; reading, which
        # one worker does itself and two have done for them, is taken off.
        seconds = [alone, *turn["alone"]["part_seconds"]]
        parts = [Part(1, max(0.0, value - reading)) for value in seconds]
        predicted.append(Simulation(cluster, [parts], seed=number).run().seconds)
        seen.append(turn["together"]["seconds"])
    documents = measured["rounds"][0]["together"]["documents"]
    ratios = [one / two for one, two in zip(predicted, seen, strict=True)]
    ratio = statistics.median(ratios)
    return {
        "documents": documents,
        "contention": [round(value, 3) for value in contentions],
        "predicted_seconds": [round(value, 2) for value in predicted],
        "measured_seconds": [round(value, 2) for value in seen],
        "predicted_documents_per_second": round(documents / statistics.median(predicted), 1),
        "measured_documents_per_second": round(documents / statistics.median(seen), 1),
        "predicted_over_measured": [round(value, 3) for value in ratios],
        "median_ratio": round(ratio, 3),
        "passes": abs(ratio - 1) <= TOLERANCE,
    }


def spread_of(measured: dict[str, Any]) -> list[float]:
    """Return seconds a document of measured parts, as multiples of their mean."""
    rates = [
        seconds / documents
        for turn in measured["rounds"]
        for seconds, documents in zip(
            turn["alone"]["part_seconds"], turn["alone"]["part_documents"], strict=True
        )
    ]
    mean = statistics.fmean(rates)
    return [rate / mean for rate in rates]


def loads(record: dict[str, Any], told: Assumptions) -> list[Load]:
    """Return what is put on the clusters.

    A light model has a worker for each thread; a transformer one worker a machine with all its
    threads, whose first stage, where it has one, keeps to a single thread.
    """
    linear, cascade, full, _ = record["cpu"]
    device = record["devices"][0]

    def shared(item: dict[str, Any]) -> float:
        threaded = item["core_seconds"] - item["serial_seconds"]
        return float(item["serial_seconds"] + threaded / told.threads)

    return [
        Load("linear", told.threads, linear["core_seconds"], "cpu"),
        Load("cascade", 1, shared(cascade), "cpu"),
        Load("full e5-small, int8", 1, shared(full), "cpu"),
        Load(
            f"full e5-small, {told.devices} {device['device']} a machine",
            told.devices,
            1 / device["documents_per_second"],
            "gpu",
        ),
    ]


def extrapolate(
    load: Load, machines: int, told: Assumptions, spread: list[float], jobs: int = 1, **more: float
) -> dict[str, Any]:
    """Run enough documents to know the rate and the end, and count the others at that rate.

    Args:
        load: The model.
        machines: How many.
        told: What is taken for granted.
        spread: Of the seconds of parts.
        jobs: That the input is divided over, each with its readers and its driver.
        more: Other settings of the cluster.
    """
    text = cost_model.Text()
    size = cost_model.CHARACTERS
    cluster = Cluster(
        machines=machines,
        workers=load.workers,
        readers=jobs * count_readers(math.ceil(machines * load.workers / jobs), load.device),
        reading_seconds=PART_ROWS * size * text.raw_bytes / told.reading_rate,
        storage_rate=told.storage_rate,
        network_rate=told.network_rate,
        driver_seconds=told.driver_seconds / jobs,
        **more,
    )
    generator = random.Random(machines)
    of_each = 60 if more else 12
    count = min(max(2_000, of_each * machines * load.workers), 30_000 if more else 20_000)
    stored = PART_ROWS * (size * text.stored_bytes + text.answer_bytes)
    parts = [
        Part(
            PART_ROWS,
            PART_ROWS * load.seconds * statistics.fmean(generator.choices(spread, k=10)),
            stored,
            PART_ROWS * size * text.raw_bytes,
        )
        for _ in range(count)
    ]
    files = [parts[begin : begin + PARTS_OF_FILE] for begin in range(0, count, PARTS_OF_FILE)]
    outcome = Simulation(cluster, files, seed=machines).run()
    left = max(0, cost_model.DOCUMENTS - outcome.documents)
    # Opening is added instead of simulated: what is read ahead meanwhile would flatter the rate.
    seconds = told.opening_seconds + outcome.seconds + left / outcome.steady_rate
    return {
        "machines": machines,
        "documents_per_second": round(outcome.steady_rate),
        "hours": round(seconds / 3_600, 3),
        "bottleneck": outcome.bottleneck,
        "use": {name: round(value, 3) for name, value in outcome.use.items()},
        "lost_machines": outcome.lost_machines,
        "repeated_parts": outcome.repeated,
    }


def sweep(
    record: dict[str, Any], told: Assumptions, spread: list[float]
) -> dict[str, dict[str, Any]]:
    """Run all loads on clusters of all sizes, calm, with faults, and divided over many jobs."""
    faults = {
        "slow_share": told.slow_share,
        "slow_factor": told.slow_factor,
        "losses_per_hour": told.losses_per_hour,
    }
    found: dict[str, dict[str, Any]] = {}
    for load in loads(record, told):
        found[load.name] = {
            "is_measured": load.device == "cpu",
            "workers_per_machine": load.workers,
            "seconds_per_document": load.seconds,
            "calm": [extrapolate(load, count, told, spread) for count in SIZES],
            "faults": [
                extrapolate(load, count, told, spread, **faults) for count in (10, 100, 1_000)
            ],
            "eight_jobs": [
                extrapolate(load, count, told, spread, jobs=8) for count in (10, 100, 1_000)
            ],
        }
        for row in found[load.name]["calm"]:
            rate, hours = row["documents_per_second"], row["hours"]
            print(f"{load.name:40} {row['machines']:5} {rate:10,} {hours:10,.2f} h ", end="")
            print(row["bottleneck"], flush=True)
    return found


def compare_bulk(path: Path, ratio: float) -> dict[str, Any]:
    """Note what a result of `bulk.py` says beside the validation."""
    speed = json.loads(path.read_text(encoding="utf-8")).get("speed", {})
    return {
        "documents_per_second": speed.get("documents_per_second"),
        "ray_to_local": speed.get("ray_to_local"),
        "median_ratio_of_prediction": ratio,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Validate, extrapolate, draw, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    result = cost_model.RESULTS / "scale.json"
    parser.add_argument("--measured", type=Path, help="of scale_measurement.py")
    parser.add_argument("--bulk", type=Path, help="a result of bulk.py, to stand beside")
    parser.add_argument("--linear-seconds", type=float, help="processor time of a document")
    parser.add_argument("--driver-seconds", type=float, help="of a part, in Ray's driver")
    parser.add_argument("--utilisation", type=float, default=0.3)
    parser.add_argument("--validate-only", action="store_true")
    parser.add_argument("--json", type=Path, default=result)
    told = parser.parse_args(arguments)
    before = json.loads(result.read_text(encoding="utf-8")) if result.is_file() else {}
    measured = (
        json.loads(told.measured.read_text(encoding="utf-8"))
        if told.measured
        else before["measured"]
    )
    validation = validate(measured)
    print(json.dumps(validation, indent=2))
    if not validation["passes"]:
        print(f"More than {TOLERANCE:.0%} apart: nothing is extrapolated.", file=sys.stderr)
        return 1
    if told.validate_only:
        return 0
    linear = told.linear_seconds or before["linear_seconds_per_document"]
    driver = told.driver_seconds or before["assumptions"]["driver_seconds"]
    assumptions = replace(Assumptions(), driver_seconds=driver)
    record = cost_model.as_record(linear, told.utilisation)
    found = sweep(record, assumptions, spread_of(measured))
    content = {
        "machine": describe_machine(),
        "load": os.getloadavg()[0],
        "validation": validation,
        "linear_seconds_per_document": linear,
        "assumptions": asdict(assumptions),
        "cost": record,
        "extrapolation": found,
        "measured": measured,
    }
    if told.bulk:
        content["bulk"] = compare_bulk(told.bulk, validation["median_ratio"])
    told.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    curves = [
        Curve(
            name + ("" if item["is_measured"] else " (not measured)"),
            [
                (row["machines"], row["documents_per_second"], row["bottleneck"])
                for row in item["calm"]
            ],
        )
        for name, item in found.items()
    ]
    write_plot(PICTURE, curves)
    return 0


if __name__ == "__main__":
    sys.exit(main())
