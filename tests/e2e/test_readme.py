"""Every shell and Python block of the README runs, in order, in an empty folder.

What is changed for the tests is said in `SMALLER`: less data, a smaller model, a free port.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the README trains")

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SHELL = [block for language, block in BLOCKS if language == "sh"]
PYTHON = [block for language, block in BLOCKS if language == "python"]

SMALLER = {
    "write_corpus(Path('data'))": "write_corpus(Path('data'), train=96, validation=24, test=24)",
    "--output runs/first\n": "--output runs/first "
    "--set num_train_epochs=1 bag_dimension=16 bag_buckets=1000 vocabulary_size=1500\n",
}


@dataclass(frozen=True)
class Workspace:
    """An empty folder with the commands `longform` and `python` of this very checkout."""

    folder: Path
    environment: dict[str, str]

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        for written, smaller in SMALLER.items():
            script = script.replace(written, smaller)
        return subprocess.run(
            ["sh", "-eu", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )


def block_with(text: str) -> str:
    """Return the one shell block of the README that holds `text`."""
    (block,) = (block for block in SHELL if text in block)
    return block


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    folder = tmp_path_factory.mktemp("readme")
    commands = folder / "bin"
    commands.mkdir()
    for name, arguments in {"longform": " -m longform", "python": ""}.items():
        path = commands / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        path.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    for name in [name for name in environment if name.startswith("LONGFORM_")]:
        del environment[name]
    return Workspace(folder, environment)


@pytest.fixture(scope="module")
def quick_start(workspace) -> subprocess.CompletedProcess[str]:
    result = workspace.run(block_with("longform train"))
    assert result.returncode == 0, result.stderr
    return result


def test_every_block_is_run_by_one_of_these_tests():
    covered = ("make demo", "longform train", "longform serve", "longform export", "curl ")
    assert [sum(text in block for text in covered) for block in SHELL] == [1] * len(SHELL)
    assert len(PYTHON) == 1


def test_make_targets_of_the_first_block_exist():
    targets = re.findall(r"^make (\w+)", block_with("make demo"), re.MULTILINE)
    assert targets == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert all(re.search(rf"^{target}:.*## ", makefile, re.MULTILINE) for target in targets)


def test_quick_start_leaves_what_it_says(workspace, quick_start):
    answers = (workspace.folder / "runs/first.jsonl").read_text("utf-8").splitlines()
    assert len(answers) == 24
    for line in answers:
        coverage = json.loads(line)["coverage"]
        assert coverage["tokens_used"] == coverage["tokens_total"] > 0
        assert not coverage["truncated"]
    assert "</html>" in (workspace.folder / "runs/first.html").read_text("utf-8")
    assert "accuracy" in quick_start.stdout
    assert "verified" in quick_start.stdout


def test_python_block_prints_a_prediction(workspace, quick_start):
    result = workspace.run(f"python - <<'PYTHON'\n{PYTHON[0]}PYTHON\n")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Prediction(")
    assert "truncated=False" in result.stdout


def test_export_block_adds_targets_and_measures_them(workspace, quick_start):
    result = workspace.run(block_with("longform export"))
    assert result.returncode == 0, result.stderr
    assert "onnx:fp32" in result.stdout
    assert "torch-export:fp32" in result.stdout
    assert "Fastest here" in result.stderr


@pytest.fixture(scope="module")
def server(workspace, quick_start):
    """The server of the README, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = block_with("longform serve").replace("--port 8000", f"--port {port}")
    log = workspace.folder / "serve.log"
    with (
        log.open("w") as stream,
        subprocess.Popen(
            ["sh", "-c", f"exec {script}"],
            cwd=workspace.folder,
            env=workspace.environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            wait_until_ready(process, port, log)
            yield process, port
        finally:
            if process.poll() is None:
                process.kill()


def wait_until_ready(process: subprocess.Popen, port: int, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
                return
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        time.sleep(0.1)
    pytest.fail(f"the server did not become ready:\n{log.read_text()}")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_block_is_answered_with_the_promised_fields(workspace, server):
    _, port = server
    result = workspace.run(block_with("curl ").replace(":8000/", f":{port}/"))
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    (promised,) = (json.loads(block) for language, block in BLOCKS if language == "json")
    assert set(answer) == set(promised)
    assert set(answer["model"]) == set(promised["model"])
    assert set(promised["predictions"][0]) <= set(answer["predictions"][0])
    assert set(answer["predictions"][0]["coverage"]) == set(promised["predictions"][0]["coverage"])


def test_r80_a_server_that_sigterm_ends_has_ended_well(server):
    process, _ = server
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
