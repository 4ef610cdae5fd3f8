from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvicorn
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from serving_stub import StubPredictor, expected_score, registry_of, wait_until_opened

from longform.errors import GateError, InputError
from longform.serving.rest import create_app
from longform.serving.server import bind, run
from longform.serving.settings import ServerSettings


@pytest.fixture
def stub():
    return StubPredictor()


@pytest.fixture
def serve(stub):
    """Start applications with the given settings and stop them after the test."""
    clients = []

    def start(load=lambda: stub, **settings):
        limits = ServerSettings(**settings)
        registry = registry_of(load, "demo", max_concurrent_requests=limits.max_concurrent_requests)
        client = TestClient(create_app(registry, limits), raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        wait_until_opened(registry)
        client.registry = registry
        return client

    yield start
    stub.release.set()
    for client in clients:
        client.__exit__(None, None, None)


def samples(client: TestClient) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_reply_has_the_fixed_shape(serve):
    reply = serve().post("/predict", json={"inputs": ["甲" * 10, "乙" * 20]})
    assert reply.status_code == 200
    content = reply.json()
    assert content["model"] == {"name": "demo", "version": "1", "digest": "d" * 64}
    first, second = content["predictions"]
    always = {"label", "score", "scores", "coverage", "calibrated", "abstained"}
    assert set(first) == always
    assert first["label"] == "judgment"
    assert [entry["label"] for entry in first["scores"]] == ["judgment", "contract", "news"]
    assert first["coverage"] == {
        "tokens_total": 10,
        "tokens_used": 10,
        "segments_total": 1,
        "segments_used": 1,
        "truncated": False,
        "reason": None,
    }
    assert first["score"] == pytest.approx(expected_score("甲" * 10))
    assert second["score"] == pytest.approx(expected_score("乙" * 20))
    assert set(content["timing_ms"]) == {"tokenize", "queue", "infer", "total"}


def test_evidence_comes_only_when_asked_for(serve):
    reply = serve().post("/predict", json={"text": "abc", "evidence": True}).json()
    assert reply["predictions"][0]["evidence"] == [
        {"segment": 0, "start": 0, "end": 3, "score": 0.25, "label": "judgment",
         "contribution": 0.0, "log_odds": 0.0}
    ]  # fmt: skip


def test_pairs_are_answered_with_the_text_that_each_stretch_is_of(serve):
    client = serve(lambda: StubPredictor(text_pair=True))
    body = {"inputs": [{"text": "a", "text_pair": "bc"}, {"text": "def", "text_pair": "g"}]}
    first, second = client.post("/predict", json={**body, "evidence": True}).json()["predictions"]
    assert [(item["part"], item["end"]) for item in first["evidence"]] == [(0, 1), (1, 2)]
    assert [(item["part"], item["end"]) for item in second["evidence"]] == [(0, 3), (1, 1)]
    assert second["score"] == pytest.approx(expected_score("def"))
    assert first["coverage"]["tokens_total"] == 3
    assert "labels" not in first
    assert "evidence" not in client.post("/predict", json=body).json()["predictions"][0]


@pytest.mark.parametrize(
    ("text_pair", "body", "found"),
    [
        (False, {"text": "a", "text_pair": "b"}, "document '0' has a second one"),
        (True, {"inputs": "a"}, "document '0' has one"),
    ],
)
def test_a_wrong_number_of_texts_is_422_with_the_rule_and_runs_nothing(
    serve, text_pair, body, found
):
    predictor = StubPredictor(text_pair=text_pair)
    reply = serve(lambda: predictor).post("/predict", json=body)
    assert (reply.status_code, reply.json()["error_type"]) == (422, "validation")
    assert "This model judges" in reply.json()["error"]
    assert found in reply.json()["error"]
    assert predictor.seen == []


def test_r77_each_document_of_a_list_has_its_answer_or_its_error_in_its_place(serve, stub):
    bad = [{"text": "a", "text_pair": "b"}, " \n", "\ud800", "refuse", "nan", ""]
    body = json.dumps({"inputs": ["x" * 5, *bad[:4], "y" * 7, bad[5]]})
    reply = serve().post("/predict", content=body)
    assert reply.status_code == 200
    items = reply.json()["predictions"]
    assert items[0]["score"] == pytest.approx(expected_score("x" * 5))
    assert items[5]["score"] == pytest.approx(expected_score("y" * 7))
    kinds = [items[index]["error_type"] for index in (1, 2, 3, 4, 6)]
    assert kinds == ["validation", "empty", "validation", "validation", "empty"]
    assert "document '1' has a second" in items[1]["error"]
    assert "surrogate" in items[3]["error"]
    assert sorted(stub.seen) == ["x" * 5, "y" * 7]


def test_r87_labels_at_or_above_their_threshold_are_given(serve):
    client = serve(lambda: StubPredictor(multi_label=True), top_k=1)
    body = {"inputs": ["x" * 10, "x" * 9, "x" * 90]}
    at, below, high = client.post("/predict", json=body).json()["predictions"]
    assert [entry["label"] for entry in at["labels"]] == ["judgment", "contract"]
    assert at["labels"][0]["score"] == at["score"] == pytest.approx(expected_score("x" * 10))
    assert [entry["label"] for entry in below["labels"]] == ["contract"]
    assert below["label"] == "judgment"
    assert [entry["label"] for entry in high["labels"]] == ["judgment"]
    assert [entry["label"] for entry in high["scores"]] == ["judgment"]


def test_info_tells_what_a_document_is_and_which_labels_there_are(serve):
    content = serve().get("/info").json()
    assert content["model"] == {"name": "demo", "version": "1", "digest": "d" * 64}
    assert content["backend"] == {"name": "stub", "device": "cpu", "precision": "fp32"}
    assert content["problem_type"] == "single_label_classification"
    assert content["text_pair"] is False
    assert content["labels"][0] == {"label": "contract", "threshold": None}
    content = serve(lambda: StubPredictor(text_pair=True, multi_label=True)).get("/info").json()
    assert content["problem_type"] == "multi_label_classification"
    assert content["text_pair"] is True
    assert [entry["label"] for entry in content["labels"]] == ["contract", "judgment", "news"]
    assert [entry["threshold"] for entry in content["labels"]] == [
        0.1,
        expected_score("x" * 10),
        0.5,
    ]


def test_info_of_a_model_that_is_not_loaded_is_503_with_the_reason(serve):
    def load():
        raise GateError("The bundle must be whole.", found="a changed byte")

    reply = serve(load).get("/info")
    assert (reply.status_code, reply.json()["error_type"]) == (503, "unhealthy")
    assert "changed byte" in reply.json()["error"]


def test_top_k_of_the_request_wins_over_that_of_the_server(serve):
    client = serve(top_k=2)
    asked = client.post("/predict", json={"text": "a", "parameters": {"top_k": 1}}).json()
    assert len(asked["predictions"][0]["scores"]) == 1
    unasked = client.post("/predict", json={"text": "a"}).json()
    assert len(unasked["predictions"][0]["scores"]) == 2


def test_r71_the_same_request_three_times(serve):
    client = serve()
    replies = [client.post("/predict", json={"text": "again"}) for _ in range(3)]
    assert {reply.status_code for reply in replies} == {200}
    assert len({json.dumps(reply.json()["predictions"]) for reply in replies}) == 1


def test_r70_concurrent_clients_get_their_own_answers(serve):
    client = serve()
    texts = ["y" * n for n in range(1, 40)]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda text: client.post("/predict", json={"text": text}), texts))
    for text, reply in zip(texts, replies, strict=True):
        assert reply.json()["predictions"][0]["score"] == pytest.approx(expected_score(text))


