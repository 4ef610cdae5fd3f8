"""Contenders live in processes of their own: these are real ones, of a few lines each."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import numpy as np
import pytest

from longform.evaluation.benchmark import Workload, figures
from longform.evaluation.turns import Turns, take_turns
from longform.evaluation.work import EncoderWork, encoder_work
from longform.reporting import Reporter
from longform.types import Document

DOCUMENTS = [Document(str(number), "文" * number) for number in range(1, 7)]


@dataclass(frozen=True)
class Sleeper:
    """Writes a line for each turn, and sleeps a while for each document."""

    name: str
    log: str
    seconds: float = 0.0
    fails_at: str = ""

    def open(self):
        self._fail("open")
        return self

    def run(self, documents):
        self._fail("run")
        with open(self.log, "a") as stream:  # noqa: PTH123 - the processes share one file
            stream.write(f"{self.name} {len(documents)}\n")
        time.sleep(self.seconds * len(documents))
        return [f"{self.name}-{document.id}" for document in documents]

    def matrix_rate(self):
        return 100.0

    def close(self):
        pass

    def _fail(self, step):
        if self.fails_at == step:
            raise ValueError(f"cannot {step}")


def test_turns_alternate_and_a_failure_stops_only_its_own(tmp_path):
    log = tmp_path / "log"
    contenders = [
        Sleeper("quick", str(log)),
        Sleeper("broken", str(log), fails_at="run"),
        Sleeper("slow", str(log), 0.02),
        Sleeper("absent", str(log), fails_at="open"),
    ]
    quick, broken, slow, absent = take_turns(contenders, DOCUMENTS, 2, DOCUMENTS[:2], Reporter())
    names = [line.split() for line in log.read_text().splitlines()]
    rounds = [["quick", "4"], ["slow", "4"], *2 * [["quick", "6"], ["slow", "6"]]]
    assert names == [*rounds, *2 * [["quick", "1"]], *2 * [["slow", "1"]]]
    assert broken.failure == "ValueError: cannot run"
    assert absent.failure == "ValueError: cannot open"
    assert len(slow.seconds) == 2
    assert min(slow.seconds) >= 0.12
    assert len(slow.latencies) == 2
    assert slow.labels == [f"slow-{document.id}" for document in DOCUMENTS]
    assert quick.matrix_rates == [100.0, 100.0]
    assert quick.memory_bytes > 5e6


def test_a_process_that_dies_is_a_failure_and_not_a_wait_for_ever(tmp_path):
    (dead,) = take_turns([Suicide("dead", "")], DOCUMENTS, 1, (), Reporter())
    assert "its process ended" in dead.failure


@dataclass(frozen=True)
class Suicide(Sleeper):
    def run(self, documents):
        import os

        os._exit(9)


def test_figures_are_those_of_the_median_round():
    turns = Turns("x", [4.0, 1.0, 2.0], ["a", "b"], [0.1, 0.2, 0.3], [50.0, 200.0], 3_000_000)
    (speed,) = figures([turns], Workload(10, 4_000, 200.0), ["a", "c"])
    assert speed.documents_per_second == 5.0
    assert speed.tokens_per_second == 2_000
    assert speed.gflops_per_second == 100.0
    assert speed.ceiling == 200.0
    assert speed.share_of_ceiling == 0.5
    assert speed.p50_ms == pytest.approx(200)
    assert speed.memory_mb == 3.0
    assert speed.agreement == 0.5
    json.dumps(speed.as_dict(), allow_nan=False)


def test_an_encoder_that_multiplies_nothing_has_no_rate():
    (speed,) = figures([Turns("x", [1.0], matrix_rates=[9.0])], Workload(1, 100, 0.0), [])
    assert speed.gflops_per_second is None
    assert speed.share_of_ceiling is None


def test_operations_are_those_of_the_formula():
    # A BERT of L layers and width d has 12 L d^2 weights in its matrices: 24 L d^2 operations.
    layers, width, tokens = 12, 384, 128
    work = EncoderWork(12 * layers * width**2, layers, width, 0)
    assert work.flops([tokens]) == tokens * (24 * layers * width**2 + 4 * layers * tokens * width)
    assert work.flops([1, 1]) == 2 * work.flops([1])


def test_work_is_read_from_the_shapes_of_a_bundle(tmp_path):
    from safetensors.numpy import save_file

    layer = "encoder.model.encoder.layer.0"
    save_file(
        {
            "encoder.model.embeddings.word_embeddings.weight": np.zeros((100, 8), np.float32),
            f"{layer}.attention.self.query.weight": np.zeros((8, 8), np.float32),
            f"{layer}.output.dense.weight": np.zeros((8, 32), np.float32),
            f"{layer}.output.dense.bias": np.zeros(8, np.float32),
            "head.classifier.weight": np.zeros((3, 8), np.float32),
        },
        tmp_path / "model.safetensors",
    )
    config = {"encoder_config": {"num_hidden_layers": 1, "hidden_size": 8}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert encoder_work(tmp_path) == EncoderWork(64 + 256, 1, 8, 800)
