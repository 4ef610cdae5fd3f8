"""Several labels a document, pairs of texts and one logit: each from a file to an answer."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import BAG_SETTINGS, DECIDING, FILLER, make_documents, run, succeed, write_csv

from longform.bundle import load_bundle

pytestmark = pytest.mark.usefixtures("own_folders")


def write_label_sets(path: Path, count: int, seed: int) -> Path:
    """Each label has its sentence, which stands in the document or does not."""
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        labels = [name for name in DECIDING if generator.random() < 0.5]
        sentences = [*generator.choices(FILLER, k=8), *(DECIDING[name] for name in labels)]
        generator.shuffle(sentences)
        rows.append({"id": f"{seed}-{number}", "text": "".join(sentences), "label": labels})
    if path.suffix == ".jsonl":
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_text("".join(lines), encoding="utf-8")
        return path
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "text", "label"))
        # A document without labels has an empty field only where a separator is named.
        writer.writerows((row["id"], row["text"], "|".join(row["label"])) for row in rows)
    return path


def write_pairs(path: Path, count: int, seed: int) -> Path:
    """Two texts are `same` when one sentence decides both."""
    generator = random.Random(seed)
    names = sorted(DECIDING)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "other", "label"))
        for number in range(count):
            first = generator.choice(names)
            second = first if number % 2 else generator.choice([n for n in names if n != first])
            texts = []
            for name in (first, second):
                sentences = [*generator.choices(FILLER, k=3), DECIDING[name]]
                generator.shuffle(sentences)
                texts.append("".join(sentences))
            writer.writerow((*texts, "same" if first == second else "other"))
    return path


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    train = write_label_sets(folder / "train.jsonl", 120, seed=1)
    validation = write_label_sets(folder / "validation.jsonl", 40, seed=2)
    output = folder / "model"
    result = succeed(
        *("train", "--data", train, "--validation", validation, "--output", output, "--json"),
        *("--set", *BAG_SETTINGS, "num_train_epochs=20"),
    )
    return output, validation, result


def test_several_labels_are_trained_exported_and_evaluated(several):
    output, validation, result = several
    description = load_bundle(output).description
    assert description.problem_type == "multi_label_classification"
    assert set(description.decision["thresholds"]) == set(DECIDING)
    assert result.json["parity"]["onnx:fp32"]["passed"]
    assert result.json["metrics"]["macro_f1"] > 0.9
    content = succeed("evaluate", output, "--data", validation, "--json").json
    assert content["problem_type"] == "multi_label_classification"
    # The trainer and the served bundle decide by one rule.
    assert content["accuracy"] == pytest.approx(result.json["metrics"]["accuracy"])
    assert content["macro_f1"] == pytest.approx(result.json["metrics"]["macro_f1"])
    assert content["micro_f1"] > 0.9
    assert content["macro_roc_auc"] > 0.95
    assert content["confusions"] == []


def test_several_labels_are_predicted_into_files_and_onto_the_screen(several, tmp_path):
    output, validation, _ = several
    target = tmp_path / "answers.jsonl"
    succeed("predict", output, "--input", validation, "--output", target)
    lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    thresholds = load_bundle(output).description.decision["thresholds"]
    for line in lines:
        given = {item["label"] for item in line["labels"]}
        assert given == {s["label"] for s in line["scores"] if s["score"] >= thresholds[s["label"]]}
    table = tmp_path / "answers.csv"
    succeed("predict", output, "--input", validation, "--output", table)
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["labels"] for row in rows] == [
        "|".join(item["label"] for item in line["labels"]) for line in lines
    ]
    shown = succeed("predict", output, "".join(FILLER)).out
    assert "no label reaches its threshold" in shown


def test_labels_with_a_separator_are_those_of_a_list(several, tmp_path):
    output, validation, _ = several
    table = write_label_sets(tmp_path / "validation.csv", 40, seed=2)
    lists = succeed("evaluate", output, "--data", validation, "--json").json
    fields = succeed("evaluate", output, "--data", table, "--label-separator", "|", "--json").json
    # An empty field is a missing label in a table and is said; a list may be empty.
    assert fields["documents"] + fields["skipped_rows"] == lists["documents"]


def test_the_report_of_several_labels_shows_no_confusion(several, tmp_path):
    output, validation, _ = several
    report = tmp_path / "report.html"
    succeed("evaluate", output, "--data", validation, "--report", report)
    page = report.read_text(encoding="utf-8")
    assert "micro-F1" in page
    assert "What is taken for what" not in page


def test_pairs_are_trained_exported_evaluated_and_predicted(tmp_path):
    train = write_pairs(tmp_path / "train.csv", 240, seed=1)
    test = write_pairs(tmp_path / "test.csv", 60, seed=2)
    output = tmp_path / "model"
    result = succeed(
        *("train", "--data", train, "--validation", test, "--output", output, "--json"),
        *("--set", *BAG_SETTINGS, "text_pair_column=other", "num_train_epochs=25"),
        *("aggregator=max", "learning_rate=0.01"),
    )
    assert result.json["parity"]["onnx:fp32"]["passed"]
    assert load_bundle(output).description.text_pair
    # The bundle knows which column the second text stands in.
    content = succeed("evaluate", output, "--data", test, "--json").json
    assert content["accuracy"] > 0.8
    refused = run("predict", output, "一份文书。")
    assert refused.status == 2
    assert "two texts together" in refused.err
    same = DECIDING["劳动"]
    answer = succeed("predict", output, same, "--text-pair", same, "--json", "--evidence").json
    assert answer["predictions"][0]["label"] == "same"
    assert {item["part"] for item in answer["predictions"][0]["evidence"]} == {0, 1}


def test_one_logit_answers_as_two_classes_do(tmp_path):
    documents = [item for item in make_documents(72, seed=1) if item.label != "租赁"]
    train = write_csv(tmp_path / "train.csv", documents)
    output = tmp_path / "model"
    succeed(
        *("train", "--data", train, "--validation", train, "--output", output),
        *("--set", *BAG_SETTINGS, "binary_logits=1"),
    )
    content = succeed("predict", output, DECIDING["劳动"], "--json").json
    scores = content["predictions"][0]["scores"]
    assert content["predictions"][0]["label"] == "劳动"
    assert np.isclose(sum(item["score"] for item in scores), 1)


def test_one_logit_is_refused_for_three_classes(tmp_path):
    train = write_csv(tmp_path / "train.csv", make_documents(36, seed=1))
    result = run(
        *("train", "--data", train, "--validation", train, "--output", tmp_path / "x"),
        *("--set", "binary_logits=1"),
    )
    assert result.status == 2
    assert "one of two labels" in result.err