@pytest.mark.parametrize(
    ("body", "status", "error_type"),
    [
        (b"not json", 400, "validation"),
        (b"\xff\xff", 400, "validation"),
        (b"[" * 100_000, 400, "validation"),
        (b'{"inputs": "a", "inputs": "b"}', 400, "validation"),
        (b'{"inputs": 1}', 422, "validation"),
        (b'{"inputs": []}', 422, "empty"),
        (b'{"inputs": " "}', 422, "empty"),
        (b'{"inputs": ["a", "b", "c", "d"]}', 422, "validation"),
        (b'{"inputs": "refuse"}', 422, "validation"),
        (b'{"inputs": "\\ud800"}', 422, "validation"),
        (b'{"inputs": "' + b"x" * 3000 + b'"}', 413, "validation"),
        (b'{"inputs": "crash"}', 500, "backend"),
        (b'{"inputs": "nan"}', 500, "backend"),
    ],
)
def test_r75_faults_are_json_with_the_documented_status(serve, body, status, error_type):
    client = serve(max_client_batch_size=3, payload_limit=300_000 if body[:1] == b"[" else 2000)
    reply = client.post("/predict", content=body)
    assert (reply.status_code, reply.json()["error_type"]) == (status, error_type)
    assert "Traceback" not in reply.text
    assert "NaN" not in reply.text.replace("NaN or Infinity", "")
    documented = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["responses"]
    assert str(status) in documented


