"""The shapes of other servers: KServe V2, vLLM's classify, text-embeddings-inference."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient
from serving_stub import StubPredictor, expected_score, registry_of, wait_until_opened

from longform.serving.rest import create_app
from longform.serving.settings import ServerSettings

TEXTS = ["本院认为。", "The contract is void. 合同无效。"]


@pytest.fixture
def stub():
    return StubPredictor()


@pytest.fixture
def client(stub):
    registry = registry_of(lambda: stub, "demo")
    settings = ServerSettings(max_client_batch_size=4)
    with TestClient(create_app(registry, settings), raise_server_exceptions=False) as opened:
        wait_until_opened(registry)
        opened.registry = registry
        yield opened
        stub.release.set()


def tensor(texts, **changes):
    return {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts, **changes}


def binary(texts):
    data = b"".join(len(t.encode()).to_bytes(4, "little") + t.encode() for t in texts)
    described = tensor(texts, parameters={"binary_data_size": len(data)})
    del described["data"]
    header = json.dumps({"inputs": [described]}).encode()
    return header + data, {"Inference-Header-Content-Length": str(len(header))}


def infer(client, content, model="demo"):
    return client.post(f"/v2/models/{model}/infer", json=content)


def outputs(reply):
    assert reply.status_code == 200, reply.text
    return {output["name"]: output for output in reply.json()["outputs"]}


def test_kserve_answers_each_document_in_order(client):
    reply = infer(client, {"id": "a7", "inputs": [tensor(TEXTS)]})
    found = outputs(reply)
    assert reply.json()["id"] == "a7"
    assert (reply.json()["model_name"], reply.json()["model_version"]) == ("demo", "1")
    assert found["score"]["data"] == pytest.approx([expected_score(text) for text in TEXTS])
    assert found["score"]["datatype"] == found["coverage"]["datatype"] == "FP32"
    assert found["label"]["datatype"] == "BYTES"
    assert all(output["shape"] == [2] for output in found.values())
    assert all(0 < share <= 1 for share in found["coverage"]["data"])


def test_kserve_reads_binary_tensors_as_its_json(client):
    body, headers = binary(TEXTS)
    reply = client.post("/v2/models/demo/versions/1/infer", content=body, headers=headers)
    assert outputs(reply) == outputs(infer(client, {"inputs": [tensor(TEXTS)]}))


def test_kserve_gives_the_outputs_that_are_wanted(client):
    wanted = [{"name": "score", "parameters": {"binary_data": True}}]
    reply = infer(client, {"inputs": [tensor(TEXTS)], "outputs": wanted})
    assert list(outputs(reply)) == ["score"]


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        ({"inputs": []}, 422, "one tensor 'text'"),
        ({"inputs": [tensor(TEXTS, shape=[3])]}, 422, "shape [3] with 2 elements"),
        ({"inputs": [tensor(TEXTS, shape=[1, 2])]}, 422, "shape"),
        ({"inputs": [tensor(TEXTS, datatype="FP32")]}, 422, "datatype"),
        ({"inputs": [tensor([])]}, 422, "at least one document"),
        ({"inputs": [tensor(["a"] * 5)]}, 422, "at most 4 documents"),
        ({"inputs": [tensor([" "])]}, 422, "blank"),
        ({"inputs": [tensor(TEXTS, data=None)]}, 422, "neither"),
        ({"inputs": [tensor(TEXTS)], "outputs": [{"name": "logits"}]}, 422, "logits"),
    ],
)
def test_kserve_refuses_other_tensors(client, content, status, said):
    reply = infer(client, content)
    assert reply.status_code == status
    assert said in reply.json()["error"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body, headers: (body[:-1], headers), "number of bytes after"),
        (
            lambda body, headers: (body, {**headers, "Inference-Header-Content-Length": "-1"}),
            "'-1'",
        ),
        (
            lambda body, headers: (body, {**headers, "Inference-Header-Content-Length": "99999"}),
            "length of the JSON",
        ),
        (lambda body, headers: (body[:-1] + b"\xff", headers), "UTF-8"),
        (
            lambda body, headers: (body.replace(b"\x0f\x00\x00\x00", b"\xff\xff\x00\x00"), headers),
            "ends beyond",
        ),
    ],
)
def test_kserve_refuses_damaged_binary_tensors(client, change, said):
    body, headers = change(*binary(TEXTS))
    reply = client.post("/v2/models/demo/infer", content=body, headers=headers)
    assert reply.status_code == 400, reply.text
    assert said in reply.json()["error"]


def test_kserve_describes_the_server_and_the_model(client):
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/demo/ready").json() == {"name": "demo", "ready": True}
    described = client.get("/v2/models/demo/versions/1").json()
    assert described["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [output["name"] for output in described["outputs"]] == ["label", "score", "coverage"]


@pytest.mark.parametrize("path", ["other", "demo/versions/2"])
def test_a_model_that_is_not_served_is_404(client, path):
    assert client.get(f"/v2/models/{path}").status_code == 404
    assert client.get(f"/v2/models/{path}/ready").status_code == 404
    reply = client.post(f"/v2/models/{path}/infer", json={"inputs": [tensor(TEXTS)]})
    assert reply.status_code == 404
    assert "'demo'" in reply.json()["error"]


def test_kserve_is_honest_while_the_server_stops(client):
    client.registry.drain()
    assert client.get("/v2/health/ready").status_code == 503
    assert client.get("/v2/models/demo/ready").json() == {"name": "demo", "ready": False}
    assert infer(client, {"inputs": [tensor(TEXTS)]}).status_code == 503


def test_classify_tells_of_abstaining_and_the_shape_of_tei_stays(client):
    (item,) = client.post("/v1/classify", json={"input": "unsure"}).json()["data"]
    assert (item["calibrated"], item["abstained"]) == (True, True)
    assert item["prediction_set"] == ["judgment", "news"]
    (item,) = client.post("/v1/classify", json={"input": "a"}).json()["data"]
    assert (item["calibrated"], item["abstained"]) == (False, False)
    assert "prediction_set" not in item
    for scored in client.post("/tei/predict", json={"inputs": "unsure"}).json():
        assert set(scored) == {"label", "score"}


def test_classify_gives_probabilities_in_the_order_of_the_labels(client, stub):
    reply = client.post("/v1/classify", json={"input": TEXTS, "model": "demo"}).json()
    assert reply["object"] == "list"
    assert reply["id"].startswith("classify-")
    assert [item["index"] for item in reply["data"]] == [0, 1]
    for item, text in zip(reply["data"], TEXTS, strict=True):
        assert item["num_classes"] == len(item["probs"]) == len(stub.rule.labels)
        assert max(item["probs"]) == pytest.approx(expected_score(text))
        assert stub.rule.labels[item["probs"].index(max(item["probs"]))] == item["label"]
    read = sum(item["coverage"]["tokens_used"] for item in reply["data"])
    assert reply["usage"]["prompt_tokens"] == reply["usage"]["total_tokens"] == read > 0
    one = client.post("/v1/classify", json={"input": TEXTS[0]}).json()
    assert one["data"][0]["probs"] == reply["data"][0]["probs"]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"input": "a", "model": "other"}, 404),
        ({"input": ""}, 422),
        ({"input": []}, 422),
        ({"input": [1, 2]}, 422),
        ({"input": "a", "truncate_prompt_tokens": 5}, 422),
    ],
)
def test_classify_refuses(client, content, status):
    assert client.post("/v1/classify", json=content).status_code == status


def test_tei_answers_one_text_flat_and_a_batch_in_lists(client):
    one = client.post("/tei/predict", json={"inputs": TEXTS[0], "truncate": True})
    assert one.json()[0]["score"] == pytest.approx(expected_score(TEXTS[0]))
    assert int(one.headers["x-compute-characters"]) == len(TEXTS[0])
    assert int(one.headers["x-compute-tokens"]) > 0
    batch = client.post("/tei/predict", json={"inputs": [[text] for text in TEXTS]}).json()
    assert batch[0] == one.json()
    assert len(batch) == 2


def test_tei_reads_a_flat_list_of_two_as_a_pair(client):
    reply = client.post("/tei/predict", json={"inputs": TEXTS})
    assert reply.status_code == 422
    assert reply.json()["error_type"] == "validation"


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        ({"inputs": ""}, 400, "empty"),
        ({"inputs": []}, 400, "empty"),
        ({"inputs": ["a", "b", "c"]}, 422, "validation"),
        ({"inputs": "a", "raw_scores": "yes"}, 422, "validation"),
        ({"inputs": [["a", "b", "c"]]}, 422, "validation"),
    ],
)
def test_tei_has_its_own_codes(client, content, status, kind):
    reply = client.post("/tei/predict", json=content)
    assert (reply.status_code, reply.json()["error_type"]) == (status, kind)


def test_every_shape_is_in_the_openapi_document(client):
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/v1/classify", "/tei/predict", "/v2/models/{model}/infer"):
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        assert content["examples"]
        assert "$ref" not in json.dumps(content["schema"])


def test_an_id_that_is_no_unicode_comes_back_as_it_was(client):
    body = b'{"id": "\\ud800", "inputs": [%s]}' % json.dumps(tensor(TEXTS)).encode()
    reply = client.post("/v2/models/demo/infer", content=body)
    assert reply.status_code == 200
    assert reply.json()["id"] == "\ud800"
