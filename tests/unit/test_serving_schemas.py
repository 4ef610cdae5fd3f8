from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longform.serving.examples import REPLIES, REQUESTS
from longform.serving.parsing import RequestError, parse_request
from longform.serving.reply_schemas import ModelReply, PredictReply, TimingReply, build_prediction
from longform.serving.schemas import PredictRequest, request_schema
from longform.types import Coverage, Document, Evidence, Explanation, LabelScore, Prediction

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["inputs", "text", "text_pair", "parameters", "top_k", "evidence", "x"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


def refuse(body: bytes | object, limit: int = 4) -> RequestError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(RequestError) as caught:
        parse_request(raw, limit)
    return caught.value


def read(body: object) -> list[tuple[str, str | None]]:
    request = parse_request(json.dumps(body).encode(), 4)
    return [(document.text, document.text_pair) for document in request.documents()]


def test_a_string_a_list_and_text_are_taken():
    assert read({"inputs": "甲"}) == [("甲", None)]
    # A flat list of two is two documents, not a pair.
    assert read({"inputs": ["a", "b"]}) == [("a", None), ("b", None)]
    request = parse_request(b'\xef\xbb\xbf{"text": "a", "evidence": true}', 4)
    assert request.documents() == [Document("0", "a")]
    assert request.evidence


def test_pairs_are_taken_wherever_a_document_may_stand():
    pair = {"text": "a", "text_pair": "b"}
    assert read(pair) == [("a", "b")]
    assert read({"inputs": pair}) == [("a", "b")]
    assert read({"inputs": [pair, {"text": "c", "text_pair": "d"}]}) == [("a", "b"), ("c", "d")]
    assert read({"inputs": ["a", {"text": "b"}, {"text": "c", "text_pair": None}]}) == [
        ("a", None), ("b", None), ("c", None)
    ]  # fmt: skip


def test_documents_are_numbered_by_their_place():
    request = parse_request(b'{"inputs": ["a", {"text": "b", "text_pair": "c"}]}', 4)
    assert [document.id for document in request.documents()] == ["0", "1"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"text", b"\xff\xfe", b'{"inputs": NaN}', b'{"inputs": "a", "inputs": "b"}'],
    ids=["empty", "cut", "words", "not-utf8", "nan", "duplicate-key"],
)
def test_r75_what_is_not_json_is_400(body):
    assert refuse(body).status == 400


def test_r75_deep_nesting_is_400():
    assert refuse(b"[" * 200_000).status == 400
    assert refuse(b'{"inputs": ' + b"[" * 200_000 + b"]" * 200_000 + b"}").status == 400


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ([], "the request"),
        ({}, "exactly one"),
        ({"inputs": "a", "text": "b"}, "exactly one"),
        ({"inputs": 3}, "inputs"),
        ({"inputs": [["a", "b"]]}, "inputs"),
        ({"inputs": ["a", None]}, "inputs[1]: neither a string nor an object with 'text'"),
        ({"inputs": ["a", ["b"]]}, "inputs[1]: neither a string"),
        ({"inputs": {}}, "inputs.text: field required"),
        ({"inputs": [{"text": "a", "text_pair": 1}]}, "inputs[0].text_pair: input should be"),
        ({"inputs": [{"text": "a", "textpair": "b"}]}, "in inputs[0], did you mean 'text_pair'?"),
        ({"inputs": "a", "text_pair": "b"}, "'text_pair' stands beside 'text'"),
        ({"text_pair": "b"}, "exactly one"),
        ({"text": "a", "parameters": []}, "parameters: no object"),
        ({"input": "a"}, "did you mean 'inputs'"),
        ({"inputs": "a", "evidence": "yes"}, "evidence"),
        ({"inputs": "a", "parameters": {"top_k": 0}}, "top_k"),
        ({"inputs": "a", "parameters": {"topk": 1}}, "did you mean 'top_k'"),
        ({"inputs": "a \ud800"}, "surrogate"),
        ({"text": "a", "text_pair": "b\udfff"}, "the second text of document 0 at character 1"),
    ],
)
def test_r75_wrong_shapes_are_422_and_say_what_is_wrong(body, part):
    error = refuse(body)
    assert (error.status, error.error_type) == (422, "validation")
    assert part in str(error)


def test_r76_batches_of_none_and_of_one_too_many():
    assert (refuse({"inputs": []}).status, refuse({"inputs": []}).error_type) == (422, "empty")
    assert len(parse_request(b'{"inputs": ["a"]}', 1).documents()) == 1
    assert len(parse_request(b'{"inputs": ["a", "b"]}', 2).documents()) == 2
    # Counted before a wrong one among millions is looked for.
    assert "at most 2" in str(refuse({"inputs": ["a", 3, "c"]}, 2))
    assert "at most 2" in str(refuse({"inputs": ["a", "b", "c"]}, 2))


@pytest.mark.parametrize("text", ["", "  \n", "\u3000"])
def test_r77_an_empty_text_of_a_list_has_its_error_in_its_place(text):
    body = json.dumps({"inputs": ["a", text, "b", "\udfff"]}).encode()
    faults = parse_request(body, 9).faults
    assert {index: fault.error_type for index, fault in faults.items()} == {
        1: "empty",
        3: "validation",
    }
    assert "document 1 is" in str(faults[1])
    assert "surrogate pair in document 3 at character 0" in str(faults[3])
    assert refuse({"inputs": text}).error_type == "empty"


