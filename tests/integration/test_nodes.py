"""Training on two nodes that share nothing but the network, launched as users launch it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from test_balancing import free_port
from tiny_runs import BAG_SETTINGS, make_documents, write_csv

from longform import load
from longform.training.checkpoints import last_complete_checkpoint

# Dropout, so that a lost random state would show.
SETTINGS = (
    *(item for item in BAG_SETTINGS if not item.startswith(("per_device", "num_train"))),
    *("per_device_train_batch_size=4", "num_train_epochs=3", "save_steps=3"),
    *("early_stopping_patience=99", "report_to=[]", "parity_documents=8"),
)
HOOK = """
import os, pathlib, signal, sys, time
from longform.training import trainer
step = trainer.LongTextTrainer.compute_loss
def compute(self, *arguments, **named):
    for fault in os.environ.get("FAULTS", "").split():
        kind, at = fault.split("@")
        mark = pathlib.Path(os.environ["MARKS"], fault)
        if self.model.training and self.state.global_step == int(at) and not mark.exists():
            mark.touch()
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(600)
    return step(self, *arguments, **named)
trainer.LongTextTrainer.compute_loss = compute
from longform.cli import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass
class Node:
    """A machine, as far as a process can tell: folders of its own, and an agent."""

    folder: Path
    agent: subprocess.Popen[str] | None = None

    @property
    def output(self) -> Path:
        return self.folder / "runs" / "model"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "runs" / "model.training" / "checkpoints"

    def start(self, port: int, *, faults: str = "", restarts: int = 3) -> None:
        (self.folder / "hook.py").write_text(HOOK, encoding="utf-8")
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
        command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}"]
        command += ["--rdzv-conf", "keep_alive_interval=1,keep_alive_max_attempt=2"]
        command += [
            "--max-restarts",
            str(restarts),
            "--monitor-interval",
            "0.2",
            "hook.py",
            "train",
        ]
        command += ["--data", "train.csv", "--validation", "validation.csv"]
        command += ["--output", "runs/model", "--json", "--no-report"]
        command += ["--set", *SETTINGS]
        environment = {
            "OMP_NUM_THREADS": "1",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
            "LONGFORM_CACHE": str(self.folder / "cache"),
            "LONGFORM_STATE": str(self.folder / "state"),
            "FAULTS": faults,
            "MARKS": str(self.folder),
        }
        with (self.folder / "out").open("a") as out, (self.folder / "err").open("a") as err:
            self.agent = subprocess.Popen(
                command,
                stdout=out,
                stderr=err,
                text=True,
                cwd=self.folder,
                env=os.environ | environment,
            )

    def kill(self) -> None:
        """Pull the plug: the agent and all below it end at once."""
        assert self.agent is not None
        agent = psutil.Process(self.agent.pid)
        for process in [agent, *agent.children(recursive=True)]:
            process.send_signal(signal.SIGKILL)
        self.agent.wait()

    @property
    def errors(self) -> str:
        return (self.folder / "err").read_text(encoding="utf-8")


def make_nodes(folder: Path) -> list[Node]:
    nodes = [Node(folder / name) for name in ("a", "b")]
    for node in nodes:
        node.folder.mkdir(parents=True)
        write_csv(node.folder / "train.csv", make_documents(45, seed=5))
        write_csv(node.folder / "validation.csv", make_documents(18, seed=6))
    return nodes


def wait_for(path: Path, *nodes: Node) -> None:
    limit = time.monotonic() + 900
    while not path.exists():
        assert time.monotonic() < limit, [node.errors for node in nodes]
        time.sleep(0.05)


def finish(nodes: list[Node], status: int = 0) -> None:
    for node in nodes:
        assert node.agent is not None
        ended = node.agent.wait(timeout=900)
        assert (ended != 0) == (status != 0), node.errors


def bundle_of(nodes: list[Node]) -> Path:
    (output,) = [node.output for node in nodes if node.output.exists()]
    return output


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    nodes = make_nodes(tmp_path_factory.mktemp("uninterrupted"))
    port = free_port()
    for node in nodes:
        node.start(port)
    finish(nodes)
    # Each node removed its checkpoints, the one without the bundle too.
    assert not any(node.checkpoints.exists() for node in nodes)
    return bundle_of(nodes)


@pytest.mark.skipif(
    not os.environ.get("LONGFORM_SLOW"), reason="set LONGFORM_SLOW=1: takes minutes"
)
def test_killed_worker_and_killed_node_end_as_an_uninterrupted_run(uninterrupted, tmp_path):
    first, second = nodes = make_nodes(tmp_path)
    port = free_port()
    first.start(port, faults="kill@4")
    second.start(port, faults="hang@10")
    # Its worker was killed and has begun again: both nodes are beyond that step.
    wait_for(second.folder / "hang@10", *nodes)
    assert (first.folder / "kill@4").exists()
    second.kill()
    # A new machine in its place: an empty disk.
    shutil.rmtree(second.folder / "runs")
    second.start(port)
    finish(nodes)
    assert "checkpoint-9 was sent from" in first.errors + second.errors
    description = json.loads((bundle_of(nodes) / "longform.json").read_text(encoding="utf-8"))
    expected = json.loads((uninterrupted / "longform.json").read_text(encoding="utf-8"))
    assert description["training"]["steps"] == expected["training"]["steps"] == 18
    assert description["metrics"] == pytest.approx(expected["metrics"], abs=1e-6)
    texts = [document.text for document in make_documents(18, seed=6)]
    with load(bundle_of(nodes)) as ours, load(uninterrupted) as theirs:
        for one, other in zip(ours.predict(texts), theirs.predict(texts), strict=True):
            assert one.label == other.label
            assert one.score == pytest.approx(other.score, abs=1e-5)


def test_node_with_another_file_is_named(tmp_path):
    first, second = nodes = make_nodes(tmp_path)
    write_csv(second.folder / "train.csv", make_documents(44, seed=5))
    port = free_port()
    for node in nodes:
        node.start(port, restarts=0)
    finish(nodes, status=1)
    for node in nodes:
        assert "must read the same documents" in node.errors
        assert "62 documents" in node.errors
        # torchrun's own words follow.
        assert "Traceback" not in node.errors.split("torch/distributed")[0]
    assert last_complete_checkpoint(first.checkpoints) is None
