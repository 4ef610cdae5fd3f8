"""From a file of documents to a bundle to answers: what the command line promises, end to end."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_runs import (
    BAG_SETTINGS,
    DECIDING,
    Result,
    make_documents,
    run,
    succeed,
    train,
    write_csv,
)

import longform
from longform.bundle import load_bundle
from longform.config import DataSettings, RunConfig
from longform.data.readers import read_documents
from longform.errors import InputError
from longform.extras import is_available
from longform.inference import bulk, predictor
from longform.inference.predictor import load
from longform.training.checkpoints import last_complete_checkpoint
from longform.training.fit import fit
from longform.training.initialization import weights_digest
from longform.training.progress import ProgressCallback
from longform.types import Document

openvino = pytest.mark.skipif(not is_available("openvino"), reason="needs the extra openvino")


def read_rows(path: Path) -> list[dict]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# Training and what it leaves


def test_train_learns_and_says_on_standard_output_one_object_and_nothing_else(trained_bag):
    folder, result = trained_bag
    content = result.json
    assert content["bundle"] == str(folder)
    assert content["metrics"]["accuracy"] >= 0.9
    assert content["training"]["kind"] == "bag"
    coverage = content["training"]["coverage"]
    assert coverage["share"] == 1.0
    assert coverage["tokens_used"] == coverage["tokens_total"] > 10_000
    assert content["training"]["documents"] == 48
    assert content["training"]["epochs"] == 6
    assert "epoch   6.0" in result.err
    assert "nan" not in result.err


def test_the_folders_of_a_run_are_gone_when_it_has_ended(bundle):
    left = {path.name for path in bundle.parent.iterdir()}
    assert left == {bundle.name, f"{bundle.name}.logs", f"{bundle.name}.report.html"}


def test_a_bundle_holds_what_its_contract_names(bundle):
    opened = load_bundle(bundle)
    assert opened.files >= {
        "README.md",
        "config.json",
        "golden.jsonl",
        "longform.json",
        "model.safetensors",
        "onnx/encoder.onnx",
        "onnx/head.onnx",
        "parity.json",
        "tokenizer.json",
    }
    description = opened.description
    assert description.labels == tuple(sorted(DECIDING))
    assert description.knobs.segments.segment_length == 32
    assert description.knobs.model["encoder"] == "bag"
    assert description.metrics["macro_f1"] >= 0.9


def test_parity_is_on_record_with_the_machine_and_the_documents(bundle):
    parity = json.loads((bundle / "parity.json").read_text(encoding="utf-8"))
    assert parity["reference"] == "torch:fp32"
    assert parity["machine"]
    onnx = parity["targets"]["onnx:fp32"]
    assert onnx["passed"] is True
    assert 0 <= onnx["largest_logit_difference"] <= 1e-3
    assert onnx["label_agreement"] == 1
    assert onnx["accuracy_change"] == 0
    assert onnx["documents"] == 18
    assert onnx["tokens"] > 1_000
    assert onnx["worst_document"].startswith("2-")


def test_no_user_text_and_no_path_of_this_machine_is_in_a_bundle(bundle, corpus):
    sentences = [text.encode() for text in DECIDING.values()]
    folder = str(corpus.train.parent).encode()
    for path in (item for item in bundle.rglob("*") if item.is_file()):
        content = path.read_bytes()
        assert folder not in content, path
        assert not [text for text in sentences if text in content], path


def test_the_exports_have_the_names_axes_and_operators_of_the_contract(bundle):
    onnx = pytest.importorskip("onnx")
    names = {
        "encoder": (["input_ids", "attention_mask"], ["segment_vector"]),
        "head": (["segment_vectors", "segment_mask", "segment_positions"], ["logits"]),
    }
    for name, (inputs, outputs) in names.items():
        graph = onnx.load(bundle / "onnx" / f"{name}.onnx")
        assert [value.name for value in graph.graph.input] == inputs
        assert [value.name for value in graph.graph.output] == outputs
        assert [entry.version for entry in graph.opset_import if not entry.domain] == [18]
        for value in graph.graph.input:
            batch, length = value.type.tensor_type.shape.dim[:2]
            assert batch.dim_param
            assert length.dim_param


def test_inspect_shows_what_is_in_a_bundle(bundle):
    content = succeed("inspect", bundle, "--json").json
    assert content["digest"] == load_bundle(bundle).digest
    assert content["description"]["id2label"] == {
        str(row): name for row, name in enumerate(sorted(DECIDING))
    }
    assert "onnx:fp32" in content["backends_here"]
    assert content["files"]["model.safetensors"] > 1_000
    assert "verified" in succeed("inspect", bundle).out


def test_inspect_shows_how_a_text_is_cut(bundle, corpus, tmp_path):
    text = corpus.documents[0].text
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    plan = succeed("inspect", bundle, "--text", path, "--json").json["text"]
    assert plan["segments"][0]["start"] == 0
    assert plan["segments"][-1]["end"] == len(text)
    assert plan["coverage"]["segments_used"] == len(plan["segments"]) > 5
    assert all(0 < segment["tokens"] <= 32 for segment in plan["segments"])


def test_r47_the_same_seed_gives_the_same_weights_and_another_seed_others(corpus, tmp_path):
    documents = read_documents(corpus.train).documents
    settings = {
        "segment_length": 32,
        "bag_dimension": 8,
        "bag_buckets": 101,
        "vocabulary_size": 300,
    }

    def weights(name: str, seed: int) -> str:
        config = RunConfig(**settings, num_train_epochs=1, seed=seed)
        trained = fit(config, documents[:24], documents[24:32], tmp_path / name)
        return weights_digest(trained.model)

    first = weights("a", 7)
    assert first == weights("b", 7)
    assert first != weights("c", 8)


def _weights(bundle: Path) -> bytes:
    return (bundle / "model.safetensors").read_bytes()


def test_a_configuration_file_says_what_flags_say_and_may_replace_a_bundle(
    corpus, own_bundle, tmp_path
):
    config = tmp_path / "run.yaml"
    lines = [setting.replace("=", ": ", 1) for setting in BAG_SETTINGS]
    lines += [f"data: {corpus.train}", "validation_split: 0.25", "parity_documents: 4"]
    lines += [f"output_dir: {own_bundle}", "selection: head", "head_tokens: 64"]
    config.write_text("\n".join(lines), encoding="utf-8")
    before = load_bundle(own_bundle).digest
    refused = run("train", config)
    assert refused.status == 2
    assert "--overwrite" in refused.err
    assert load_bundle(own_bundle).digest == before
    result = succeed("train", config, "num_train_epochs=1", "--json", "--overwrite")
    training = result.json["training"]
    assert training["epochs"] == 1
    # Without a file for validation, a quarter of each class is held out.
    assert (training["documents"], training["validation_documents"]) == (36, 12)
    assert training["coverage"]["truncated_documents"] == 36
    assert training["coverage"]["share"] < 0.5
    answer = longform.load(own_bundle).predict([make_documents(1, 5)[0].text])[0]
    assert answer.coverage.truncated
    assert answer.coverage.reason == "selection"


def test_r51_an_export_with_other_weights_is_refused_and_nothing_is_written(
    own_bundle, corpus, tmp_path, monkeypatch
):
    import torch

    from longform.export import runtime_targets

    def export_forgotten(model, path, split):
        with torch.no_grad():
            model.head.classifier.weight.mul_(1.5)
        export_head(model, path, split)
        with torch.no_grad():
            model.head.classifier.weight.div_(1.5)

    export_head = runtime_targets.export_head
    monkeypatch.setattr(runtime_targets, "export_head", export_forgotten)
    before = load_bundle(own_bundle).digest
    settings = [*BAG_SETTINGS, "num_train_epochs=2"]
    result = train(corpus, own_bundle, *settings, options=["--overwrite"])
    assert result.status == 3, result.err
    assert "must give the answers of the trained model" in result.err
    assert "a largest logit difference of" in result.err
    assert "Nothing was written" in result.err
    assert "Traceback" not in result.err
    assert load_bundle(own_bundle).digest == before
    # The work is not lost: with the fault gone, the same command goes straight to the export.
    monkeypatch.setattr(runtime_targets, "export_head", export_head)
    again = train(corpus, own_bundle, *settings, options=["--overwrite"])
    assert again.status == 0, again.err
    assert "Continuing from checkpoint-12" in again.err
    assert "epoch   1.0" not in again.err
    assert load_bundle(own_bundle).digest != before


# Evaluation


def test_evaluate_gives_the_figures_that_are_promised(bundle, corpus):
    content = succeed("evaluate", bundle, "--data", corpus.test, "--json").json
    promised = {"accuracy", "macro_f1", "per_class", "by_length", "coverage", "documents"}
    assert content.keys() >= promised | {"seconds"}
    assert content["documents"] == 18
    assert content["accuracy"] >= 0.9
    assert content["coverage"]["share"] == 1
    assert {item["label"] for item in content["per_class"]} == set(DECIDING)
    assert content["skipped_rows"] == 0


def test_evaluate_agrees_with_predict(bundle, corpus):
    content = succeed("evaluate", bundle, "--data", corpus.test, "--json").json
    with load(bundle) as opened:
        answers = opened.predict(corpus.documents)
    right = [a.label == d.label for a, d in zip(answers, corpus.documents, strict=True)]
    assert content["accuracy"] == pytest.approx(sum(right) / 18)


def test_a_report_beside_the_bundle_leaves_it_alone(own_bundle, corpus, tmp_path):
    report = tmp_path / "reports" / "report.html"
    before = load_bundle(own_bundle).digest
    succeed("evaluate", own_bundle, "--data", corpus.test, "--report", report)
    assert report.read_text(encoding="utf-8").lower().startswith("<!doctype html>")
    assert load_bundle(own_bundle).digest == before


def test_a_report_in_the_bundle_becomes_a_part_of_it(own_bundle, corpus):
    before = load_bundle(own_bundle).digest
    report = own_bundle / "reports" / "report.html"
    succeed("evaluate", own_bundle, "--data", corpus.test, "--report", report)
    opened = load_bundle(own_bundle)
    assert opened.has("reports/report.html")
    assert opened.digest != before
    # Once more: a report that is there is replaced, and the bundle still answers.
    succeed("evaluate", own_bundle, "--data", corpus.test, "--report", report)
    assert longform.load(own_bundle).predict([corpus.documents[0].text])[0].label


# Prediction


def test_three_lines_of_python_classify(bundle, corpus):
    model = longform.load(bundle)
    answers = model.predict([document.text for document in corpus.documents])
    right = [a.label == d.label for a, d in zip(answers, corpus.documents, strict=True)]
    assert sum(right) >= 16
    first = answers[0]
    assert sum(item.score for item in first.scores) == pytest.approx(1, abs=1e-5)
    assert [item.score for item in first.scores] == sorted(
        (item.score for item in first.scores), reverse=True
    )
    assert first.coverage.tokens_used == first.coverage.tokens_total > 200
    assert not first.coverage.truncated
    assert first.evidence is None
    assert model.predict([]) == []


def test_r29_an_answer_depends_on_no_other_document(bundle, corpus):
    texts = [document.text for document in corpus.documents]
    texts[3] = texts[3] * 5
    with load(bundle) as model:
        together = model.predict(texts)
        alone = [model.predict([text])[0] for text in texts]
        backwards = model.predict(texts[::-1])[::-1]
    for one, other, third in zip(together, alone, backwards, strict=True):
        scores = [item.score for item in one.scores]
        assert scores == pytest.approx([item.score for item in other.scores], abs=1e-5)
        assert scores == pytest.approx([item.score for item in third.scores], abs=1e-5)
        assert one.label == other.label == third.label


def test_windows_of_bulk_work_change_no_answer(bundle, corpus, monkeypatch):
    with load(bundle) as model:
        whole = model.predict(corpus.documents)
        monkeypatch.setattr(predictor, "_WINDOW_CHARACTERS", 900)
        windows = list(model.iterate_scores(corpus.documents))
        answers = [answer for window in windows for answer in model.decide(*window)]
    assert len(windows) > 4
    assert [answer.id for answer in answers] == [document.id for document in corpus.documents]
    for one, other in zip(whole, answers, strict=True):
        assert one.label == other.label
        assert one.score == pytest.approx(other.score, abs=1e-5)


def test_evidence_points_at_the_sentence_that_decides(bundle, corpus):
    with load(bundle) as model:
        answers = model.predict(corpus.documents, evidence=True)
        plain = model.predict(corpus.documents)
    found = 0
    for document, answer, without in zip(corpus.documents, answers, plain, strict=True):
        assert answer.score == pytest.approx(without.score, abs=1e-6)
        assert answer.evidence
        assert answer.evidence[0].start == 0
        assert answer.evidence[-1].end == len(document.text)
        assert all(part.label == answer.label for part in answer.evidence)
        assert all(abs(part.score) <= 1 for part in answer.evidence)
        assert answer.explanation.method == "exact"
        total = sum(part.contribution for part in answer.evidence) + answer.explanation.base
        assert total == pytest.approx(answer.explanation.logit, abs=1e-3)
        strongest = max(answer.evidence, key=lambda part: part.score)
        start = document.text.index(DECIDING[document.label])
        end = start + len(DECIDING[document.label])
        found += strongest.start < end and strongest.end > start and strongest.score > 0
    assert found >= 15


def test_predict_answers_texts_as_json(bundle, corpus):
    texts = [document.text for document in corpus.documents[:2]]
    content = succeed("predict", bundle, *texts, "--json", "--top-k", 2).json
    answers = content["predictions"]
    assert [answer["id"] for answer in answers] == ["0", "1"]
    assert all(len(answer["scores"]) == 2 for answer in answers)
    assert all(answer["scores"][0]["label"] == answer["label"] for answer in answers)
    assert all("evidence" not in answer for answer in answers)
    assert answers[0]["coverage"]["truncated"] is False
    explained = succeed("predict", bundle, texts[0], "--json", "--evidence").json["predictions"][0]
    assert explained["evidence"][0].keys() == {
        "segment",
        "start",
        "end",
        "score",
        "label",
        "contribution",
        "log_odds",
    }


def test_predict_answers_texts_for_people(bundle, corpus):
    lines = succeed("predict", bundle, corpus.documents[0].text, "--evidence").out.splitlines()
    assert lines[0].startswith(corpus.documents[0].label)
    assert "tokens read" in lines[0]
    assert len([line for line in lines if line.startswith("  characters")]) == 3


@pytest.fixture(scope="module")
def gappy(corpus, tmp_path_factory) -> tuple[Path, list[Document]]:
    """A file with rows that have no text, and the documents that have."""
    folder = tmp_path_factory.mktemp("gappy")
    documents = make_documents(30, seed=9)
    gaps = [Document("=gap", "", "买卖"), Document("gap2", "  \n ", "买卖")]
    rows = [*documents[:4], gaps[0], *documents[4:20], gaps[1], *documents[20:]]
    return write_csv(folder / "documents.csv", rows), documents


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_predict_answers_every_row_of_a_file_in_order(bundle, gappy, tmp_path, form):
    path, documents = gappy
    output = tmp_path / "deep" / f"answers.{form}"
    result = succeed("predict", bundle, "--input", path, "--output", output, "--json")
    counts = result.json
    assert (counts["documents"], counts["skipped_rows"], counts["truncated"]) == (30, 2, 0)
    rows = read_rows(output)
    assert [row["id"] for row in rows[:30]] == [document.id for document in documents]
    with load(bundle) as model:
        expected = model.predict(documents)
    for row, answer in zip(rows[:30], expected, strict=True):
        assert row["label"] == answer.label
        assert float(row["score"]) == pytest.approx(answer.score, abs=1e-5)
    # A row without a text is answered too, with its place and the reason.
    assert len(rows) == 32
    assert all(row["error"] for row in rows[30:])
    assert not [row for row in rows[:30] if row.get("error")]
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_an_answer_of_a_file_holds_as_many_scores_as_asked_for(bundle, gappy, tmp_path):
    output = tmp_path / "answers.jsonl"
    succeed("predict", bundle, "--input", gappy[0], "--output", output, "--top-k", 1)
    rows = read_rows(output)[:30]
    assert all(len(row["scores"]) == 1 for row in rows)
    assert all(row["scores"][0]["label"] == row["label"] for row in rows)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.97, 1.0])
def test_r33_an_interrupted_job_ends_in_the_file_of_an_uninterrupted_one(
    bundle, gappy, tmp_path, form, share, monkeypatch
):
    output = tmp_path / f"answers.{form}"
    partial = tmp_path / f"answers.{form}.partial"
    with load(bundle) as model:
        whole = bulk.predict_file(model, gappy[0], output)
        content = output.read_bytes()
        output.unlink()
        with monkeypatch.context() as patch:
            patch.setattr(model, "iterate_scores", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                bulk.predict_file(model, gappy[0], output)
        # A killed process leaves any number of bytes: half a line, half a character.
        partial.write_bytes(content[: int(share * len(content))])
        counts = bulk.predict_file(model, gappy[0], output)
    for one, other in zip(read_rows(output), _rows_of(content, form), strict=True):
        assert _without_scores(one) == _without_scores(other)
        scores = [float(row.get("score") or 0) for row in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    for key in ("documents", "skipped_rows", "truncated"):
        assert counts[key] == whole[key]
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def _interrupted(documents):
    raise KeyboardInterrupt


def _without_scores(row: dict) -> dict:
    return {key: value for key, value in row.items() if key not in {"score", "scores"}}


def _rows_of(content: bytes, form: str) -> list[dict]:
    lines = content.decode().splitlines()
    return list(csv.DictReader(lines)) if form == "csv" else [json.loads(line) for line in lines]


def test_an_interrupted_job_counts_what_was_truncated_before(bundle, gappy, tmp_path, monkeypatch):
    output = tmp_path / "answers.csv"
    answer = "1-1,劳动,0.9,100,60,true,\n"
    with load(bundle) as model:
        with monkeypatch.context() as patch:
            patch.setattr(model, "iterate_scores", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                bulk.predict_file(model, gappy[0], output)
        with (tmp_path / "answers.csv.partial").open("a", encoding="utf-8") as partial:
            partial.write(answer * 2)
        assert bulk.predict_file(model, gappy[0], output)["truncated"] == 2


@pytest.mark.parametrize("change", ["the documents", "top_k", "text_column"])
def test_r36_answers_are_continued_only_by_the_same_job(
    bundle, gappy, tmp_path, monkeypatch, change
):
    source = Path(shutil.copyfile(gappy[0], tmp_path / "in.csv"))
    output = tmp_path / "answers.jsonl"
    with load(bundle) as model:
        with monkeypatch.context() as patch:
            patch.setattr(model, "iterate_scores", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                bulk.predict_file(model, source, output)
        options = {
            "top_k": {"top_k": 1},
            "text_column": {"settings": DataSettings(text_column="label")},
        }.get(change, {})
        if change == "the documents":
            write_csv(source, make_documents(30, seed=10))
        with pytest.raises(InputError, match=f"differs in {change}"):
            bulk.predict_file(model, source, output, **options)


def test_r104_a_cell_that_a_spreadsheet_would_run_is_defused(bundle, tmp_path):
    documents = [Document("=cmd|' /C calc'!A0", make_documents(1, 4)[0].text, "买卖")]
    source = write_csv(tmp_path / "in.csv", documents)
    output = tmp_path / "out.csv"
    succeed("predict", bundle, "--input", source, "--output", output)
    assert read_rows(output)[0]["id"] == "'=cmd|' /C calc'!A0"


# Pretrained encoders


BERT_SETTINGS = (
    "segment_length=32",
    "aggregator=lstm",
    "aggregator_hidden=8",
    "per_device_train_batch_size=8",
    "num_train_epochs=2",
    "learning_rate=0.01",
    "parity_documents=8",
)


@pytest.fixture(scope="module")
def own_cache(own_folders, tmp_path_factory):
    """Keep vectors that tests of other modules encoded with the same encoder out of sight."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGFORM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def frozen(own_cache, corpus, encoder, tmp_path_factory):
    """A bundle on a frozen encoder, and what the command said."""
    folder = tmp_path_factory.mktemp("frozen") / "model"
    result = train(corpus, folder, *BERT_SETTINGS, "frozen=true", options=["--encoder", encoder])
    assert result.status == 0, result.err
    return folder, result


