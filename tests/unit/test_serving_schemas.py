from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longform.serving.schemas import RequestError, parse_request

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["inputs", "text", "parameters", "top_k", "evidence", "x"]), inner
        )
    ),
    max_leaves=12,
)


def refuse(body: bytes | object, limit: int = 4) -> RequestError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(RequestError) as caught:
        parse_request(raw, limit)
    return caught.value


def test_a_string_a_list_and_text_are_taken():
    assert parse_request('{"inputs": "甲"}'.encode(), 4).documents() == ["甲"]
    assert parse_request(b'{"inputs": ["a", "b"]}', 4).documents() == ["a", "b"]
    assert parse_request(b'\xef\xbb\xbf{"text": "a", "evidence": true}', 4).documents() == ["a"]


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
        ({"inputs": ["a", None]}, "inputs"),
        ({"input": "a"}, "did you mean 'inputs'"),
        ({"inputs": "a", "evidence": "yes"}, "evidence"),
        ({"inputs": "a", "parameters": {"top_k": 0}}, "top_k"),
        ({"inputs": "a", "parameters": {"topk": 1}}, "did you mean 'top_k'"),
        ({"inputs": "a \ud800"}, "surrogate"),
        ({"inputs": ["a", "\udfff"]}, "surrogate"),
    ],
)
def test_r75_wrong_shapes_are_422_and_say_what_is_wrong(body, part):
    error = refuse(body)
    assert (error.status, error.error_type) == (422, "validation")
    assert part in str(error)


def test_r76_batches_of_none_and_of_one_too_many():
    assert (refuse({"inputs": []}).status, refuse({"inputs": []}).error_type) == (422, "empty")
    assert parse_request(b'{"inputs": ["a"]}', 1).documents() == ["a"]
    assert parse_request(b'{"inputs": ["a", "b"]}', 2).documents() == ["a", "b"]
    assert "at most 2" in str(refuse({"inputs": ["a", "b", "c"]}, 2))


@pytest.mark.parametrize("text", ["", "  \n", "\u3000"])
def test_r77_one_empty_text_refuses_the_whole_and_names_its_place(text):
    error = refuse({"inputs": ["a", text]})
    assert (error.status, error.error_type) == (422, "empty")
    assert "document 1" in str(error)


def test_r90_a_refusal_never_repeats_the_document():
    secret = "the defendant's name"
    for body in ({"inputs": [secret, 3]}, {"inputs": {"a": secret}}, {"text": [secret]}):
        assert secret not in str(refuse(body))


def status_of(body: bytes) -> int:
    try:
        documents = parse_request(body, 4).documents()
    except RequestError as error:
        str(error).encode("utf-8")
        return error.status
    return 200 if documents and all(text.strip() for text in documents) else 0


@given(st.binary(max_size=200))
def test_r75_any_bytes_are_read_or_refused(body):
    assert status_of(body) in {200, 400, 422}


@given(JSON_VALUES)
def test_r75_any_json_is_read_or_refused(content):
    assert status_of(json.dumps(content).encode()) in {200, 400, 422}
