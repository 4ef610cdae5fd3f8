"""A service on a Ray cluster of this machine: the plain server's answers, replaced and scaled."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
import yaml
from fastapi.testclient import TestClient
from running_server import free_port
from tiny_runs import run

from longform.bundle import extending_bundle, load_bundle
from longform.errors import ConfigError
from longform.inference.predictor import load
from longform.reporting import Reporter
from longform.scale.serve_options import RayServeOptions
from longform.serving.models import ModelRegistry
from longform.serving.rest import create_app
from longform.serving.settings import ServerSettings

ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
pytestmark = [
    # Ray leaves sockets and threads to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]
OPTIONS = RayServeOptions.read(
    {
        "replicas": "1:2",
        "target_queued_tokens": 2_000,
        "upscale_seconds": 1.0,
        "downscale_seconds": 1.0,
        "cpus_per_replica": 0.5,
    }
)
TEXT = "本院认为，双方签订的合同合法有效。原告要求支付租金，本院予以支持。"
TENSOR = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}
ASKED = {
    "a document": ("/predict", {"inputs": TEXT, "evidence": True}),
    "one that cannot be read among others": ("/predict", {"inputs": [TEXT, "", TEXT * 50]}),
    "a stream": ("/predict/stream", {"inputs": TEXT}),
    "V2": ("/v2/models/default/infer", {"inputs": [TENSOR]}),
    "vLLM": ("/v1/classify", {"input": TEXT}),
    "TEI": ("/tei/predict", {"inputs": TEXT}),
    "what is served": ("/info", None),
    "readiness": ("/health/ready", None),
    "the page": ("/", None),
    "the interface": ("/openapi.json", None),
    "another model": ("/predict", {"inputs": TEXT, "model": "absent"}),
    "another shape": ("/predict", {"documents": TEXT}),
    "nothing": ("/absent", None),
}


@pytest.fixture(scope="module")
def cluster(own_folders):
    """The address of a cluster that the tests of this module share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_SERVE_LOG_TO_STDERR", "0")
        patch.setenv("RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S", "0.3")
        ray.init(
            address="local",
            num_cpus=4,
            object_store_memory=80 * 1024**2,
            include_dashboard=False,
            log_to_driver=False,
        )
        yield ray.get_runtime_context().gcs_address
        ray.serve.shutdown()
        ray.shutdown()


@pytest.fixture(scope="module")
def service(cluster, bundle):
    """A client of a service of one replica that may become two."""
    from longform.scale.serve_replica import ReplicaPlan
    from longform.scale.serving import deploy, open_proxies

    settings = ServerSettings(port=free_port(), max_queued_tokens=100_000_000)
    address = open_proxies(settings, is_own=False)
    deploy(ReplicaPlan({"default": str(bundle)}, "onnx", settings), OPTIONS, Reporter())
    with httpx.Client(base_url=address, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def plain(bundle):
    """A client of the application that the plain server runs."""
    registry = ModelRegistry(lambda folder: load(folder, "onnx"))
    registry.add("default", bundle)
    with TestClient(
        create_app(registry, ServerSettings()), raise_server_exceptions=False
    ) as client:
        registry.services[0].wait_until_opened(60)
        yield client


def running_replicas():
    deployment = ray.serve.status().applications["longform"].deployments["replica"]
    return deployment.replica_states


def wait_until(condition, seconds=60):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, running_replicas()
        time.sleep(0.2)


def without_times(text):
    """What two answers must have in common: all but ids, times and the pace of the machine."""
    text = re.sub(r'"timing_ms":\s*\{[^}]*\}', '"timing_ms":{}', text)
    text = re.sub(r'"id":\s*"classify-[^"]*"', '"id":""', text)
    return re.sub(r'"created":\s*\d+', '"created":0', text)


def ask(client, path, body):
    answer = client.get(path) if body is None else client.post(path, json=body)
    return answer.status_code, answer.headers["content-type"], without_times(answer.text)


@pytest.mark.parametrize("what", ASKED)
def test_every_route_answers_as_the_plain_server_does(service, plain, what):
    path, body = ASKED[what]
    assert ask(service, path, body) == ask(plain, path, body)


def test_files_are_read_as_the_plain_server_reads_them(service, plain):
    def upload(client):
        files = {"files": ("a.txt", TEXT.encode("gb18030"), "text/plain")}
        answer = client.post("/predict/files", files=files)
        return answer.status_code, without_times(answer.text)

    assert upload(service) == upload(plain)
    assert upload(service)[0] == 200


class Load:
    """Clients that ask without a pause; a context manager that ends them."""

    def __init__(self, client, body, clients=4):
        self.outcomes = Counter()
        self._client, self._body = client, body
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self):
        while not self._ended.is_set():
            try:
                answer = self._client.post("/predict", json=self._body)
                digest = answer.json().get("model", {}).get("digest")
                self.outcomes[answer.status_code, digest] += 1
            except httpx.HTTPError as error:
                self.outcomes[type(error).__name__, None] += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join()