def test_a_frozen_encoder_keeps_its_weights(frozen, encoder):
    from safetensors.numpy import load_file

    before, after = (
        load_file(encoder / "model.safetensors"),
        load_file(frozen[0] / "model.safetensors"),
    )
    kept = {name for name in before if "pooler" not in name}
    assert all(np.array_equal(before[name], after[f"encoder.model.{name}"]) for name in kept)
    assert load_bundle(frozen[0]).description.knobs.model["encoder"] == "bert-tiny"


def test_a_second_run_finds_the_vectors_of_the_first(
    frozen, corpus, encoder, tmp_path, monkeypatch
):
    # Measured anew, another precision could win, whose vectors nobody has.
    monkeypatch.setattr(
        "longform.export.encoders.tokens_per_second", lambda *_: pytest.fail("measured twice")
    )
    assert "0 found in the cache" in frozen[1].err
    settings = [*BERT_SETTINGS, "frozen=true", "aggregator=mean", "num_train_epochs=1"]
    again = train(corpus, tmp_path / "again", *settings, options=["--encoder", encoder])
    assert again.status == 0, again.err
    assert " 0 encoded now" in again.err


@pytest.mark.parametrize("name", ["onnx", "torch:fp32", "openvino:fp32", "openvino:int8"])
def test_b20_every_backend_gives_the_logits_of_the_trained_model(frozen, corpus, name):
    folder = frozen[0]
    targets = json.loads((folder / "parity.json").read_text())["targets"]
    if "openvino" in name and "openvino:fp32" not in targets:
        pytest.skip("needs the extra openvino")
    if name == "openvino:int8" and not targets.get(name, {}).get("passed"):
        pytest.skip("needs nncf, and an int8 encoder that passed its gate")
    with load(folder, "torch:fp32") as reference, load(folder, name) as model:
        expected = reference.scorer.score(corpus.documents).logits
        found = model.scorer.score(corpus.documents).logits
        golden = model.check_golden()
    tolerance = 0.5 if name == "openvino:int8" else 1e-4
    assert np.abs(found - expected).max() <= tolerance
    assert golden <= tolerance
    assert np.abs(expected - expected[0]).max() > 1e-3


