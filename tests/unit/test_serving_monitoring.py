from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from serving_stub import StubPredictor, registry_of, wait_until_opened

from longform.backends.ascend.npu_smi import Npu, UnknownLayoutError
from longform.decision.sketch import Sketch
from longform.serving.device_metrics import DeviceCollector, DeviceReading
from longform.serving.request_log import _JsonFormatter, _TextFormatter, set_up_logging
from longform.serving.rest import create_app
from longform.serving.settings import ServerSettings


@pytest.fixture
def stub():
    return StubPredictor()


@pytest.fixture
def client(stub):
    registry = registry_of(lambda: stub, "demo")
    with TestClient(
        create_app(registry, ServerSettings()), raise_server_exceptions=False
    ) as client:
        wait_until_opened(registry)
        yield client


def test_each_request_is_one_line_with_its_figures_and_without_its_text(client, caplog):
    secret = "the defendant lives in"
    with caplog.at_level(logging.INFO, "longform.requests"):
        client.post("/predict", json={"inputs": [secret, " "]}, headers={"X-Request-ID": "a-7"})
        client.get("/health/ready")
    (record,) = [one for one in caplog.records if one.name == "longform.requests"]
    line = json.loads(_JsonFormatter().format(record))
    assert (line["request_id"], line["code"], line["endpoint"]) == ("a-7", 200, "/predict")
    assert (line["documents"], line["unanswered"], line["tokens"]) == (2, 1, len(secret))
    assert (line["model"], line["version"]) == ("demo", "1")
    assert secret not in _JsonFormatter().format(record)
    assert "a-7" in _TextFormatter().format(record)


@pytest.mark.parametrize("sent", ["a\nlevel=error", "x" * 200, 'a"b', "", "甲".encode()])
def test_r90_an_id_that_could_forge_a_line_is_replaced(client, sent):
    given = sent if isinstance(sent, bytes) else sent.encode()
    reply = client.post("/predict", json={"inputs": "a"}, headers={b"X-Request-ID": given})
    assert len(reply.headers["x-request-id"]) == 32
    assert client.get("/info", headers={"X-Request-ID": "ok.1"}).headers["x-request-id"] == "ok.1"


def test_r90_a_line_of_text_stays_one_line():
    record = logging.LogRecord("a", logging.ERROR, "", 0, "one\ntwo\r", (), None)
    assert "\n" not in _TextFormatter().format(record)
    assert json.loads(_JsonFormatter().format(record))["message"] == "one\ntwo\r"


def test_the_log_is_set_up_for_a_process(capsys):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        set_up_logging("json", "WARNING")
        logging.getLogger("longform.x").warning("careful")
        logging.getLogger("longform.x").info("not this")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert json.loads(capsys.readouterr().err)["message"] == "careful"


def test_requests_are_traced_with_their_stages(stub, monkeypatch):
    sdk = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from longform.serving import rest
    from longform.serving.tracing import RequestTracer

    exporter = sdk.InMemorySpanExporter()
    monkeypatch.setattr(
        rest.RequestTracer, "to_endpoint", classmethod(lambda cls, _: RequestTracer(exporter))
    )
    registry = registry_of(lambda: stub, "demo")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with TestClient(create_app(registry, ServerSettings(otlp_endpoint="http://x"))) as client:
        wait_until_opened(registry)
        client.post("/predict", json={"inputs": "abc"}, headers={"traceparent": parent})
        client.get("/health/ready")
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"POST /predict", "tokenize", "queue", "encode", "head"}
    whole = spans["POST /predict"]
    assert f"{whole.context.trace_id:032x}" == parent.split("-")[1]
    assert whole.attributes["longform.tokens"] == 3
    for name in ("tokenize", "queue", "encode", "head"):
        assert spans[name].parent.span_id == whole.context.span_id
        assert whole.start_time <= spans[name].start_time <= spans[name].end_time


def reference(lengths, label, confidence):
    sketch = Sketch()
    for length in lengths:
        sketch.add(length, label, confidence)
    return sketch


