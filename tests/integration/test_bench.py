"""`longform bench` on a bundle with a tiny encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_runs import run, succeed, train


@pytest.fixture(scope="module")
def tiny(own_folders, corpus, encoder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "model"
    settings = ("frozen=true", "aggregator=mean", "segment_length=32", "report_to=[]", "device=cpu")
    result = train(corpus, folder, *settings, options=("--encoder", encoder))
    assert result.status == 0, result.err
    return folder


def test_backends_and_the_plain_loop_are_measured_side_by_side(tiny, corpus):
    result = succeed(
        *("bench", tiny, "--data", corpus.test, "--limit", 6, "--rounds", 2, "--baseline"),
        *("--backend", "onnx", "--json"),
    )
    assert result.json["workload"]["documents"] == 6
    plain, onnx = result.json["contenders"]
    assert (plain["name"], onnx["name"]) == ("plain loop", "onnx:fp32")
    for speed in (plain, onnx):
        assert speed["failure"] is None
        assert len(speed["seconds"]) == 2
        assert speed["documents_per_second"] > 0
        assert speed["p50_ms"] <= speed["p95_ms"] <= speed["p99_ms"]
        assert speed["memory_mb"] > 10
    assert onnx["agreement"] == 1.0
    assert "Fastest here: onnx:fp32" in result.err


def test_a_backend_that_does_not_run_here_is_refused_with_those_that_do(tiny, corpus):
    result = run("bench", tiny, "--data", corpus.test, "--backend", "onnx:fp64")
    assert result.status == 2
    assert "'onnx:fp64'" in result.err
    assert "onnx:fp32" in result.err


def test_the_plain_loop_wants_an_encoder(bundle, corpus):
    result = run("bench", bundle, "--data", corpus.test, "--baseline")
    assert result.status == 2
    assert "Leave --baseline out." in result.err


def test_train_tries_segment_lengths_and_takes_one(own_folders, corpus, encoder, tmp_path):
    settings = (
        *("try_segment_lengths=[16,32,4096]", "frozen=true", "aggregator=mean", "device=cpu"),
        *("report_to=[]", "num_train_epochs=2"),
    )
    result = train(corpus, tmp_path / "model", *settings, options=("--encoder", encoder))
    assert result.status == 0, result.err
    trials = result.json["training"]["segment_length_trials"]
    assert [item["segment_length"] for item in trials] == [16, 32]
    assert trials[0]["segments_per_document"] > trials[1]["segments_per_document"] > 1
    assert all(item["tokens_per_second"] > 0 for item in trials)
    assert "4096 is longer than the encoder reads: left out." in result.err
    described = json.loads((tmp_path / "model" / "longform.json").read_text())
    assert described["knobs"]["segments"]["segment_length"] in {16, 32}