@openvino
def test_the_quantised_encoder_is_in_the_bundle_with_its_record(frozen):
    pytest.importorskip("nncf")
    record = json.loads((frozen[0] / "parity.json").read_text())["targets"]["openvino:int8"]
    assert (frozen[0] / "openvino" / "encoder.int8.xml").is_file() == record["passed"]
    assert record["largest_logit_difference"] > 0


def test_training_measures_the_default_backend_of_this_machine(frozen, corpus):
    # Measured in this run, unless an earlier test did with the same encoder.
    assert "Default backend on this machine: " in frozen[1].err
    later = succeed("predict", frozen[0], corpus.documents[0].text, "--json")
    assert "Measured" not in later.err


def test_r89_a_measurement_that_cannot_be_kept_is_said_and_made_again(frozen, corpus, monkeypatch):
    # A file in the place of the folder: the tests may run as root, who may write anywhere.
    monkeypatch.setenv("LONGFORM_STATE", str(frozen[0] / "longform.json"))
    result = succeed("predict", frozen[0], corpus.documents[0].text, "--json")
    assert "cannot be kept" in result.err
    assert "LONGFORM_STATE" in result.err
    assert result.json


def test_auto_measures_once_and_remembers(frozen, corpus, monkeypatch, tmp_path):
    monkeypatch.setenv("LONGFORM_STATE", str(tmp_path))
    first = succeed("predict", frozen[0], corpus.documents[0].text, "--json")
    assert "Measured once" in first.err
    (record,) = (tmp_path / "backends").iterdir()
    content = json.loads(record.read_text())
    assert content["rates"][content["chosen"]] == max(content["rates"].values())
    second = succeed("predict", frozen[0], corpus.documents[0].text, "--json")
    assert "Measured" not in second.err
    load_bundle(frozen[0])


