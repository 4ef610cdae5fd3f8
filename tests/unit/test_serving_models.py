from __future__ import annotations

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from serving_stub import LABELS, StubPredictor, wait_until_opened

from longform.decision.rule import DecisionRule
from longform.errors import BundleError
from longform.serving.admin import create_admin_app
from longform.serving.failures import NotReadyError
from longform.serving.models import ModelRegistry
from longform.serving.rest import create_app
from longform.serving.settings import ServerSettings
from longform.serving.trials import Trial, TrialRules
from longform.serving.versions import ModelRefusedError, UnknownModelError
from longform.serving.watching import FolderWatcher
from longform.types import Document


class Shelf:
    """Folders of bundles for stubs; what a folder is called tells how its bundle behaves."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.opened: list[StubPredictor] = []

    def put(self, name: str, content: str = "1") -> Path:
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        (folder / "manifest.json").write_text(content)
        return folder

    def open(self, folder: Path) -> StubPredictor:
        content = (folder / "manifest.json").read_text()
        if "broken" in (folder.name, content):
            raise BundleError("The bundle must be whole.", found="a changed byte")
        stub = StubPredictor()
        stub.bundle.digest = f"{folder.name}-{content}"
        if folder.name == "strange":
            stub.rule = DecisionRule((*LABELS[:2], "other"))
        if folder.name == "gone":
            stub.is_broken = True
        if folder.name == "crashing":
            stub.encode_segments = _away
        if folder.name == "differing":
            stub.conclude = lambda *given, **more: [
                _relabelled(one) for one in StubPredictor.conclude(stub, *given, **more)
            ]
        self.opened.append(stub)
        return stub


def _away(segments):
    raise NotReadyError("The device must be there.", found="it is away")


def _relabelled(prediction):
    return replace(prediction, label="news")


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


@pytest.fixture
def registry(shelf):
    rules = TrialRules(least_requests=20)
    registry = ModelRegistry(shelf.open, rules=rules)
    registry.add("contracts", shelf.put("first"))
    registry.start()
    wait_until_opened(registry)
    yield registry
    registry.close()


@pytest.fixture
def client(registry):
    app = create_app(registry, ServerSettings())
    # The fixture has started the models already.
    registry.start = lambda: None
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def ask(client, text="abc", **more):
    return client.post("/predict", json={"inputs": text, **more})


def test_permits_are_bounded_and_come_back(registry):
    registry.max_concurrent_requests = 2
    with registry.permit(), registry.permit():
        assert registry.pending_requests == 2
        with pytest.raises(Exception, match="2 requests"), registry.permit():
            pass
    assert registry.pending_requests == 0


def test_a_request_says_which_model_and_version_answers_it(client, registry, shelf):
    registry.load("news", shelf.put("second"))
    assert ask(client).json()["model"]["name"] == "contracts"
    assert ask(client, model="news").json()["model"]["name"] == "news"
    assert client.post("/v1/classify", json={"input": "a", "model": "news"}).json()["model"] == (
        "news"
    )
    assert ask(client, model="other").status_code == 404
    assert ask(client, version="7").status_code == 404
    assert ask(client, version="1").json()["model"]["version"] == "1"
    names = [item["name"] for item in client.get("/info").json()["models"]]
    assert names == ["contracts", "news"]
    assert client.get("/info", params={"model": "news"}).json()["model"]["name"] == "news"


def test_r82_no_request_fails_while_models_are_exchanged_half_of_them_broken(registry, shelf):
    folders = [shelf.put(name) for name in ("second", "broken", "third", "gone", "strange")]
    stop, failures, answered = threading.Event(), [], [0]

    def work():
        while not stop.is_set():
            try:
                with registry.permit(), registry.lease("contracts") as service:
                    service.submit([Document("0", "abc")]).result(5)
                answered[0] += 1
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    refused = 0
    for step in range(40):
        try:
            registry.load("contracts", folders[step % len(folders)])
        except Exception:
            refused += 1
    stop.set()
    for thread in threads:
        thread.join(10)
    assert failures == []
    assert answered[0] > 100
    assert refused == 40 * 3 // 5
    assert registry.find("contracts").serving.digest == "third-1"
    wait_for(lambda: sum("close" in stub.calls for stub in shelf.opened) >= len(shelf.opened) - 1)


def test_a_version_is_closed_only_after_its_last_lease(registry, shelf):
    first = shelf.opened[0]
    with registry.lease() as service:
        future = service.submit([Document("0", "hold")])
        assert first.started.wait(5)
        registry.load("contracts", shelf.put("second"))
        assert "close" not in first.calls
        first.release.set()
        assert future.result(5).predictions
    wait_for(lambda: "close" in first.calls)


def test_the_metrics_forget_versions_that_answer_no_more(client, registry, shelf):
    for step in range(3):
        ask(client)
        registry.load("contracts", shelf.put("second", str(step)))
    ask(client)

    def versions():
        lines = client.get("/metrics").text.splitlines()
        kept = [line for line in lines if line.startswith("longform_predictions_total{")]
        return len(kept)

    wait_for(lambda: versions() == 1)


def test_a_refused_bundle_leaves_what_is_served(registry, shelf):
    for name, match in (
        ("broken", "changed byte"),
        ("gone", "device is gone"),
        ("strange", "same labels"),
    ):
        with pytest.raises(Exception, match=match):
            registry.load("contracts", shelf.put(name))
        assert registry.find("contracts").current == "1"
        assert registry.is_ready
    version = registry.load("contracts", shelf.put("strange"), allow_other_labels=True)
    assert registry.find("contracts").current == version


def test_r83_a_canary_answers_its_share_and_can_be_promoted(client, registry, shelf):
    version = registry.load("contracts", shelf.put("second"), trial=("canary", 0.25))
    answers = [ask(client, "x" * 5).json()["model"] for _ in range(80)]
    assert sum(model["version"] == version for model in answers) == 20
    assert {model["digest"] for model in answers} == {"first-1", "second-1"}
    trial = registry.find("contracts").trial
    wait_for(lambda: trial.compared == 20)
    assert trial.agreement == 1.0
    registry.promote("contracts")
    assert {ask(client).json()["model"]["version"] for _ in range(5)} == {version}
    registry.roll_back("contracts")
    assert ask(client).json()["model"]["digest"] == "first-1"


def test_r83_a_canary_that_fails_is_taken_back(client, registry, shelf):
    registry.load("contracts", shelf.put("crashing"), trial=("canary", 0.5))
    codes = [ask(client).status_code for _ in range(60)]
    assert codes.count(503) == 20, "as many as are needed to tell"
    assert codes[-10:] == [200] * 10
    ended = registry.find("contracts").last_trial
    assert "20 of 20 requests failed" in ended.ended_because


def test_a_canary_that_answers_differently_is_taken_back(client, registry, shelf):
    registry.load("contracts", shelf.put("differing"), trial=("canary", 0.5))
    wait_for(lambda: ask(client).status_code == 200 and registry.find("contracts").trial is None)
    assert "same label" in registry.find("contracts").last_trial.ended_because
    assert {ask(client).json()["model"]["version"] for _ in range(4)} == {"1"}


def test_a_shadow_is_asked_and_never_answers(client, registry, shelf):
    version = registry.load("contracts", shelf.put("differing"), trial=("shadow", 0.5))
    assert {ask(client).json()["model"]["version"] for _ in range(60)} == {"1"}
    trial = registry.find("contracts").trial
    wait_for(lambda: trial.compared == 30)
    assert (trial.version, trial.agreement) == (version, 0.0)
    lines = client.get("/metrics").text.splitlines()
    compared = next(line for line in lines if line.startswith("longform_trial_compared_total{"))
    assert compared.endswith(" 30.0")
    assert all(part in compared for part in ('"contracts"', '"shadow"', f'"{version}"'))


def test_the_share_of_a_trial_is_exact():
    for share, expected in ((0.1, 100), (0.5, 500), (1.0, 1_000), (1 / 3, 333)):
        trial = Trial("canary", "2", share, TrialRules())
        assert sum(trial.takes_next() for _ in range(1_000)) == expected


def test_a_removed_model_is_gone_and_the_last_one_stays(client, registry, shelf):
    registry.load("news", shelf.put("second"))
    registry.remove("news")
    assert ask(client, model="news").status_code == 404
    with pytest.raises(ModelRefusedError, match="last one"):
        registry.remove("contracts")
    with pytest.raises(UnknownModelError):
        registry.load("nobody")


class TestAdministration:
    @pytest.fixture
    def admin(self, registry, shelf):
        return TestClient(create_admin_app(registry, [shelf.root]), raise_server_exceptions=False)

    def test_models_are_loaded_tried_promoted_and_taken_back(self, admin, shelf):
        shelf.put("second")
        body = {"bundle": str(shelf.root / "second"), "trial": "canary", "share": 0.2}
        reply = admin.post("/models/contracts/load", json=body)
        assert reply.status_code == 200
        roles = {item["version"]: item["role"] for item in reply.json()["versions"]}
        assert roles == {"1": "current", "2": "canary"}
        assert reply.json()["trial"]["share"] == 0.2
        assert admin.post("/models/contracts/promote").json()["current"] == "2"
        assert admin.post("/models/contracts/promote").status_code == 409
        assert admin.post("/models/contracts/rollback").json()["current"] == "3"
        assert [item["name"] for item in admin.get("/models").json()] == ["contracts"]

    def test_a_bundle_that_is_refused_is_422_and_says_why(self, admin, shelf):
        shelf.put("broken")
        reply = admin.post("/models/contracts/load", json={"bundle": str(shelf.root / "broken")})
        assert reply.status_code == 422
        assert "changed byte" in reply.json()["error"]

    @pytest.mark.parametrize("folder", ["/etc", "{root}/../outside", "{root}/link"])
    def test_r100_only_folders_that_were_allowed_are_loaded_from(self, admin, shelf, folder):
        outside = shelf.root.parent / "outside"
        outside.mkdir(exist_ok=True)
        (shelf.root / "link").symlink_to(outside)
        body = {"bundle": folder.format(root=shelf.root)}
        reply = admin.post("/models/contracts/load", json=body)
        assert (reply.status_code, reply.json()["error_type"]) == (403, "validation")

    @pytest.mark.parametrize(
        "body", [b"[", b'{"bundle": 3}', b'{"share": 2}', b'{"path": "x"}', b"x" * 70_000]
    )
    def test_wrong_bodies_are_refused(self, admin, body):
        assert admin.post("/models/contracts/load", content=body).status_code in {400, 413, 422}

    def test_unknown_names_are_404(self, admin):
        assert admin.get("/models/nobody").status_code == 404
        assert admin.post("/models/nobody/load").status_code == 404
        assert admin.delete("/models/nobody").status_code == 404
        assert admin.delete("/models/contracts").status_code == 409


class TestWatching:
    def test_a_changed_bundle_is_loaded_when_it_has_settled(self, registry, shelf):
        watcher = FolderWatcher(registry, 60)
        watcher.look()
        shelf.put("first", "new")
        watcher.look()
        assert registry.find().current == "1", "it may still be written"
        watcher.look()
        assert registry.find().serving.digest == "first-new"

    def test_a_refused_bundle_is_tried_once_until_it_changes(self, registry, shelf):
        watcher = FolderWatcher(registry, 60)
        shelf.put("first", "broken")
        for _ in range(5):
            watcher.look()
        assert len(shelf.opened) == 1
        assert registry.is_ready
        shelf.put("first", "mended")
        watcher.look()
        watcher.look()
        assert registry.find().serving.digest == "first-mended"

    def test_models_come_and_go_with_their_folders(self, registry, shelf):
        watcher = FolderWatcher(registry, 60, shelf.root)
        shelf.put("news")
        (shelf.root / "no bundle").mkdir()
        for _ in range(2):
            watcher.look()
        assert "news" in registry.models
        shutil.rmtree(shelf.root / "news")
        watcher.look()
        assert "news" not in registry.models


def wait_for(condition, seconds=5.0):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to be"
        time.sleep(0.01)
