"""From a bundle to a service on two Ascend cards, on stand-ins for the compiler and for pyACL.

They prove the protocol and the logic, not the numerics or the speed of a device.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from running_server import RunningServer
from tiny_runs import make_documents, run, succeed, train

from longform import load
from longform.bundle import load_bundle

pytestmark = pytest.mark.usefixtures("own_folders")

STAND_INS = Path(__file__).parents[1] / "ascend"
SETTINGS = (
    "aggregator=lstm", "aggregator_hidden=8", "segment_length=32", "report_to=[]",
    "num_train_epochs=4", "learning_rate=0.003", "device=cpu", "max_train_segments=8",
    "per_device_train_batch_size=8",
)  # fmt: skip
TEXTS = [document.text for document in make_documents(9, seed=4)]


@pytest.fixture(scope="module")
def trained(own_folders, corpus, encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ascend") / "model"
    result = train(corpus, folder, *SETTINGS, options=("--encoder", encoder))
    assert result.status == 0, result.err
    return folder


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A machine with CANN: the stand-ins for `atc`, `npu-smi` and pyACL where theirs would be."""
    folder = tmp_path_factory.mktemp("cann")
    script = (STAND_INS / "programs" / "atc").read_text()
    program = folder / "atc"
    program.write_text(script.replace("#!/usr/bin/env python3", f"#!{sys.executable}"))
    program.chmod(0o755)
    (folder / "python").mkdir()
    shutil.copy(STAND_INS / "acl.py", folder / "python" / "acl.py")
    table = resources.files("longform.export.ascend") / "operators.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_ATC_OPERATORS", str(table))
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", str(folder / "python"))
        patch.syspath_prepend(str(folder / "python"))
        yield folder
        sys.modules.pop("acl", None)


@pytest.fixture(scope="module")
def compiled(trained, corpus, machine, tmp_path_factory):
    """The bundle with an encoder for the cards, and what was said."""
    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("compiled") / "model"))
    command = ("export", folder, "--target", "ascend", "--data", corpus.validation)
    return folder, succeed(*command, "--soc", "Ascend910B2", "--json")


def test_an_encoder_is_checked_compiled_and_passes_the_gate(compiled):
    folder, result = compiled
    assert "Every operator of both graphs is known" in result.err
    record = result.json["targets"]["ascend:fp16"]
    assert record["passed"]
    assert record["largest_logit_difference"] < 1e-3
    assert record["details"]["soc_version"] == "Ascend910B2"
    bundle = load_bundle(folder)
    assert bundle.has("ascend/encoder.om")
    content = json.loads(bundle.path("ascend/gears.json").read_text())
    assert content["encoder"]["precision_mode"] == "mixed_float16"
    assert 2 <= len(content["encoder"]["gears"]) <= 100
    assert "--soc_version=Ascend910B2" in bundle.path("ascend/build.sh").read_text()


def test_the_card_gives_the_answers_of_onnx_runtime(compiled):
    folder, _ = compiled
    with load(folder, "ascend") as card, load(folder, "onnx") as reference:
        assert card.check_golden() < 1e-3
        card.warm_up()
        for text in TEXTS:
            one, other = (
                model.predict([text * 3], evidence=True)[0] for model in (card, reference)
            )
            assert one.label == other.label
            assert one.score == pytest.approx(other.score, abs=1e-5)
            assert [item.score for item in one.evidence] == pytest.approx(
                [item.score for item in other.evidence], abs=1e-4
            )
    assert sys.modules["acl"].left_over() == []


def test_without_the_compiler_its_command_is_written_and_nothing_claimed(
    trained, corpus, tmp_path, monkeypatch
):
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    command = ("export", folder, "--target", "ascend", "--data", corpus.validation)
    unknown = run(*command, "--dry-run")
    assert unknown.status == 2
    assert "--soc Ascend910B2" in unknown.err
    result = succeed(*command, "--soc", "Ascend910B2", "--dry-run", "--json")
    assert "Nothing was compiled and nothing compared (asked for)" in result.err
    assert result.json["targets"] == {}
    bundle = load_bundle(folder)
    assert bundle.has("ascend/build.sh")
    assert not bundle.has("ascend/encoder.om")
    refused = run("predict", folder, "text", "--backend", "ascend")
    assert refused.status == 2


