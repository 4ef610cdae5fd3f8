"""From a trained model to tasks, from their answers to a model that knows a label more."""

import json

import numpy as np
import pytest
from tiny_runs import DECIDING, FILLER, make_documents, succeed, train_in_python

import longform
from longform.export.label_addition import add_label
from longform.models import load_classifier
from longform.types import Document

NEW = "知识产权"
SENTENCE = "被告未经许可使用原告的注册商标，侵害了原告的专利权和商标权，应当停止侵权。"


def new_documents(count, seed):
    generator = np.random.default_rng(seed)
    found = []
    for index in range(count):
        sentences = list(generator.choice(FILLER, 14))
        sentences.insert(int(generator.integers(14)), SENTENCE)
        found.append(Document(f"new-{seed}-{index}", "".join(sentences), NEW))
    return found


@pytest.fixture(scope="module", params=["three labels", "one logit for two"])
def bundle(request, own_folders, tmp_path_factory):
    if request.param == "three labels":
        return request.getfixturevalue("trained_bag")[0]
    labels = sorted(DECIDING)[:2]
    train, validation = (
        [item for item in make_documents(count, seed) if item.label in labels]
        for count, seed in ((72, 1), (24, 2))
    )
    target = tmp_path_factory.mktemp("active") / "bundle"
    return train_in_python(train, validation, target, "binary_logits=1", "num_train_epochs=6")


def test_a_neural_bundle_learns_a_label(bundle, tmp_path):
    with longform.load(bundle, "onnx") as before:
        old = [item for item in make_documents(36, seed=4) if item.label in before.labels]
        judged = [*old, *new_documents(8, seed=6)]
        logits = before.scorer.score(judged).logits
        addition = add_label(before, NEW, new_documents(8, seed=5), old, tmp_path / "new")
    report = addition.report
    assert report.recall >= 0.75
    assert report.accuracy_after >= report.accuracy_before - 0.1
    assert addition.parity["onnx:fp32"].passed
    with longform.load(tmp_path / "new", "onnx") as after:
        assert after.labels == (*before.labels, NEW)
        found = after.scorer.score(judged).logits
        assert np.abs(found[:, :-1] - logits).max() < 1e-4
        answers = [item.label for item in after.predict(judged)]
        assert np.mean([a == NEW for a in answers[len(old) :]]) >= 0.75
        after.check_golden()
    assert load_classifier(tmp_path / "new").config.num_labels == len(after.labels)


def test_tasks_of_a_neural_bundle(bundle, tmp_path):
    pool = tmp_path / "pool.jsonl"
    rows = [{"id": d.id, "text": d.text} for d in make_documents(30, seed=7)]
    pool.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    target = tmp_path / "tasks.json"
    arguments = ("--data", pool, "--count", 4, "--output", target, "--format", "label-studio")
    printed = succeed(
        "select", bundle, *arguments, "--near-duplicates", "ignore", "--backend", "onnx", "--json"
    ).json
    tasks = json.loads(target.read_text("utf-8"))
    assert [task["data"]["id"] for task in tasks] == printed["ids"]
    assert len(set(printed["ids"])) == 4
    for task in tasks:
        for item in task["predictions"][0]["result"][1:]:
            span = item["value"]
            assert task["data"]["text"][span["start"] : span["end"]] == span["text"]
    assert printed["passage_tokens"] < 0.35 * printed["tokens"]
