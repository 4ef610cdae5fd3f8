from __future__ import annotations

import hashlib
import re

import pytest
from fastapi.testclient import TestClient
from serving_stub import StubPredictor, registry_of, wait_until_opened
from typer.testing import CliRunner

from longform.cli.app import app as command_line
from longform.errors import ConfigError
from longform.serving.rest import create_app
from longform.serving.security import KeyRing, new_key
from longform.serving.settings import ServerSettings


@pytest.fixture
def keys(tmp_path):
    (ours, line), (_, other) = new_key("clients"), new_key("others")
    path = tmp_path / "keys"
    path.write_text(f"# who may ask\n\n{other}\n{line}\n")
    return path, ours


@pytest.fixture
def client(keys):
    registry = registry_of(StubPredictor)
    app = create_app(registry, ServerSettings(api_keys=str(keys[0])))
    with TestClient(app) as client:
        wait_until_opened(registry)
        yield client


def test_r101_nothing_is_answered_without_a_known_key(client, keys):
    _, key = keys
    refused = [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {key}"},
        {"Authorization": "Bearer "},
        {"X-API-Key": key[:-1]},
    ]
    for headers in refused:
        for method, path in (("POST", "/predict"), ("GET", "/metrics"), ("GET", "/info")):
            reply = client.request(method, path, headers=headers, json={"text": "a"})
            assert (reply.status_code, reply.json()["error_type"]) == (401, "unauthorized")
            assert reply.headers["www-authenticate"] == "Bearer"
    for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
        assert client.post("/predict", headers=headers, json={"text": "a"}).status_code == 200


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/v2/health/ready", "/"])
def test_probes_and_the_page_need_no_key(client, path):
    assert client.get(path).status_code == 200


def test_metrics_can_be_opened_and_nothing_else_with_them(keys):
    settings = ServerSettings(api_keys=str(keys[0]), open_metrics=True)
    with TestClient(create_app(registry_of(StubPredictor), settings)) as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/drift").status_code == 401


def test_a_refusal_is_counted(client, keys):
    client.post("/predict", json={"text": "a"})
    metrics = client.get("/metrics", headers={"X-API-Key": keys[1]}).text
    assert re.search(r'longform_requests_total{code="401",endpoint="other"} 1.0', metrics) or (
        'longform_requests_total{endpoint="other",code="401"} 1.0' in metrics
    )


def test_every_known_key_is_compared(keys, monkeypatch):
    compared = []
    real = hashlib.sha256

    def compare(one, other):
        compared.append(other)
        return one == other

    monkeypatch.setattr("longform.serving.security.hmac.compare_digest", compare)
    ring = KeyRing.from_file(keys[0])
    assert ring.owner(keys[1]) == "clients"
    assert ring.owner(None) is None
    assert len(compared) == 4
    assert real(keys[1].encode()).digest() in compared


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "none in"),
        ("clients:abc\n", "line 1"),
        ("lf-secret\n", "line 1"),
        ("a:" + "0" * 64 + "\na:" + "1" * 64, "line 2"),
    ],
)
def test_a_file_of_keys_of_another_form_is_refused_without_repeating_it(tmp_path, content, found):
    path = tmp_path / "keys"
    path.write_text(content)
    with pytest.raises(ConfigError, match=found) as refused:
        KeyRing.from_file(path)
    assert "secret" not in str(refused.value)
    with pytest.raises(ConfigError, match="readable"):
        KeyRing.from_file(tmp_path / "nothing")


def test_the_verb_makes_a_key_and_the_line_that_the_server_needs(tmp_path):
    result = CliRunner().invoke(command_line, ["key", "clients"])
    assert result.exit_code == 0
    key, line = result.stdout.split()
    path = tmp_path / "keys"
    path.write_text(line)
    assert KeyRing.from_file(path).owner(key) == "clients"
    assert key not in line


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"tls_key": "a.pem"}, "belong together"),
        ({"admin_port": 1, "admin_host": "0.0.0.0"}, "needs admin_keys"),
        ({"admin_port": 1, "admin_host": "somewhere"}, "needs admin_keys"),
    ],
)
def test_settings_that_would_be_unsafe_are_refused(settings, match):
    with pytest.raises(ConfigError, match=match):
        ServerSettings(**settings)
