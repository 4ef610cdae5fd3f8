"""Training on unbalanced classes, and on several processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from two_processes import DOCUMENTS, run

from longform.config import RunConfig
from longform.models import LongTextConfig
from longform.models.classifier import Head
from longform.reporting import Reporter
from longform.training.devices import Device
from longform.training.features import VectorDataset, collate_vectors
from longform.training.trainer import HeadModel, LongTextTrainer

TOGETHER = {"hard_example_share": 0.5, "train_batch_tokens": 12, "num_train_epochs": 2}
ONE_STEP = {
    "class_balance": "weighted_sampler",
    "focal_gamma": 2.0,
    "num_train_epochs": 1,
    "learning_rate": 0.1,
    "warmup_steps": 0,
    "lr_scheduler_type": "constant",
}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def processes(tmp_path_factory) -> list[list[dict]]:
    """What each of two processes saw in two runs."""
    folder = tmp_path_factory.mktemp("processes")
    settings = [TOGETHER, ONE_STEP | {"per_device_train_batch_size": 12}]
    script = Path(__file__).with_name("two_processes.py")
    common = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    running = [
        subprocess.Popen(
            [sys.executable, str(script), str(folder), json.dumps(settings)],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(2)
    ]
    for process in running:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output.decode()
    return [json.loads((folder / f"process-{rank}.json").read_text()) for rank in range(2)]


def test_r37_processes_share_the_documents_and_do_the_same_number_of_steps(processes):
    first, second = (runs[0] for runs in processes)
    assert len(first["steps"]) == len(second["steps"]) > 4
    assert first["optimizer_steps"] == second["optimizer_steps"] == len(first["steps"])
    half = len(first["steps"]) // 2
    pairs = zip(first["steps"][:half], second["steps"][:half], strict=True)
    assert [batch for pair in pairs for batch in pair] == first["planned"][0]
    seen = sum(map(len, first["steps"][half:] + second["steps"][half:]))
    assert 0.8 * DOCUMENTS < seen <= DOCUMENTS


def test_r37_processes_end_with_the_same_weights_and_the_same_losses(processes):
    first, second = (runs[0] for runs in processes)
    assert first["weights"] == second["weights"]
    assert first["losses"] == second["losses"]
    assert not np.isnan(first["losses"]).any()


def test_b37_a_step_of_two_processes_is_that_of_one_with_the_whole_batch(processes, tmp_path):
    divided = processes[0][1]
    whole = run(tmp_path, ONE_STEP | {"per_device_train_batch_size": DOCUMENTS})
    assert divided["optimizer_steps"] == whole["optimizer_steps"] == 1
    both = np.concatenate(divided["steps"] + processes[1][1]["steps"])
    assert sorted(both) == sorted(whole["steps"][0])
    for found, expected in zip(divided["weights"], whole["weights"], strict=True):
        # Adam divides by the size of the gradient, so entries of almost no gradient differ most.
        assert found == pytest.approx(expected, abs=2e-3)


# Classes of very different sizes


def unbalanced(common: int, rare: int, seed: int) -> VectorDataset:
    """Two classes that overlap."""
    generator = np.random.default_rng(seed)
    labels = np.array([0] * common + [1] * rare)
    rows = [
        generator.normal(size=(1, 8)).astype(np.float32) + np.float32([2 * label] + 7 * [0])
        for label in labels
    ]
    return VectorDataset(rows, [np.zeros((1, 4), np.float32) for _ in rows], labels)


def macro_f1_after_training(folder: Path, **settings) -> float:
    torch.manual_seed(0)
    config = LongTextConfig(bag_dimension=8, dropout=0.0, aggregator="mean", num_labels=2)
    trainer = LongTextTrainer(
        HeadModel(Head(config)),
        RunConfig(
            num_train_epochs=8, learning_rate=0.03, per_device_train_batch_size=64, **settings
        ),
        folder,
        Device("cpu", False, "a test"),
        Reporter(),
        train_dataset=unbalanced(500, 10, seed=0),
        eval_dataset=unbalanced(300, 300, seed=1),
        data_collator=collate_vectors,
    )
    trainer.fit()
    return trainer.evaluate()["eval_macro_f1"]


def test_r15_weighting_finds_more_of_a_rare_class(tmp_path):
    plain = macro_f1_after_training(tmp_path / "plain")
    weighted = macro_f1_after_training(tmp_path / "weights", class_weights="auto")
    sampled = macro_f1_after_training(tmp_path / "sampler", class_balance="weighted_sampler")
    assert plain < 0.7
    assert weighted > plain + 0.1
    assert sampled > plain + 0.1