def test_a_refused_compilation_leaves_the_bundle_as_it_was(
    trained, corpus, machine, tmp_path, monkeypatch
):
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    before = load_bundle(folder).digest
    monkeypatch.setenv("FAKE_ATC_SOC", "Ascend310P3")
    command = ("export", folder, "--target", "ascend", "--data", corpus.validation)
    result = run(*command, "--soc", "Ascend910B2")
    assert result.status == 1
    assert "E10001" in result.err
    assert "Traceback" not in result.err
    assert load_bundle(folder).digest == before


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_two_cards_serve_and_one_that_is_lost_comes_back(compiled, machine):
    folder, _ = compiled
    with load(folder, "onnx") as reference:
        expected = {text: reference.predict([text])[0].score for text in TEXTS}
    with RunningServer(folder, "--devices", "ascend:0,1", "--cache-memory", "0") as server:
        health = json.loads(server.ask("/health/ready")[2])
        assert health["backend"]["name"] == "ascend"
        assert server.metric("longform_worker_up") == 2
        first, second = server.workers()
        wrong = lost = 0
        os.kill(first, signal.SIGKILL)
        for step in range(60):
            text = TEXTS[step % len(TEXTS)]
            status, _, content = server.ask("/predict", {"inputs": text})
            lost += status != 200
            if status == 200:
                score = json.loads(content)["predictions"][0]["score"]
                wrong += not np.isclose(score, expected[text], atol=1e-5)
        assert wrong == 0
        assert lost == 0, "the other card serves on, and what was lost is tried there"
        ends = time.monotonic() + 30
        while server.metric("longform_worker_up") < 2:
            assert time.monotonic() < ends
            time.sleep(0.1)
        assert second in server.workers()
        assert server.metric("longform_worker_restarts_total") == 1


REQUESTS = 10_000 if "LONGFORM_SLOW" in os.environ else 1_000


def ask_often(server, requests, clients=8):
    """Ask on connections that stay open; return the statuses and the scores by text."""
    statuses, scores = Counter(), defaultdict(set)
    numbers = iter(range(requests))
    address = urlsplit(server.address)

    def ask():
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        for number in numbers:
            text = TEXTS[number % len(TEXTS)]
            body = json.dumps({"inputs": text})
            connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = json.loads(response.read())
            statuses[response.status] += 1
            scores[text].add(round(content["predictions"][0]["score"], 5))
        connection.close()

    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(ask) for _ in range(clients)]:
            done.result()
    return statuses, scores


def test_thousands_of_requests_leave_nothing_behind_on_two_cards(compiled, tmp_path):
    folder, _ = compiled
    with load(folder, "onnx") as reference:
        expected = {text: reference.predict([text])[0].score for text in TEXTS}
    flags = ("--devices", "ascend:0,1", "--cache-memory", "0")
    with RunningServer(folder, *flags, environment={"FAKE_ACL_REPORT": str(tmp_path)}) as server:
        statuses, scores = ask_often(server, REQUESTS)
        # In the process of the card, not by npu-smi.
        assert server.metric("longform_worker_memory_bytes") > 0
    assert statuses == {200: REQUESTS}
    for text, found in scores.items():
        assert all(score == pytest.approx(expected[text], abs=2e-5) for score in found)
    reports = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    workers = [report for report in reports if report["calls"]]
    assert len(workers) == 2
    assert all(report["left_over"] == [] for report in workers)


def test_a_card_that_keeps_the_interpreter_busy_leaves_the_front_awake(compiled):
    folder, _ = compiled
    flags = ("--devices", "ascend:0,1", "--cache-memory", "0")
    with RunningServer(folder, *flags, environment={"FAKE_ACL_SECONDS": "0.2"}) as server:
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(server.ask, "/predict", {"inputs": text}) for text in TEXTS[:4]]
            waits = []
            while not all(one.done() for one in asked):
                began = time.monotonic()
                assert server.status("/health/live") == 200
                waits.append(time.monotonic() - began)
        assert [one.result()[0] for one in asked] == [200] * 4
        # Each execution holds its own interpreter for 0.2 s; the front has another one.
        assert len(waits) > 3
        assert sorted(waits)[len(waits) // 2] < 0.2


def test_the_selftest_of_a_machine_writes_one_report(compiled, machine, tmp_path):
    folder, _ = compiled
    report = tmp_path / "report.json"
    result = run("selftest", "ascend", "--bundle", folder, "--output", report, "--json")
    assert result.status == 0, result.err
    content = json.loads(report.read_text())
    assert content == result.json
    assert content["verdict"] == "passed"
    verdicts = {step["name"]: step["verdict"] for step in content["steps"]}
    assert verdicts["gears on card 0"] == verdicts["gears on card 1"] == "passed"
    assert verdicts["all cards together"] == "passed"
    assert verdicts["numerics in training"] == "skipped"
    (gears,) = [step for step in content["steps"] if step["name"] == "gears on card 1"]
    assert all(row["largest_difference"] < 1e-5 for row in gears["figures"]["gears"])
    assert all(row["tokens_per_second"] > 0 for row in gears["figures"]["gears"])


def test_a_failed_card_is_in_the_report_and_in_the_exit_status(
    compiled, machine, tmp_path, monkeypatch
):
    monkeypatch.setenv("FAKE_ACL_CARDS", "1")
    report = tmp_path / "report.json"
    result = run("selftest", "ascend", "--bundle", compiled[0], "--output", report)
    assert result.status == 3
    verdicts = {step["name"]: step for step in json.loads(report.read_text())["steps"]}
    assert verdicts["card 0 by pyACL"]["verdict"] == "passed"
    assert verdicts["card 1 by pyACL"]["verdict"] == "failed"
    assert "INVALID_DEVICE" in verdicts["card 1 by pyACL"]["detail"]
    assert run("selftest", "ascend", "--cards", "0,0").status == 2