def test_r75_a_body_without_a_length_is_bounded_too(serve):
    client = serve(payload_limit=1000)
    reply = client.post("/predict", content=(b"x" * 100 for _ in range(20)))
    assert reply.status_code == 413


def test_strict_refuses_what_was_not_read_as_a_whole(serve):
    assert serve().post("/predict", json={"text": "long"}).status_code == 200
    strict = serve(strict=True)
    assert strict.post("/predict", json={"text": "long"}).status_code == 413
    answer, refusal = strict.post("/predict", json={"inputs": ["short", "long"]}).json()[
        "predictions"
    ]
    assert answer["label"] == "judgment"
    assert "document 1: 40 of 100 tokens" in refusal["error"]
    asked = {"text": "long", "parameters": {"strict": True}}
    assert serve().post("/predict", json=asked).status_code == 413
    pairs = serve(lambda: StubPredictor(text_pair=True), strict=True)
    reply = pairs.post("/predict", json={"text": "short", "text_pair": "long"})
    assert reply.status_code == 413


def test_r74_overload_is_429_with_retry_after_and_recovers(serve, stub):
    client = serve(max_concurrent_requests=1)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(client.post, "/predict", json={"text": "hold"})
        assert stub.started.wait(5)
        reply = client.post("/predict", json={"text": "one more"})
        stub.release.set()
        assert held.result(5).status_code == 200
    assert (reply.status_code, reply.json()["error_type"]) == (429, "overloaded")
    assert int(reply.headers["retry-after"]) >= 1
    assert client.post("/predict", json={"text": "now"}).status_code == 200


def test_r72_health_and_metrics_answer_while_inference_runs(serve, stub):
    client = serve()
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(client.post, "/predict", json={"text": "hold"})
        assert stub.started.wait(5)
        assert client.get("/health/ready").json()["status"] == "ready"
        assert samples(client)[("longform_queue_depth",)] == 1
        assert not held.done()
        stub.release.set()
        assert held.result(5).status_code == 200


def test_ready_says_why_not_until_the_model_is_there(serve, stub):
    gate = threading.Event()

    def load():
        assert gate.wait(5)
        return stub

    registry = registry_of(load)
    with TestClient(create_app(registry, ServerSettings())) as client:
        reply = client.get("/health/ready")
        assert (reply.status_code, reply.json()["status"]) == (503, "starting")
        assert "loading" in reply.json()["reason"]
        assert client.get("/health/live").status_code == 200
        refused = client.post("/predict", json={"text": "a"})
        assert (refused.status_code, refused.json()["error_type"]) == (503, "unhealthy")
        gate.set()
        wait_until_opened(registry)
        reply = client.get("/health/ready")
        assert reply.status_code == 200
        assert reply.json()["backend"] == {"name": "stub", "device": "cpu", "precision": "fp32"}


def test_b18_health_says_so_when_the_thread_has_died(serve):
    client = serve()
    assert client.post("/predict", json={"text": "die"}).status_code == 500
    assert client.get("/health/live").status_code == 503
    reply = client.get("/health/ready")
    assert (reply.status_code, reply.json()["status"]) == (503, "failed")
    assert "died" in reply.json()["reason"]


def test_r84_each_request_is_counted_once_by_code(serve):
    client = serve()
    for body in ({"text": "a"}, {"text": "long"}, {"inputs": []}, {"text": "crash"}):
        client.post("/predict", json=body)
    client.get("/nowhere")
    found = samples(client)
    assert found[("longform_requests_total", "200", "/predict")] == 2
    assert found[("longform_requests_total", "422", "/predict")] == 1
    assert found[("longform_requests_total", "500", "/predict")] == 1
    assert found[("longform_requests_total", "404", "other")] == 1
    assert found[("longform_request_duration_seconds_count", "/predict")] == 4
    assert found[("longform_infer_duration_seconds_count", "demo")] == 2
    assert found[("longform_truncated_total", "demo", "max_segments")] == 1
    assert found[("longform_input_tokens_sum", "demo")] == 101
    assert found[("longform_model_info", "stub", "d" * 64, "demo", "1")] == 1


