"""`longform bakeoff` for real: linear models and a bag on a corpus that is learnt in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_runs import Result, make_documents, succeed, write_csv

SETTINGS = (
    "segment_length=64",
    "bag_dimension=8",
    "bag_buckets=101",
    "vocabulary_size=300",
    "aggregator=mean",
    "per_device_train_batch_size=16",
    "num_train_epochs=2",
    "near_duplicates=ignore",
)
FROZEN = "bert-tiny-head-stacked"
WHO = ("linear", "linear-tail", "small-bag", FROZEN)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_csv(tmp_path_factory.mktemp("data") / "data.csv", make_documents(90, seed=1))


@pytest.fixture(scope="module")
def test_file(tmp_path_factory) -> Path:
    return write_csv(tmp_path_factory.mktemp("data") / "test.csv", make_documents(30, seed=2))


@pytest.fixture(scope="module")
def finished(own_folders, data, test_file, encoder, tmp_path_factory) -> tuple[Result, Path]:
    folder = tmp_path_factory.mktemp("bakeoff") / "run"
    return succeed(*_arguments(data, test_file, encoder, folder, 2)), folder


def _arguments(
    data: Path, test_file: Path, encoder: Path, folder: Path, splits: int
) -> list[object]:
    only = [part for name in WHO for part in ("--only", name)]
    return [
        "bakeoff",
        *("--data", data, "--test", test_file, "--output", folder),
        *("--budget", "30m", "--splits", splits, *only, "--json"),
        *("--contender", "small-bag:encoder=bag", "--encoder", encoder),
        *("--set", *SETTINGS),
    ]


def test_all_are_judged_on_the_same_splits_and_costs_are_measured(finished):
    told = finished[0].json
    rows = {row["name"]: row for row in told["rows"]}
    assert set(rows) == {"majority", *WHO}
    assert {row["splits"] for row in rows.values()} <= {1, 2}
    assert rows["majority"]["accuracy"] == pytest.approx(1 / 3, abs=0.05)
    assert rows["linear"]["accuracy"] > 0.9
    assert all(rows[name]["document_ms"] > 0 for name in WHO)
    assert rows[told["chosen"]]["cost"]["megabytes"] > 0


def test_the_choice_is_a_bundle_that_was_judged_on_unseen_documents(finished, test_file):
    told = finished[0].json
    assert told["unseen"]["figures"][told["chosen"]]["documents"] == 30
    judged = succeed("evaluate", told["bundle"], "--data", test_file, "--json").json
    assert judged["accuracy"] > 0.9
    description = json.loads(Path(told["bundle"], "longform.json").read_text(encoding="utf-8"))
    assert description["training"]["bakeoff"]["contenders_judged"] == 5


def test_the_folder_holds_no_text_and_the_page_needs_nothing_beside_it(finished, data):
    folder = finished[1]
    assert "经济补偿金" in data.read_text(encoding="utf-8")
    for path in (folder / "result.json", folder / "report.html", *folder.glob("splits/*.json")):
        assert "经济补偿金" not in path.read_text(encoding="utf-8")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<svg" in page
    assert f"Take {finished[0].json['chosen']}" in page


def test_a_frozen_encoder_reads_each_document_once_for_all_splits(finished):
    paths = sorted(finished[1].glob(f"splits/{FROZEN}*.json"))
    first, second = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
    assert 0 < first["encoding_seconds"] < first["seconds"]
    assert second["encoding_seconds"] == 0


def test_a_larger_bakeoff_goes_on_from_what_is_there(finished, data, test_file, encoder):
    _, folder = finished
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("splits/*.json")}
    again = succeed(*_arguments(data, test_file, encoder, folder, 3))
    assert "Going on after" in again.err
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("splits/*.json")}
    assert before.items() <= after.items()
    assert len(after) > len(before)
