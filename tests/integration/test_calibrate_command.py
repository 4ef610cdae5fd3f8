"""`longform calibrate` end to end: what it writes into a bundle, and every door answers by it."""

from __future__ import annotations

import csv
import json
import random
import shutil
from pathlib import Path

import pytest
from tiny_runs import DECIDING, FILLER, run, succeed, write_csv

import longform
from longform.bundle import load_bundle
from longform.types import Document


def make_hard(count: int, seed: int) -> list[Document]:
    """Documents of which one in four says nothing of its label."""
    generator = random.Random(seed)
    labels = sorted(DECIDING)
    documents = []
    for index in range(count):
        label = generator.choice(labels)
        sentences = generator.choices(FILLER, k=6)
        if generator.random() > 0.25:
            sentences.insert(generator.randint(0, 6), DECIDING[label])
        documents.append(Document(f"{seed}-{index}", f"{index}。" + "".join(sentences), label))
    return documents


@pytest.fixture(scope="module")
def model(own_folders, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("calibrate")
    train = write_csv(folder / "train.csv", make_hard(90, seed=1))
    settings = ("--set", "linear_bits=14", "validation_split=0.2")
    options = ("--encoder", "linear", "--output", folder / "model", *settings)
    succeed("train", "--data", train, *options)
    return folder / "model"


@pytest.fixture
def own(model, tmp_path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_csv(tmp_path_factory.mktemp("held") / "held.csv", make_hard(300, seed=2))


def test_a_bundle_is_calibrated_and_answers_so(own, data, tmp_path):
    before = load_bundle(own)
    page = tmp_path / "report.html"
    flags = ("--max-error", "0.1", "--report", page)
    told = succeed("calibrate", own, "--data", data, *flags).out
    for word in ("temperature", "calibration", "label sets", "answers", "are of 90 others"):
        assert word in told
    assert "What calibration is worth" in page.read_text(encoding="utf-8")
    after = load_bundle(own)
    assert after.digest != before.digest
    decision = after.description.decision
    assert decision["calibrated"] is True
    record = decision["calibration"]
    assert record["documents"] == {"scaling": 75, "bounding": 135, "testing": 90}
    assert record["bundle_digest"] == before.digest
    assert record["certified"]["p_value"] <= 0.05
    assert before.files == after.files

    with longform.load(own) as predictor:
        clear = predictor.predict([FILLER[0] + DECIDING["劳动"] + FILLER[1]])[0]
        unclear = predictor.predict(["".join(FILLER)])[0]
    assert (clear.calibrated, clear.abstained, clear.prediction_set) == (True, False, ("劳动",))
    assert unclear.abstained
    assert len(unclear.prediction_set) > 1
    assert unclear.prediction_set[0] == unclear.label


def test_bulk_answers_have_the_new_columns(own, data, tmp_path):
    plain, table, lines = (tmp_path / name for name in ("0.csv", "1.csv", "1.jsonl"))
    succeed("predict", own, "--input", data, "--output", plain)
    succeed("calibrate", own, "--data", data, "--min-coverage", "0.8", "--json")
    for target in (table, lines):
        succeed("predict", own, "--input", data, "--output", target)
    header = plain.read_text("utf-8").splitlines()[0]
    assert table.read_text("utf-8").splitlines()[0] == f"{header},abstained,prediction_set"
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
    assert [row["abstained"] == "true" for row in rows] == [item["abstained"] for item in found]
    assert [row["prediction_set"].split("|") for row in rows] == [
        item["prediction_set"] for item in found
    ]
    answered = sum(not item["abstained"] for item in found) / len(found)
    assert answered == pytest.approx(0.8, abs=0.1)


def test_evaluate_tells_what_calibration_is_worth(own, data):
    assert succeed("evaluate", own, "--data", data, "--json").json["confidence"] is None
    costs = own.parent / "costs.json"
    costs.write_text(json.dumps({"costs": {"劳动": {"买卖": 9}}, "reject": 0.4}))
    found = succeed("calibrate", own, "--data", data, "--costs", costs, "--json").json
    assert found["digest"] == load_bundle(own).digest
    figures = succeed("evaluate", own, "--data", data, "--json").json["confidence"]
    assert figures["costs"]["cheapest"] < figures["costs"]["likeliest"]
    assert figures["sets"]["coverage"]["trials"] == 300
    assert 0 < figures["abstention"]["answered"]["successes"] < 300


@pytest.mark.parametrize(
    ("flags", "status", "found"),
    [
        (("--max-error", "0.1", "--min-coverage", "0.9"), 2, "not to both"),
        (("--max-error", "0.01"), 2, "665 documents"),
        (("--class-conditional", "--coverage", "0"), 2, "--class-conditional"),
        (("--costs", "absent.json"), 2, "absent.json"),
        (("--report", "model/report.html"), 2, "out of the bundle"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    own, data, tmp_path, monkeypatch, flags, status, found
):
    monkeypatch.chdir(tmp_path)
    digest = load_bundle(own).digest
    result = run("calibrate", own, "--data", data, *flags)
    assert result.status == status
    assert found in result.err
    assert load_bundle(own).digest == digest


def test_an_error_that_cannot_be_certified_is_refused_by_the_gate(own, tmp_path):
    wrong = [
        Document(item.id, item.text, "买卖" if index % 2 else item.label)
        for index, item in enumerate(make_hard(300, seed=5))
    ]
    digest = load_bundle(own).digest
    result = run(
        "calibrate", own, "--data", write_csv(tmp_path / "wrong.csv", wrong), "--max-error", "0.05"
    )
    assert result.status == 3
    assert "Give more documents, or --max-error 0." in result.err
    assert load_bundle(own).digest == digest


def test_copies_are_left_out_and_unknown_labels_refused(own, tmp_path):
    documents = make_hard(150, seed=6)
    copies = write_csv(tmp_path / "copies.csv", [*documents, *documents[:30]])
    result = run("calibrate", own, "--data", copies)
    assert result.status == 0, result.err
    assert "30 documents have the text of an earlier one" in result.err
    unknown = [*documents, Document("x", "某文", "继承")]
    result = run("calibrate", own, "--data", write_csv(tmp_path / "unknown.csv", unknown))
    assert result.status == 2
    assert "继承" in result.err