def test_the_index_is_zero_for_the_same_and_grows_with_the_difference():
    one = reference([100, 100, 1_000], "a", 0.95)
    assert one.difference(one, "length") == 0
    shifted = reference([100, 1_000, 1_000], "a", 0.95)
    other = reference([9_000] * 3, "b", 0.2)
    assert 0 < one.difference(shifted, "length") < one.difference(other, "length")
    # By hand: shares of 2/3 and 1/3 against 1/3 and 2/3 give 2 * (1/3) * ln 2.
    assert one.difference(shifted, "length") == pytest.approx(2 / 3 * 0.693147, abs=1e-4)
    assert Sketch.from_json(json.loads(json.dumps(one.as_json()))).counts == one.counts


def test_documents_unlike_those_of_validation_show_as_drift(client, stub):
    stub.bundle.description.training["sketch"] = reference([10] * 50, "judgment", 0.55).as_json()
    for _ in range(30):
        client.post("/predict", json={"inputs": ["x" * 10] * 4})
    told = client.get("/drift").json()
    assert told["documents"] == 120
    assert told["quantities"]["length"]["index"] == pytest.approx(0, abs=1e-6)
    assert 'quantity="length"' in client.get("/metrics").text
    for _ in range(60):
        client.post("/predict", json={"inputs": ["x" * 900] * 4})
    assert client.get("/drift").json()["quantities"]["length"]["index"] > 0.25


def test_too_few_documents_tell_nothing(client, stub):
    stub.bundle.description.training["sketch"] = reference([10] * 50, "judgment", 0.55).as_json()
    client.post("/predict", json={"inputs": "x"})
    told = client.get("/drift").json()
    assert told["quantities"]["length"]["index"] is None
    assert "longform_drift_index{" not in client.get("/metrics").text


def test_devices_show_their_memory_and_the_most_of_it():
    reading = DeviceReading("cuda:0", 5.0, 10.0, 0.7)
    readings = [[reading], [replace(reading, memory_used_bytes=3.0)]]
    collector = DeviceCollector([])
    collector._readers = [lambda: readings.pop(0)]
    collector.look()
    collector.look()
    values = {
        family.name: [sample.value for sample in family.samples] for family in collector.collect()
    }
    assert values["longform_device_memory_used_bytes"] == [3.0]
    assert values["longform_device_memory_peak_bytes"] == [5.0]
    assert values["longform_device_utilization_ratio"] == [0.7]


def test_a_device_that_cannot_be_read_is_said_once_and_left_alone(caplog):
    def fail():
        raise OSError("no permission")

    collector = DeviceCollector([])
    collector._readers = [fail]
    collector.look()
    collector.look()
    assert caplog.text.count("no permission") == 1


def collected(collector):
    return {
        family.name: [sample.value for sample in family.samples] for family in collector.collect()
    }


def test_ascend_cards_are_shown_under_the_names_of_npu_exporter_too():
    npu = Npu(3, 0, "910B2", "Warning", 95.2, 41.0, 0.6, 2.0**34, 2.0**36)
    collector = DeviceCollector([])
    collector._readers = [lambda: [DeviceReading("ascend:3", 2.0**34, 2.0**36, 0.6, npu)]]
    collector.look()
    values = collected(collector)
    assert values["longform_device_memory_used_bytes"] == [2.0**34]
    assert values["npu_chip_info_hbm_used_memory"] == [16_384]
    assert values["npu_chip_info_utilization"] == [60]
    assert values["npu_chip_info_temperature"] == [41]
    assert values["npu_chip_info_health_status"] == [0]


def test_an_unknown_layout_is_counted_and_the_next_look_is_made(caplog):
    def unknown():
        raise UnknownLayoutError("npu-smi said: 'something new'")

    collector = DeviceCollector([])
    collector._readers = [unknown]
    collector.look()
    collector.look()
    assert collected(collector)["longform_npu_smi_unknown"] == [2]
    assert caplog.text.count("something new") == 1
