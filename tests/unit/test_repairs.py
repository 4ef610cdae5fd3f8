from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longform.config import DataSettings
from longform.data.duplicates import Leaks, Match, find_leaks
from longform.data.repairs import (
    Change,
    describe_leaks,
    drop_leaks,
    drop_unseen,
    repair_leaks,
    repair_training,
)
from longform.errors import InputError
from longform.types import Document

CLAIM = "原告请求判令被告支付货款人民币三十万元，并承担本案的全部诉讼费用与保全费用。"


def single(*rows: tuple[str, str]) -> list[Document]:
    return [Document(f"d{n}", text, label) for n, (text, label) in enumerate(rows)]


def several(*rows: tuple[str, tuple[str, ...]]) -> list[Document]:
    return [Document(f"d{n}", text, labels=labels) for n, (text, labels) in enumerate(rows)]


def settings(**values: str) -> DataSettings:
    return DataSettings.model_validate(values)


def ids(documents) -> list[str]:
    return [document.id for document in documents]


def test_r20_everything_is_kept_by_default():
    documents = single(("x", "a"), ("x", "b"), ("x", "a"), ("y", "b"))
    repair = repair_training(documents, DataSettings())
    assert (repair.documents, repair.changes, repair.notes) == (tuple(documents), (), ())


def test_r20_drop_leaves_out_all_documents_of_a_contradicted_text():
    documents = single(("x", "a"), ("y", "b"), ("x", "b"), ("y", "b"), ("x", "a"))
    repair = repair_training(documents, settings(conflicting_labels="drop"))
    assert ids(repair.documents) == ["d1", "d3"]
    why = "has a text with contradicting labels: 'a' (2), 'b' (1)"
    assert repair.changes == tuple(Change(n, f"d{n}", "dropped", why) for n in (0, 2, 4))
    assert repair.notes == (
        "3 training documents dropped whose text has contradicting labels: ids d0, d2, d4 "
        "(conflicting_labels: drop)",
    )


def test_r20_majority_relabels_and_drops_ties():
    documents = single(("x", "a"), ("x", "b"), ("x", "a"), ("y", "a"), ("y", "b"), ("z", "b"))
    repair = repair_training(documents, settings(conflicting_labels="majority"))
    assert [(d.id, d.label) for d in repair.documents] == [
        ("d0", "a"),
        ("d1", "a"),
        ("d2", "a"),
        ("d5", "b"),
    ]
    assert [(c.index, c.what, c.labels) for c in repair.changes] == [
        (1, "relabelled", ("a",)),
        (3, "dropped", None),
        (4, "dropped", None),
    ]
    assert repair.notes[0].startswith("1 training documents given the commonest label")
    assert repair.notes[1].startswith("2 training documents dropped whose text has contradicting")
    assert json.loads(json.dumps(repair.changes[0].as_json())) == {
        "index": 1,
        "id": "d1",
        "what": "relabelled",
        "why": "has a text with contradicting labels: 'a' (2), 'b' (1)",
        "labels": ["a"],
    }


def test_r20_several_labels_contradict_as_sets():
    documents = several(
        ("x", ("a", "b")), ("x", ("b", "a")), ("x", ()), ("y", ("a",)), ("y", ("a",))
    )
    repair = repair_training(documents, settings(conflicting_labels="majority"))
    assert [document.labels for document in repair.documents] == [
        ("a", "b"),
        ("b", "a"),
        ("a", "b"),
        ("a",),
        ("a",),
    ]
    assert "'a' + 'b' (2), none (1)" in repair.changes[0].why
    both = settings(conflicting_labels="majority", duplicates="drop")
    assert ids(repair_training(documents, both).documents) == ["d0", "d3"]


def test_r16_drop_leaves_the_first_of_each_text_and_label():
    documents = single(("x", "a"), ("x", "a"), ("x", "b"), ("y", "a"), ("x", "a"))
    repair = repair_training(documents, settings(duplicates="drop"))
    assert ids(repair.documents) == ["d0", "d2", "d3"]
    assert [(c.index, c.why) for c in repair.changes] == [
        (1, "repeats text and label of document d0"),
        (4, "repeats text and label of document d0"),
    ]
    assert repair.notes[0].startswith("2 training documents dropped that repeat")


def test_a_second_text_makes_another_document():
    documents = [
        Document("0", "x", "a", text_pair="y"),
        Document("1", "x", "b", text_pair="z"),
        Document("2", "x", "a", text_pair="y"),
    ]
    repair = repair_training(documents, settings(duplicates="drop", conflicting_labels="drop"))
    assert ids(repair.documents) == ["0", "1"]