def test_tokens_that_wait_bring_a_second_replica_and_their_absence_takes_it_away(service):
    wait_until(lambda: running_replicas() == {"RUNNING": 1})
    with Load(service, {"inputs": TEXT * 800}, clients=8) as load:
        wait_until(lambda: running_replicas().get("RUNNING") == 2)
    assert {code for code, _ in load.outcomes} == {200}
    wait_until(lambda: running_replicas() == {"RUNNING": 1})


def test_a_bundle_that_is_not_there_replaces_nothing(service, plain, tmp_path):
    from longform.errors import LongformError
    from longform.scale.serve_replica import ReplicaPlan
    from longform.scale.serving import deploy

    absent = ReplicaPlan({"default": str(tmp_path / "absent")}, "onnx", ServerSettings())
    with pytest.raises(LongformError, match=r"no folder .*absent") as raised:
        deploy(absent, OPTIONS, Reporter())
    assert "still is" in str(raised.value)
    assert ask(service, *ASKED["a document"]) == ask(plain, *ASKED["a document"])


def other_edition(bundle, folder):
    """A bundle of the same model under another digest."""
    copy = Path(shutil.copytree(bundle, folder / "edition-2"))
    with extending_bundle(load_bundle(copy), copy) as staging:
        (staging / "edition.txt").write_text("the second", encoding="utf-8")
    return copy


def test_an_update_by_the_command_loses_no_request_and_its_end_answers_what_it_took(
    cluster, service, bundle, tmp_path
):
    before = load(bundle, "onnx").bundle.digest
    edition = other_edition(bundle, tmp_path)
    after = load(edition, "onnx").bundle.digest
    assert before != after
    command = [sys.executable, "-m", "longform", "serve", edition, "--engine", "ray"]
    flags = ["--address", cluster, "--replicas", "2", "--cpus-per-replica", "0.5"]
    port = ["--port", str(service.base_url.port), "--backend", "onnx"]
    with Load(service, {"inputs": TEXT}) as under_way:
        update = subprocess.Popen(
            [*map(str, command), *flags, *port],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        said = ""
        for line in update.stderr:
            said += line
            if "Serving" in line:
                break
        wait_until(lambda: running_replicas() == {"RUNNING": 2})
    assert set(under_way.outcomes) == {(200, before), (200, after)}, said
    assert service.post("/predict", json={"inputs": TEXT}).json()["model"]["digest"] == after

    answers = []
    long_one = threading.Thread(
        target=lambda: answers.append(service.post("/predict", json={"inputs": [TEXT * 3_000] * 8}))
    )
    long_one.start()
    time.sleep(0.5)
    update.send_signal(signal.SIGTERM)
    update.communicate(timeout=90)
    long_one.join()
    assert update.returncode == 0
    assert [answer.status_code for answer in answers] == [200]
    assert len(answers[0].json()["predictions"]) == 8
    assert "longform" not in ray.serve.status().applications


def test_a_cluster_that_is_not_there_is_said_at_once(bundle):
    result = run("serve", bundle, "--engine", "ray", "--address", f"127.0.0.1:{free_port()}")
    assert result.status == 2
    assert "Ray cluster must answer" in result.err


def test_the_manifest_for_kuberay_holds_an_application_that_can_be_built():
    from ray.serve.schema import ServeDeploySchema

    from longform.scale.serve_module import build

    path = Path(__file__).parents[2] / "deploy" / "kubernetes" / "ray" / "service.yaml"
    (manifest,) = yaml.safe_load_all(path.read_text())
    config = ServeDeploySchema.model_validate(yaml.safe_load(manifest["spec"]["serveConfigV2"]))
    (application,) = config.applications
    assert application.import_path == f"{build.__module__}:{build.__name__}"
    deployment = build(application.args)._bound_deployment
    scaling = deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (2, 10)
    assert deployment.ray_actor_options["num_cpus"] == 2


def test_a_config_with_a_misspelt_key_is_refused_by_name():
    from longform.scale.serve_module import build

    with pytest.raises(ConfigError, match="bundles"):
        build({"bundles": {"default": "x"}})
