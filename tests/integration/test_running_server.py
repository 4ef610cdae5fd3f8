"""Servers as users start them: workers that die, signals, files of keys, the official clients."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

import pytest
from running_server import RunningServer
from tiny_runs import make_documents, run

from longform import HappyGRPCServer, load
from longform.errors import InputError

pytestmark = [
    pytest.mark.usefixtures("own_folders"),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc"),
]

TEXTS = [document.text for document in make_documents(12, seed=9)]


@pytest.fixture(scope="module")
def expected(bundle):
    with load(bundle) as predictor:
        return {text: predictor.predict([text])[0] for text in TEXTS}


class Load:
    """Asks a server from several threads and keeps what it answers."""

    def __init__(self, server, expected, threads=4):
        self.server, self.expected = server, expected
        self.codes: list[int] = []
        self.wrong: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _work(self, number):
        step = number
        while not self._stop.is_set():
            text = TEXTS[step % len(TEXTS)]
            step += 1
            try:
                status, headers, content = self.server.ask("/predict", {"inputs": text})
            except OSError:
                status = 0
            self.codes.append(status)
            if status == 200:
                answer = json.loads(content)["predictions"][0]
                if abs(answer["score"] - self.expected[text].score) > 1e-4:
                    self.wrong.append(text)
            elif status == 503:
                if "Retry-After" not in headers:
                    self.wrong.append("503 without Retry-After")
                time.sleep(0.02)


def test_r81_a_killed_worker_comes_back_and_no_request_is_lost(bundle, expected):
    with RunningServer(bundle, "--isolate", "--cache-memory", "0") as server:
        (first,) = server.workers()
        with Load(server, expected) as load_:
            time.sleep(0.5)
            os.kill(first, signal.SIGKILL)
            killed = time.monotonic()
            while not server.workers() or server.workers() == [first]:
                time.sleep(0.01)
            while server.status("/health/ready") != 200:
                assert time.monotonic() - killed < 15
                time.sleep(0.05)
            time.sleep(0.5)
        assert set(load_.codes) <= {200, 503}
        assert load_.codes[-4:] == [200] * 4
        assert load_.wrong == []
        assert server.workers() != [first]
        assert server.metric("longform_worker_restarts_total") == 1
        assert server.metric("longform_worker_up") == 1


def test_r80_sigterm_finishes_what_was_taken_and_ends_with_0(bundle, expected):
    with RunningServer(bundle, "--isolate") as server:
        workers = server.workers()
        with Load(server, expected) as load_:
            time.sleep(0.3)
            server.process.terminate()
            assert server.process.wait(20) == 0
    assert load_.wrong == []
    # After the port is closed there is no answer; before it there is none but a good one.
    assert set(load_.codes) <= {200, 503, 0}
    assert not any(Path(f"/proc/{number}").exists() for number in workers)


def test_a_worker_whose_front_is_killed_ends_by_itself(bundle):
    with RunningServer(bundle, "--isolate") as server:
        (worker,) = server.workers()
        server.kill()
        ends = time.monotonic() + 10
        while _lives(worker):
            assert time.monotonic() < ends
            time.sleep(0.1)


def _lives(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_bundle_that_answers_differently_here_never_becomes_ready(own_bundle):
    spoil_golden(own_bundle)
    for more in ((), ("--isolate",)):
        result = subprocess.run(
            [sys.executable, "-m", "longform", "serve", own_bundle, "--port", "0", *more],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 3, result.stderr
        assert "golden answers" in result.stderr
        assert "Traceback" not in result.stderr


def spoil_golden(folder: Path) -> None:
    """Change the stored answers and write a manifest that fits, as a mistaken export would."""
    from longform.bundle.manifest import build_manifest

    path = folder / "golden.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        line["logits"] = [value + 1 for value in line["logits"]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "manifest.json").write_bytes(build_manifest(folder))


def test_several_models_are_administered_while_they_serve(bundle, own_bundle, tmp_path):
    shutil.copytree(own_bundle, tmp_path / "roots" / "b")
    flags = ("--admin-port", "0", "--model-root", tmp_path / "roots", "--watch-seconds", "0.2")
    with RunningServer(f"one={own_bundle}", f"two={bundle}", *flags) as server:
        admin = server.beside("administration")
        names = [model["name"] for model in json.loads(server.ask(f"{admin}/models")[2])]
        assert names == ["one", "two"]
        body = {"bundle": str(tmp_path / "roots" / "b"), "trial": "canary", "share": 0.5}
        assert server.ask(f"{admin}/models/one/load", body)[0] == 200
        versions = {
            json.loads(server.ask("/predict", {"inputs": TEXTS[0], "model": "one"})[2])["model"][
                "version"
            ]
            for _ in range(4)
        }
        assert versions == {"1", "2"}
        assert server.ask(f"{admin}/models/one/load", {"bundle": "/etc"})[0] == 403


def test_keys_and_tls(bundle, tmp_path):
    made = run("key", "clients")
    key, line = made.out.split()
    (tmp_path / "keys").write_text(line)
    with RunningServer(bundle, "--api-keys", tmp_path / "keys") as server:
        assert server.status("/predict", {"inputs": "a"}) == 401
        headers = {"Authorization": f"Bearer {key}"}
        assert server.ask("/predict", {"inputs": TEXTS[0]}, headers)[0] == 200


def test_a_certificate_that_cannot_be_read_is_one_paragraph(bundle, tmp_path):
    (tmp_path / "a.pem").write_text("nothing")
    result = run(
        "serve", bundle, "--port", "0", "--tls-certificate", tmp_path / "a.pem", "--tls-key",
        tmp_path / "a.pem",
    )  # fmt: skip
    assert result.status == 2
    assert "TLS certificate" in result.err


def test_s1_30_the_grpc_server_of_two_lines(bundle, expected):
    import grpc

    from longform.serving import grpc_messages

    messages = grpc_messages.load(grpc_messages.CLASSIFIER)
    server = HappyGRPCServer(model_path=bundle)
    port = server.start(port=0, block=False)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_stream(
                "/longform.v1.Classifier/Classify",
                lambda one: one.SerializeToString(),
                messages["ClassifyEvent"].FromString,
            )
            request = messages["ClassifyRequest"]()
            request.documents.add(text=TEXTS[0])
            *_, last = call(request)
        assert last.label == expected[TEXTS[0]].label
        assert last.score == pytest.approx(expected[TEXTS[0]].score, abs=1e-5)
        with pytest.raises(InputError, match="once"):
            server.start(port=0, block=False)
        with pytest.raises(InputError, match="port must be free"):
            HappyGRPCServer(bundle).start(port=port, block=False)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def triton_python(tmp_path_factory):
    """An environment with the official clients, which want an older protobuf than we have."""
    folder = tmp_path_factory.mktemp("triton") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q", "tritonclient[http,grpc]"]
    result = subprocess.run(pip, capture_output=True, text=True, timeout=300, check=False)
    if result.returncode:
        pytest.skip(f"tritonclient cannot be installed here: {result.stderr[-200:]}")
    return python


def test_the_official_clients_ask_over_http_and_grpc(bundle, triton_python):
    with RunningServer(bundle) as server:
        script = Path(__file__).with_name("triton_check.py")
        addresses = [server.address.removeprefix("http://"), server.beside("gRPC")]
        result = subprocess.run(
            [triton_python, script, *addresses],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("agreed")


def test_promtool_finds_nothing_wrong_with_the_metrics(bundle):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    with RunningServer(bundle, "--isolate") as server:
        for text in TEXTS:
            server.ask("/predict", {"inputs": text})
        content = server.ask("/metrics")[2]
    result = subprocess.run(
        [promtool, "check", "metrics"], input=content, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stdout.decode() + result.stderr.decode()