def test_nothing_left_is_refused():
    documents = single(("x", "a"), ("x", "b"))
    with pytest.raises(InputError, match=r"leave documents for training.*all 2 dropped"):
        repair_training(documents, settings(conflicting_labels="drop"))
    with pytest.raises(InputError, match=r"leave documents for validation.*all 2 dropped"):
        drop_unseen(documents, {"c"})


@given(
    rows=st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("ab")), min_size=1),
    duplicates=st.sampled_from(["keep", "drop"]),
    conflicts=st.sampled_from(["keep", "drop", "majority"]),
)
def test_every_difference_is_a_change_and_no_flaw_is_left(rows, duplicates, conflicts):
    documents = [*single(*rows), Document("last", "alone", "a")]
    chosen = settings(duplicates=duplicates, conflicting_labels=conflicts)
    repair = repair_training(documents, chosen)
    changed = {change.index: change for change in repair.changes}
    assert len(changed) == len(repair.changes)
    left = {document.id: document for document in repair.documents}
    for index, document in enumerate(documents):
        change = changed.get(index)
        if change is None:
            assert left[document.id] == document
        elif change.what == "dropped":
            assert document.id not in left
        else:
            assert left[document.id].label == change.labels[0] != document.label
    assert len(left) == len(documents) - sum(c.what == "dropped" for c in repair.changes)
    assert bool(repair.notes) == bool(repair.changes)
    labels = Counter(text for text, _ in {(d.text, d.label) for d in repair.documents})
    assert conflicts == "keep" or max(labels.values()) == 1
    kinds = Counter((d.text, d.label) for d in repair.documents)
    assert duplicates == "keep" or max(kinds.values()) == 1
    assert repair_training(repair.documents, chosen).changes == ()


def test_r16_leaks_are_dropped_from_training_and_told_from_near_ones():
    train = single(("x", "a"), (CLAIM, "a"), ("y", "b"), (CLAIM + "此致", "b"))
    validation = [Document("v0", CLAIM, "a"), Document("v1", "y", "b"), Document("v2", "z", "b")]
    leaks = Leaks(
        (Match(1, 0, 1.0, 1.0, True), Match(2, 1, 1.0, 1.0, True), Match(3, 0, 0.9, 1.0, False))
    )
    repair = drop_leaks(train, validation, leaks)
    assert ids(repair.documents) == ["d0"]
    assert [change.why for change in repair.changes] == [
        "has the text of validation document v0",
        "has the text of validation document v1",
        "is a near-copy of validation document v0 (Jaccard similarity 0.90, containment 1.00)",
    ]
    assert describe_leaks(train, validation, leaks) == (
        "2 of 3 validation documents (66.7 %) stand in the training data: 2 word for word, 0 "
        "nearly (training id = or ~ validation id: d1 = v0, d2 = v1, d3 ~ v0)",
    )
    pytest.importorskip("datasketch")
    assert find_leaks(train, validation).train == leaks.train
    dropped = repair_leaks(train, validation, settings(validation_leaks="drop"))
    assert ids(dropped.documents) == ["d0"]
    exact = repair_leaks(
        train, validation, settings(validation_leaks="drop", near_duplicates="ignore")
    )
    assert ids(exact.documents) == ["d0", "d3"]


def test_r16_leaks_that_are_kept_are_said_to_inflate_the_figures():
    train, validation = single(("x", "a"), ("y", "b")), single(("y", "b"))
    repair = repair_leaks(train, validation, settings(near_duplicates="ignore"))
    assert repair.documents == tuple(train)
    assert repair.notes[0].startswith("1 of 1 validation documents (100.0 %) stand in the training")
    assert "inflated" in repair.notes[1]
    clean = repair_leaks(train[:1], validation, settings(near_duplicates="ignore"))
    assert clean.notes == clean.changes == ()
    nothing = drop_leaks(train, validation, Leaks(()))
    assert (nothing.documents, nothing.notes) == (tuple(train), ())


def test_r10_unseen_labels_are_dropped_by_name():
    validation = single(("x", "a"), ("y", "c"), ("z", "c"), ("w", "d"))
    repair = drop_unseen(validation, ["a", "b"])
    assert ids(repair.documents) == ["d0"]
    assert repair.notes == (
        "3 validation documents dropped whose labels do not occur in training: 'c' (2), 'd' (1) "
        "(unseen_labels: drop)",
    )
    assert drop_unseen(validation, "abcd").changes == ()
    mixed = several(("x", ("a",)), ("y", ("a", "c")), ("z", ()))
    assert ids(drop_unseen(mixed, ["a"]).documents) == ["d0", "d2"]