def test_an_encoder_is_fine_tuned_on_drawn_segments_and_read_whole(corpus, encoder, tmp_path):
    documents = read_documents(corpus.train).documents
    config = RunConfig(
        encoder=str(encoder),
        segment_length=32,
        aggregator="lstm",
        aggregator_hidden=8,
        learning_rate=0.01,
        num_train_epochs=1,
        max_train_segments=3,
        bf16=False,
    )
    trained = fit(config, documents[:24], documents[24:32], tmp_path)
    assert trained.summary["kind"] == "fine-tuning"
    assert trained.summary["coverage"]["share"] == 1
    name = "encoder.layer.0.attention.self.query.weight"
    before = load_file(encoder / "model.safetensors")[name]
    after = trained.model.encoder.model.get_parameter(name).detach().numpy()
    assert np.abs(before - after).max() > 1e-4


# Interruption


def interrupt(corpus, output: Path, monkeypatch, epoch: int, *settings: str, options=()) -> Result:
    """Train and stop as Ctrl-C does, right after the checkpoint of an epoch was marked."""
    original = ProgressCallback.on_save

    def stop(self, args, state, control, **rest):
        original(self, args, state, control, **rest)
        if round(state.epoch) == epoch:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(ProgressCallback, "on_save", stop)
        return train(corpus, output, *settings, options=options)


