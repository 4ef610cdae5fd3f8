from __future__ import annotations

import json

from longform.config import DataSettings
from longform.data.label_spelling import normalize_labels
from longform.data.readers import read_documents
from longform.types import Document


def documents(*labels: str) -> list[Document]:
    return [Document(str(n), f"text {n}", label) for n, label in enumerate(labels)]


def test_r09_the_commonest_spelling_wins_and_changes_are_counted():
    result, notes = normalize_labels(
        documents("Sport", "sport", "sport", "ＳＰＯＲＴ", " sport ", "法")
    )
    assert [document.label for document in result] == [*["sport"] * 5, "法"]
    (note,) = notes
    assert note.startswith("3 labels respelled: ' sport ' as 'sport' (1)")


def test_r09_nothing_to_change_changes_nothing():
    given = documents("甲", "乙", "a b", "ab")
    assert normalize_labels(given) == (tuple(given), ())


def test_r09_other_documents_can_set_the_spelling():
    train = documents("Sport", "Sport", "法律")
    validation, notes = normalize_labels(documents("sport", "sport", "法律", "New "), like=train)
    assert [document.label for document in validation] == ["Sport", "Sport", "法律", "New"]
    assert len(notes) == 1


def test_r09_equal_counts_are_decided_by_name_and_not_by_order():
    for labels in (("b", "B"), ("B", "b")):
        assert {d.label for d in normalize_labels(documents(*labels))[0]} == {"B"}


def test_r09_lists_of_labels_lose_what_becomes_equal():
    given = [Document("1", "x", labels=("A", "a", "b")), Document("2", "y", labels=("a",))]
    result, _ = normalize_labels(given)
    assert [document.labels for document in result] == [("a", "b"), ("a",)]
    assert normalize_labels([Document("1", "x")])[0] == (Document("1", "x"),)


def test_r09_only_on_request_when_reading(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"text": f"第{n}行", "label": label} for n, label in enumerate(["a", "A", "a"])]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert {document.label for document in read_documents(path).documents} == {"a", "A"}
    result = read_documents(path, DataSettings(normalize_labels=True))
    assert {document.label for document in result.documents} == {"a"}
    assert "1 labels respelled: 'A' as 'a' (1)" in result.report.notes