def test_r77_an_empty_half_of_a_pair_is_named():
    error = refuse({"inputs": {"text": "a", "text_pair": "\t"}})
    assert (error.status, error.error_type) == (422, "empty")
    assert "the second text of document 0 is blank" in str(error)
    assert "the first text" in str(refuse({"text": "", "text_pair": "b"}))


def test_r90_a_refusal_never_repeats_the_document():
    secret = "the defendant's name"
    for body in (
        {"inputs": [secret, 3]},
        {"inputs": {"a": secret}},
        {"text": [secret]},
        {"inputs": [{"text": secret, "text_pair": 2}]},
    ):
        assert secret not in str(refuse(body))


def status_of(body: bytes) -> int:
    try:
        documents = parse_request(body, 4).documents()
    except RequestError as error:
        str(error).encode("utf-8")
        return error.status
    return 200 if documents and all(document.text.strip() for document in documents) else 0


@given(st.binary(max_size=200))
def test_r75_any_bytes_are_read_or_refused(body):
    assert status_of(body) in {200, 400, 422}


@given(JSON_VALUES)
def test_r75_any_json_is_read_or_refused(content):
    assert status_of(json.dumps(content).encode()) in {200, 400, 422}


def prediction(**changes) -> Prediction:
    scores = (LabelScore("b", 0.75), LabelScore("a", 0.5))
    return Prediction("0", "b", 0.75, scores, Coverage(2, 2, 1, 1), **changes)


def encoded(answer: Prediction, *, text_pair: bool = False, top_k: int | None = None):
    timing = {"tokenize": 0, "queue": 0, "infer": 0, "total": 0}
    model = {"name": "m", "version": "1", "digest": "d"}
    built = build_prediction(answer, top_k, text_pair=text_pair)
    reply = PredictReply(model=model, predictions=[built, built], timing_ms=timing)
    first, second = json.loads(reply.encode())["predictions"]
    assert first == second
    return first


def test_only_what_says_something_is_in_a_reply():
    stretch = Evidence(3, 1, 4, -0.25, "b", part=1, contribution=0.5, log_odds=-1.5)
    always = {"label", "score", "scores", "coverage", "calibrated", "abstained"}
    assert set(encoded(prediction())) == always
    sets = encoded(prediction(calibrated=True, abstained=True, prediction_set=("b", "a")))
    assert (sets["calibrated"], sets["abstained"]) == (True, True)
    assert sets["prediction_set"] == ["b", "a"]
    assert encoded(prediction(evidence=()))["evidence"] == []
    (single,) = encoded(prediction(evidence=(stretch,)))["evidence"]
    assert single == {
        "segment": 3, "start": 1, "end": 4, "score": -0.25, "label": "b", "contribution": 0.5,
        "log_odds": -1.5,
    }  # fmt: skip
    explanation = Explanation("exact", "b", 1.25, 0.75)
    explained = encoded(prediction(evidence=(stretch,), explanation=explanation))
    assert explained["explanation"] == {
        "method": "exact", "label": "b", "logit": 1.25, "base": 0.75
    }  # fmt: skip
    # Only where nothing was asked for is there no word of it.
    assert encoded(prediction(evidence=()))["explanation"] is None
    assert "explanation" not in encoded(prediction())
    (pair,) = encoded(prediction(evidence=(stretch,)), text_pair=True)["evidence"]
    assert pair == {**single, "part": 1}
    assert encoded(prediction())["coverage"]["reason"] is None


def test_r87_labels_are_those_given_and_never_cut():
    assert encoded(prediction(labels=()))["labels"] == []
    both = encoded(prediction(labels=prediction().scores), top_k=1)
    assert both["labels"] == [{"label": "b", "score": 0.75}, {"label": "a", "score": 0.5}]
    assert both["scores"] == [{"label": "b", "score": 0.75}]


@pytest.mark.parametrize("name", REQUESTS)
def test_examples_of_requests_are_taken(name):
    assert parse_request(json.dumps(REQUESTS[name]["value"]).encode(), 4).documents()


@pytest.mark.parametrize("name", REPLIES)
def test_examples_of_replies_are_what_would_be_sent(name):
    value = REPLIES[name]["value"]
    assert json.loads(PredictReply.model_validate(value).encode()) == value


def test_the_schema_of_a_request_stands_alone_and_explains_itself():
    schema = request_schema(PredictRequest)
    assert "$ref" not in json.dumps(schema)
    assert set(schema["properties"]) == set(PredictRequest.model_fields)
    assert all("description" in entry for entry in schema["properties"].values())


def test_r27_warnings_travel_only_where_an_answer_is_doubtful():
    scores = (LabelScore("b", 0.75), LabelScore("a", 0.25))
    known = Prediction("0", "b", 0.75, scores, Coverage(10, 10, 1, 1))
    strange = Prediction("1", "b", 0.75, scores, Coverage(10, 10, 1, 1, tokens_unknown=9))
    for answers, expected in (([known], [None]), ([known, strange], [0, 1])):
        reply = PredictReply(
            model=ModelReply(name="m", version="1", digest="d"),
            predictions=[build_prediction(item, None, text_pair=False) for item in answers],
            timing_ms=TimingReply(tokenize=0, queue=0, infer=0, total=0),
        )
        content = json.loads(reply.encode())["predictions"]
        assert [
            len(item["warnings"]) if "warnings" in item else None for item in content
        ] == expected