def test_r35_r41_a_stopped_run_is_continued_by_the_same_command_and_ends_the_same(
    corpus, bundle, tmp_path, monkeypatch
):
    output = tmp_path / "model"
    stopped = interrupt(corpus, output, monkeypatch, 3, *BAG_SETTINGS)
    assert stopped.status == 130
    assert "Stopped by SIGINT" in stopped.err
    assert "Traceback" not in stopped.err
    assert not output.exists()
    continued = train(corpus, output, *BAG_SETTINGS)
    assert continued.status == 0, continued.err
    assert "Continuing from checkpoint-18" in continued.err
    assert "epoch   4.0" in continued.err
    assert "epoch   3.0" not in continued.err
    assert continued.json["training"]["epochs"] == 6
    assert not (tmp_path / "model.training").exists()
    # One log, of the whole run.
    assert len(list((tmp_path / "model.logs" / "tensorboard").iterdir())) == 1
    # Dropout and shuffling go on from where they were: the weights are equal to the bit.
    assert _weights(output) == _weights(bundle)


def test_r36_a_run_with_other_settings_is_not_continued_unless_it_is_forgotten(
    corpus, tmp_path, monkeypatch
):
    output = tmp_path / "model"
    assert interrupt(corpus, output, monkeypatch, 1, *BAG_SETTINGS).status == 130
    changed = [*BAG_SETTINGS, "num_train_epochs=2", "weight_decay=0.02"]
    refused = train(corpus, output, *changed)
    assert refused.status == 2
    for word in ("weight_decay", "num_train_epochs", "--restart", "--output"):
        assert word in refused.err
    assert (tmp_path / "model.training").is_dir()
    restarted = interrupt(corpus, output, monkeypatch, 1, *changed, options=["--restart"])
    assert restarted.status == 130
    assert "epoch   1.0" in restarted.err
    assert "Continuing" not in restarted.err