def test_an_abstention_is_told_and_counted(serve):
    client = serve()
    (sure,) = client.post("/predict", json={"text": "a"}).json()["predictions"]
    (unsure,) = client.post("/predict", json={"text": "unsure"}).json()["predictions"]
    assert (sure["calibrated"], sure["abstained"]) == (False, False)
    assert "prediction_set" not in sure
    assert (unsure["calibrated"], unsure["abstained"]) == (True, True)
    assert unsure["prediction_set"] == ["judgment", "news"]
    assert unsure["label"] == "judgment"
    assert samples(client)[("longform_abstained_total", "demo", "1")] == 1


def test_two_applications_do_not_share_their_counters(serve):
    one, two = serve(), serve()
    one.post("/predict", json={"text": "a"})
    assert ("longform_requests_total", "200", "/predict") not in samples(two)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/page.css",
        "/words.js",
        "/elements.js",
        "/reader.js",
        "/answer.js",
        "/page.js",
    ],
)
def test_the_pages_load_nothing_from_elsewhere(serve, path):
    reply = serve().get(path)
    assert reply.status_code == 200
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    outside = re.findall(r"(?:src|href|url\(|import)\W{1,3}(?:https?:)?//", reply.text)
    assert outside == []
    assert "innerHTML" not in reply.text


def test_unknown_addresses_and_methods_answer_in_the_same_form(serve):
    client = serve()
    assert set(client.get("/nowhere").json()) == {"error", "error_type"}
    assert client.get("/predict").status_code == 405


def test_the_openapi_document_names_every_reply(serve):
    document = serve().get("/openapi.json").json()
    operation = document["paths"]["/predict"]["post"]
    assert set(operation["responses"]) == {
        "200", "400", "401", "404", "408", "413", "422", "429", "500", "503"
    }  # fmt: skip
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {
        "inputs", "text", "text_pair", "model", "version", "parameters", "evidence",
        "refine_evidence",
    }  # fmt: skip
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert {"a document", "a pair of texts"} <= set(examples)
    examples = operation["responses"]["200"]["content"]["application/json"]["examples"]
    assert {"one label", "several labels", "a pair with evidence"} <= set(examples)


def test_r78_a_taken_port_is_named_with_the_way_out():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port}.*--port"):
            bind(ServerSettings(port=port))


def test_a_host_that_is_not_ours_is_named():
    with pytest.raises(InputError, match=r"192\.0\.2\.1.*--host"):
        bind(ServerSettings(host="192.0.2.1", port=0))


def test_r73_waiting_work_of_a_client_that_left_is_dropped(stub):
    settings = ServerSettings(port=0)
    listener = bind(settings)
    registry = registry_of(lambda: stub)
    server = uvicorn.Server(uvicorn.Config(create_app(registry, settings), log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until_opened(registry)
    held = socket.create_connection(listener.getsockname()[:2])
    leaving = socket.create_connection(listener.getsockname()[:2])
    with held, leaving:
        held.sendall(raw_request("hold"))
        assert stub.started.wait(5)
        leaving.sendall(raw_request("never read"))
        wait_until(lambda: registry.pending_requests == 2)
        leaving.close()
        wait_until(lambda: registry.pending_requests == 1)
        stub.release.set()
        assert held.recv(20).startswith(b"HTTP/1.1 200")
    server.should_exit = True
    thread.join(10)
    listener.close()
    assert stub.seen == ["hold"]


def raw_request(text: str) -> bytes:
    body = json.dumps({"text": text}).encode()
    return b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def wait_until(holds, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline
        pause.wait(0.01)


def test_r80_sigterm_ends_the_server_and_tells_the_caller(stub):
    registry = registry_of(lambda: stub)
    addresses = []

    def stop_when_ready():
        wait_until_opened(registry, 10)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop_when_ready)

    def bound(address):
        addresses.append(address)
        if len(addresses) == 1:
            stopper.start()

    assert run(registry, ServerSettings(port=0), on_bound=bound) == signal.SIGTERM
    stopper.join(5)
    assert addresses[0].startswith("http://127.0.0.1:")
    assert addresses[1].endswith("(gRPC)")
    assert stub.calls[-1] == "close"


def test_run_raises_what_kept_the_model_from_starting():
    def load():
        raise GateError("The bundle must be whole.", found="a changed byte")

    with pytest.raises(GateError, match="changed byte"):
        run(registry_of(load), ServerSettings(port=0))
