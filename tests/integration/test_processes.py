"""Training on several processes, launched as users launch it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_balancing import free_port
from tiny_runs import BAG_SETTINGS, Corpus, make_documents, train, write_csv

from longform import load
from longform.types import Document

TWO = 2
SAME = (
    *BAG_SETTINGS,
    "bag_token_dropout=0",
    "dropout=0",
    "num_train_epochs=3",
    "logging_steps=1",
    "early_stopping_patience=9",
)


def launch(processes: int, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Run the command line under torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    launcher += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    return subprocess.run(
        [*launcher, "-m", "longform", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=400,
        env=os.environ | {"OMP_NUM_THREADS": "1", **environment},
        check=False,
    )


def logged(output: Path, name: str) -> list[float]:
    """The values of a curve that TensorBoard shows of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (output.parent / f"{output.name}.logs").rglob("events.out.tfevents*")
    events = EventAccumulator(str(file.parent))
    events.Reload()
    return [event.value for event in events.Scalars(name)]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> Corpus:
    """Documents of one to twenty times the usual length, an odd number of them."""
    folder = tmp_path_factory.mktemp("uneven")
    documents = [
        Document(item.id, item.text * (1 + (7 * row) % 20), item.label)
        for row, item in enumerate(make_documents(45, seed=5))
    ]
    test = make_documents(18, seed=6)
    return Corpus(
        write_csv(folder / "train.csv", documents),
        write_csv(folder / "validation.csv", test),
        write_csv(folder / "test.csv", test),
        test,
    )


def test_r37_two_processes_have_the_loss_curve_of_one(own_folders, uneven, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    alone = train(uneven, one, *SAME)
    assert alone.status == 0, alone.err
    half = [setting for setting in SAME if not setting.startswith("per_device_train")]
    together = launch(
        TWO,
        "train",
        *("--data", uneven.train, "--validation", uneven.validation, "--output", two, "--json"),
        *("--set", *half, "per_device_train_batch_size=4"),
    )
    assert together.returncode == 0, together.stderr
    summary = json.loads(together.stdout)
    assert summary["training"]["processes"] == TWO
    assert summary["training"]["steps"] == alone.json["training"]["steps"] == 18
    losses, expected = logged(two, "train/loss"), logged(one, "train/loss")
    assert len(losses) == 18
    np.testing.assert_allclose(losses, expected, rtol=2e-3)
    assert max(expected) - min(expected) > 0.1
    texts = [document.text for document in uneven.documents]
    with load(one) as first, load(two) as second:
        for ours, theirs in zip(first.predict(texts), second.predict(texts), strict=True):
            assert ours.label == theirs.label
            assert ours.score == pytest.approx(theirs.score, abs=5e-3)


def test_s0_05_two_processes_train_under_the_backend_of_ascend_cards(own_folders, uneven, tmp_path):
    """A stand-in: a backend called hccl over gloo, on CPU tensors."""
    script = tmp_path / "hccl.py"
    script.write_text(
        "import sys\n"
        "import torch.distributed as dist\n"
        "from torch.distributed import ProcessGroupGloo\n"
        "def make(store, rank, size, timeout):\n"
        "    return ProcessGroupGloo(store, rank, size, timeout)\n"
        "dist.Backend.register_backend('hccl', make, devices=['cpu'])\n"
        "dist.init_process_group('hccl')\n"
        "sys.stderr.write(f'backend {dist.get_backend()}\\n')\n"
        "from longform.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n",
        encoding="utf-8",
    )
    one, two = tmp_path / "one", tmp_path / "two"
    once = [setting for setting in SAME if not setting.startswith("num_train_epochs")]
    once.append("num_train_epochs=1")
    alone = train(uneven, one, *once)
    assert alone.status == 0, alone.err
    half = [setting for setting in once if not setting.startswith("per_device_train")]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    arguments = ["train", "--data", uneven.train, "--validation", uneven.validation]
    arguments += ["--output", two, "--json", "--set", *half, "per_device_train_batch_size=4"]
    together = subprocess.run(
        [*launcher, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=400,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert together.returncode == 0, together.stderr
    assert together.stderr.count("backend hccl") == TWO
    summary = json.loads(together.stdout)
    assert summary["training"]["processes"] == TWO
    losses, expected = logged(two, "train/loss"), logged(one, "train/loss")
    np.testing.assert_allclose(losses, expected, rtol=2e-3)


def test_r38_a_fault_in_one_process_ends_all_with_its_reason(own_folders, uneven, tmp_path):
    script = tmp_path / "faulty.py"
    script.write_text(
        "import os, sys\n"
        "from longform.training import trainer\n"
        "step = trainer.LongTextTrainer.compute_loss\n"
        "def compute(self, *arguments, **named):\n"
        "    if self.state.global_step == 2 and os.environ['RANK'] == '1':\n"
        "        os._exit(9)\n"
        "    return step(self, *arguments, **named)\n"
        "trainer.LongTextTrainer.compute_loss = compute\n"
        "from longform.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n",
        encoding="utf-8",
    )
    output = tmp_path / "model"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    ended = subprocess.run(
        [
            *launcher,
            str(script),
            "train",
            *("--data", str(uneven.train), "--validation", str(uneven.validation)),
            *("--output", str(output), "--set", *BAG_SETTINGS, "ddp_timeout=20"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert ended.returncode != 0
    assert "exitcode  : 9" in ended.stderr
    assert not output.exists()