def test_r36_a_run_on_other_documents_is_not_continued(corpus, tmp_path, monkeypatch):
    output = tmp_path / "model"
    assert interrupt(corpus, output, monkeypatch, 1, *BAG_SETTINGS).status == 130
    refused = run(
        *("train", "--data", corpus.test, "--validation", corpus.validation),
        *("--output", output, "--set", *BAG_SETTINGS),
    )
    assert refused.status == 2
    assert "the documents" in refused.err


def test_r41_a_run_that_is_told_to_end_says_so_with_its_status(corpus, tmp_path):
    output = tmp_path / "model"
    command = [sys.executable, "-m", "longform", "train", "--data", str(corpus.train)]
    command += ["--validation", str(corpus.validation), "--output", str(output)]
    command += ["--set", *BAG_SETTINGS, "num_train_epochs=500", "early_stopping_patience=500"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            # The checkpoint of the first epoch is complete when the second one speaks.
            if "epoch   2.0" in line:
                process.terminate()
                break
        said.append(process.stderr.read())
        status = process.wait(timeout=60)
    text = "".join(said)
    assert status == 143, text
    assert "SIGTERM: training stops after this step and keeps a checkpoint" in text
    assert "epoch   2.2" not in text
    assert "Traceback" not in text
    assert not output.exists()
    assert last_complete_checkpoint(tmp_path / "model.training" / "checkpoints")
