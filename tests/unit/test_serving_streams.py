from __future__ import annotations

import io
import json
import zipfile

import pytest
from fastapi.testclient import TestClient
from serving_stub import StubPredictor, expected_score, registry_of, wait_until_opened

from longform.serving.rest import create_app
from longform.serving.settings import ServerSettings

pypdf = pytest.importorskip("pypdf")
docx = pytest.importorskip("docx")


@pytest.fixture
def stub():
    stub = StubPredictor()
    stub.segment_length = 10
    stub.bundle.description.knobs.segments.segment_length = 10
    return stub


@pytest.fixture
def client(stub):
    registry = registry_of(lambda: stub, "demo")
    settings = ServerSettings(max_client_batch_size=4, payload_limit=1_000_000)
    with TestClient(create_app(registry, settings), raise_server_exceptions=False) as client:
        wait_until_opened(registry)
        yield client
    stub.release.set()


def events(reply):
    assert reply.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in reply.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line[:10])
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_the_answer_is_told_as_it_forms_and_ends_with_the_reply_of_predict(client, stub):
    stub.seconds_per_batch = 0.005
    body = {"inputs": ["甲" * 100, " "], "parameters": {"top_k": 1}}
    told = events(client.post("/predict/stream", json=body))
    kinds = [kind for kind, _ in told]
    assert kinds[-1] == "answer"
    assert set(kinds[:-1]) == {"progress"}
    progress = [content for _, content in told[:-1]]
    assert {content["index"] for content in progress} == {0}
    used = [content["prediction"]["coverage"]["segments_used"] for content in progress]
    assert used == sorted(used)
    always = {"label", "score", "scores", "coverage", "calibrated", "abstained"}
    assert set(progress[0]["prediction"]) == always
    final = told[-1][1]
    assert final["predictions"][0]["score"] == pytest.approx(expected_score("甲" * 100))
    assert len(final["predictions"][0]["scores"]) == 1
    assert final["predictions"][1]["error_type"] == "empty"
    assert final["model"]["name"] == "demo"


def test_what_is_refused_at_once_is_refused_with_a_status(client):
    for body, status in (({"inputs": []}, 422), ({"inputs": "a", "model": "x"}, 404)):
        reply = client.post("/predict/stream", json=body)
        assert (reply.status_code, "error" in reply.json()) == (status, True)
    assert client.post("/predict/stream", content=b"{").status_code == 400


@pytest.mark.parametrize(
    ("text", "kind"), [("crash", "backend"), ("refuse", "validation"), ("away", "unhealthy")]
)
def test_what_fails_on_the_way_is_an_event(client, text, kind):
    ((name, content),) = events(client.post("/predict/stream", json={"text": text}))
    assert (name, content["error_type"]) == ("error", kind)


def test_streams_are_counted_and_observed(client):
    client.post("/predict/stream", json={"text": "a" * 35})
    metrics = client.get("/metrics").text
    assert 'endpoint="/predict/stream"' in metrics
    assert 'longform_input_tokens_sum{model="demo"} 35.0' in metrics


def word_file(*paragraphs):
    document, stream = docx.Document(), io.BytesIO()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    table = document.add_table(1, 2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "left", "right"
    document.save(stream)
    return stream.getvalue()


def pdf_file(text):
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = pypdf.PdfWriter()
    page = writer.add_blank_page(300, 300)
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    content = DecodedStreamObject()
    if text:
        content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
    page[NameObject("/Contents")] = writer._add_object(content)
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


FILES = {
    "plain.txt": (b"The court finds", "The court finds"),
    "gb.txt": ("原告请求判令被告支付货款。".encode("gb18030"), "原告请求判令被告支付货款。"),
    "wide.txt": ("甲乙".encode("utf-16"), "甲乙"),
    "word.docx": (word_file("First.", "第二。"), "First.\n第二。\nleft\tright"),
    "paper.pdf": (pdf_file("A page of text"), "A page of text"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_each_kind_are_read_and_classified(client, name):
    content, text = FILES[name]
    told = client.post("/files/text", files=[("files", (name, content))])
    assert told.json() == {"files": [{"name": name, "text": text}]}
    options = {"options": json.dumps({"parameters": {"top_k": 1}})}
    reply = client.post("/predict/files", files=[("files", (name, content))], data=options)
    (answer,) = reply.json()["predictions"]
    assert answer["score"] == pytest.approx(expected_score(text))
    assert len(answer["scores"]) == 1


def archive(**entries):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, size in entries.items():
            file.writestr(name.replace("__", "/").replace("_xml", ".xml"), b"a" * size)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (archive(word__document_xml=50_000_000), "when unpacked"),
        (archive(other=5), "archive of another kind"),
        (b"PK\x03\x04 damaged", "BadZipFile"),
        (b"%PDF-1.4 damaged", "readable"),
        (pdf_file(""), "must hold text"),
        (b"\x7fELF\x00\x00\x01", "something else"),
        (b"\xff\xfe\x00\xd8", "readable"),
        (b"", "empty"),
    ],
    ids=["bomb", "archive", "broken archive", "broken pdf", "pictures", "program", "half", "empty"],
)
def test_r75_a_file_that_cannot_be_read_has_its_error_in_its_place(client, content, found):
    files = [("files", ("bad", content)), ("files", ("good.txt", b"good text"))]
    reply = client.post("/predict/files", files=files)
    assert reply.status_code == 200
    bad, good = reply.json()["predictions"]
    assert found in bad["error"]
    assert good["score"] == pytest.approx(expected_score("good text"))


def test_wrong_forms_are_refused(client):
    assert client.post("/predict/files", json={"a": 1}).status_code == 415
    assert client.post("/predict/files", data={"a": "1"}).status_code == 415
    many = [("files", (f"{n}", b"a")) for n in range(5)]
    assert client.post("/predict/files", files=many).status_code == 422
    headers = {"Content-Type": "multipart/form-data"}
    assert client.post("/predict/files", content=b"x", headers=headers).status_code == 400
    large = [("files", ("large", b"a" * 1_100_000))]
    assert client.post("/predict/files", files=large).status_code == 413
    for options in ("[", '{"inputs": "x"}', '{"nothing": 1}'):
        reply = client.post(
            "/predict/files", files=[("files", ("a", b"a"))], data={"options": options}
        )
        assert reply.status_code in {400, 422}
