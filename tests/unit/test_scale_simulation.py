"""The simulation behind docs/scale.md keeps what it must: parts, work, order of clusters."""

from __future__ import annotations

import importlib
import importlib.util
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "scale_simulation.py"


@pytest.fixture(scope="module")
def simulation():
    specification = importlib.util.spec_from_file_location("scale_simulation", PATH)
    module = importlib.util.module_from_spec(specification)
    # Dataclasses look their module up by its name.
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules[specification.name]


def files_of(simulation, files, parts, seed=0, **sizes):
    generator = random.Random(seed)
    return [
        [simulation.Part(10, generator.uniform(5, 15), **sizes) for _ in range(parts)]
        for _ in range(files)
    ]


def test_each_part_is_finished_once_and_work_is_kept(simulation):
    files = files_of(simulation, files=6, parts=20, stored_bytes=1e6, text_bytes=3e6)
    cluster = simulation.Cluster(3, 4, readers=2, storage_rate=1e7, network_rate=1e7)
    outcome = simulation.Simulation(cluster, files).run()
    assert outcome.finished == [1] * 120
    assert outcome.documents == 1_200
    work = sum(part.seconds for file in files for part in file)
    assert outcome.worker_seconds == pytest.approx(work)
    assert outcome.seconds >= work / 12
    assert outcome.seconds >= 120 * 1e6 / 1e7


def test_more_machines_are_never_slower_where_nothing_is_shared(simulation):
    files = files_of(simulation, files=8, parts=30)
    seconds = [
        simulation.Simulation(simulation.Cluster(count, 2, readers=8), files).run().seconds
        for count in (1, 2, 4, 8, 16)
    ]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] / seconds[2] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize(
    ("change", "bottleneck", "rate"),
    [
        ({"driver_seconds": 2.0}, "driver", 10 / 2.0),
        ({"readers": 2, "reading_seconds": 5.0}, "readers", 2 * 10 / 5.0),
        ({"storage_rate": 4e5}, "storage", 10 * 4e5 / 1e6),
        # Workers beside the reader need no network: four of them, ten seconds a part.
        ({"readers": 1, "network_rate": 6e5}, "network", 10 * 6e5 / 3e6 + 4),
    ],
)
def test_what_is_shared_bounds_the_rate_and_is_named(simulation, change, bottleneck, rate):
    files = files_of(simulation, files=8, parts=30, stored_bytes=1e6, text_bytes=3e6)
    cluster = replace(simulation.Cluster(10, 4, readers=8), **change)
    outcome = simulation.Simulation(cluster, files).run()
    assert outcome.bottleneck == bottleneck
    assert outcome.steady_rate == pytest.approx(rate, rel=0.15)


def test_lost_machines_repeat_their_parts_and_nothing_else(simulation):
    files = files_of(simulation, files=8, parts=40)
    calm = simulation.Cluster(5, 2, readers=4, notice_seconds=20, replace_seconds=60)
    stormy = replace(calm, losses_per_hour=15.0)
    quiet = simulation.Simulation(calm, files).run()
    outcome = simulation.Simulation(stormy, files, seed=1).run()
    assert outcome.finished == [1] * 320
    assert outcome.documents == quiet.documents
    assert outcome.lost_machines > 1
    assert 0 < outcome.repeated <= 2 * outcome.lost_machines
    assert outcome.seconds > quiet.seconds
    assert outcome.worker_seconds == pytest.approx(quiet.worker_seconds)


def test_slow_machines_take_fewer_parts_and_lengthen_the_end(simulation):
    files = files_of(simulation, files=8, parts=40)
    even = simulation.Cluster(8, 2, readers=8)
    uneven = replace(even, slow_share=0.25, slow_factor=3.0)
    fast = simulation.Simulation(even, files).run()
    slowed = simulation.Simulation(uneven, files).run()
    # A quarter at a third of the speed leaves 5/6: whoever is free takes the next part.
    assert slowed.steady_rate / fast.steady_rate == pytest.approx(5 / 6, rel=0.1)
    assert slowed.seconds > fast.seconds * 1.15


def test_the_engine_of_one_machine_waits_for_its_oldest_part(simulation):
    parts = [simulation.Part(1, 100.0), *[simulation.Part(1, 1.0)] * 39]
    free = simulation.Cluster(1, 2, waiting=2)
    waiting = replace(free, in_order=True)
    assert simulation.Simulation(free, [parts]).run().seconds == pytest.approx(100)
    # Three others are read beside the slow one, and no more until it is finished.
    expected = 100 + 36 / 2
    assert simulation.Simulation(waiting, [parts]).run().seconds == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(("seconds", "status"), [(12.0, 0), (20.0, 1)])
def test_nothing_is_extrapolated_from_a_run_that_was_not_predicted(
    seconds, status, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(PATH.parent)
    scale = importlib.import_module("scale")
    job = {"part_seconds": [1.0] * 19, "documents": 2_000}
    turn = {
        "alone": job,
        "beside": [job, job],
        "together": {**job, "seconds": seconds},
        "opening_seconds": 1.0,
        "reading_seconds_per_part": 0.01,
    }
    measured = tmp_path / "measured.json"
    measured.write_text(json.dumps({"rounds": [turn] * 3}), encoding="utf-8")
    told = ["--measured", str(measured), "--json", str(tmp_path / "out.json"), "--validate-only"]
    assert scale.main(told) == status
    assert scale.validate({"rounds": [turn]})["predicted_seconds"] == [pytest.approx(11.0, abs=0.2)]
    assert not (tmp_path / "out.json").exists()
