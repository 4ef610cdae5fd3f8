"""Runs of the command line with other encoders and aggregators than the usual ones, to a bundle."""

from __future__ import annotations

import json
import shutil

import pytest
from tiny_runs import BAG_SETTINGS, run, succeed, train, write_encoder

from longform.bundle import load_bundle

SCRATCH = (
    "segment_length=32",
    "vocabulary_size=300",
    "encoder_hidden=16",
    "linformer_k=8",
    "aggregator_hidden=16",
    "per_device_train_batch_size=8",
    "learning_rate=0.01",
    "num_train_epochs=12",
)
TUNED = ("segment_length=48", "num_train_epochs=1", "max_steps=3", "aggregator_hidden=8")


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        (("encoder=lstm",), "max"),
        (
            (
                "encoder=linformer",
                "token_pooling=max",
                "learning_rate=0.005",
                "num_train_epochs=20",
            ),
            "max",
        ),
    ],
    ids=["lstm", "linformer"],
)
def test_s4_06_s4_14_an_encoder_trained_from_nothing_learns_and_passes_the_gate(
    own_folders, corpus, tmp_path, settings, pooling
):
    folder = tmp_path / "model"
    given = {item.partition("=")[0] for item in settings}
    usual = [item for item in SCRATCH if item.partition("=")[0] not in given]
    result = train(corpus, folder, *usual, *settings)
    assert result.status == 0, result.err
    opened = load_bundle(folder)
    description = opened.description
    assert description.knobs.model["token_pooling"] == pooling
    assert description.metrics["accuracy"] >= 0.8
    parity = json.loads(opened.path("parity.json").read_text(encoding="utf-8"))
    assert parity["targets"]["onnx:fp32"]["passed"] is True
    counts = succeed("inspect", folder, "--json").json["parameters"]
    assert counts["encoder"] > counts["aggregator"] > 0
    assert counts["head"] > 0


def test_token_vectors_of_an_encoder_become_a_bundle_that_needs_no_encoder(
    own_folders, corpus, tmp_path
):
    encoder, folder = write_encoder(tmp_path / "bert"), tmp_path / "model"
    settings = (
        *("encoder=static", f"static_from={encoder}", "static_dimension=12"),
        *("segment_length=32", "aggregator_hidden=16", "per_device_train_batch_size=8"),
        *("learning_rate=0.03", "num_train_epochs=3", "static_token_dropout=0.1"),
    )
    result = train(corpus, folder, *settings)
    assert result.status == 0, result.err
    shutil.rmtree(encoder)
    opened = load_bundle(folder)
    assert opened.description.training["kind"] == "static"
    parity = json.loads(opened.path("parity.json").read_text(encoding="utf-8"))
    assert parity["targets"]["onnx:fp32"]["passed"] is True
    answer = succeed("evaluate", folder, "--data", corpus.test, "--json").json
    assert 0 <= answer["accuracy"] <= 1
    refused = run("prune", folder, "--output", tmp_path / "p", "--vocabulary", corpus.train)
    assert refused.status == 2
    assert "prune the encoder that static_from names" in " ".join(refused.err.split())


def test_s2_03_a_bundle_lends_its_encoder_to_a_run_with_other_labels(
    own_folders, corpus, tmp_path, trained_bag
):
    encoder = write_encoder(tmp_path / "bert")
    first, second = tmp_path / "first", tmp_path / "second"
    result = train(corpus, first, *TUNED, "preset=bert_split_lstm", options=("--encoder", encoder))
    assert result.status == 0, result.err
    rows = corpus.train.read_text(encoding="utf-8").replace(",劳动", ",labour")
    corpus_of_other_labels = tmp_path / "other.csv"
    corpus_of_other_labels.write_text(rows, encoding="utf-8")
    result = run(
        *("train", "--data", corpus_of_other_labels, "--output", second, "--encoder", first),
        *("--json", "--set", *TUNED, "frozen=true", "aggregator=mean"),
    )
    assert result.status == 0, result.err
    assert "Starting from the encoder of first" in result.err
    before, after = load_bundle(first).description, load_bundle(second).description
    assert "劳动" in before.labels
    assert "labour" in after.labels
    assert "劳动" not in (second / "config.json").read_text(encoding="utf-8")
    # The encoder is what it was, and so is the way its tokens are pooled.
    assert after.encoder_digest == before.encoder_digest
    assert before.knobs.model["token_pooling"] == after.knobs.model["token_pooling"] == "cls"
    assert before.knobs.model["aggregator"] == "lstm"
    refused = run(
        *("train", "--data", corpus.train, "--output", tmp_path / "third"),
        *("--encoder", trained_bag[0], "--set", *TUNED),
    )
    assert refused.status == 2
    assert "must have a pretrained encoder" in refused.err


def test_s0_14_concat_reads_its_segments_and_says_what_it_left_out(own_folders, corpus, tmp_path):
    folder = tmp_path / "model"
    settings = ("aggregator=concat", "max_segments=3", "num_train_epochs=1")
    result = train(corpus, folder, *BAG_SETTINGS[:-1], *settings)
    assert result.status == 0, result.err
    coverage = load_bundle(folder).description.training["coverage"]
    assert coverage["share"] < 1
    assert coverage["truncated_documents"] == 48
