from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longform.data.labels import LabelMap
from longform.errors import InputError
from longform.types import Document


def documents(*labels: str | None) -> list[Document]:
    return [Document(f"r{n}", f"text {n}", label) for n, label in enumerate(labels)]


@given(st.lists(st.text(min_size=1), min_size=2, unique=True))
def test_order_depends_on_the_names_alone_and_ids_give_the_names_back(names):
    given_order = documents(*names)
    labels = LabelMap.from_documents(given_order)
    assert labels == LabelMap.from_documents(given_order[::-1] + given_order)
    assert labels.names == tuple(sorted(names))
    numbers = labels.targets(given_order)
    assert numbers.dtype == np.int64
    assert [labels.id2label[str(number)] for number in numbers] == names
    assert [labels.label2id[name] for name in names] == numbers.tolist()


def test_r13_labels_that_look_like_numbers_stay_strings():
    labels = LabelMap.from_documents(documents("10", "2", "010", "-1"))
    assert labels.names == ("-1", "010", "10", "2")
    assert labels.id2label == {"0": "-1", "1": "010", "2": "10", "3": "2"}
    assert len(labels) == 4


def test_no_documents_give_an_empty_int64_array():
    numbers = LabelMap(("a", "b")).targets([])
    assert numbers.shape == (0,)
    assert numbers.dtype == np.int64


def test_r13_one_class_only():
    with pytest.raises(InputError, match="one class only: '农业' in 2 documents"):
        LabelMap.from_documents(documents("农业", "农业"))
    with pytest.raises(InputError, match="no documents"):
        LabelMap.from_documents([])


def test_r10_labels_unknown_in_training_are_named_with_counts_and_ids():
    labels = LabelMap.from_documents(documents("农业", "体育"))
    with pytest.raises(InputError) as caught:
        labels.targets(documents("农业", "法律", "军事", "法律"))
    message = str(caught.value)
    assert "'法律' (2 documents, first id r1)" in message
    assert "'军事' (1 document, first id r2)" in message
    assert "knows '体育', '农业'" in message
    assert "add such documents to the training data" in message


def test_r14_many_unknown_labels_give_a_short_message():
    labels = LabelMap.from_documents(documents(*(f"known{n}" for n in range(5000))))
    with pytest.raises(InputError, match="and 1,990 more") as caught:
        labels.targets(documents(*(f"new{n}" for n in range(2000))))
    assert len(str(caught.value)) < 1500


def test_documents_without_a_label_are_named():
    with pytest.raises(InputError, match="1 of 2 without one, ids r1"):
        LabelMap.from_documents(documents("a", None))
    with pytest.raises(InputError, match="without one"):
        LabelMap(("a", "b")).targets(documents("a", None))


def label_sets(*sets: tuple[str, ...]) -> list[Document]:
    return [Document(str(n), f"text {n}", labels=labels) for n, labels in enumerate(sets)]


def test_r17_several_labels_become_flags():
    labels = LabelMap.from_documents(label_sets(("b", "a"), (), ("c",)))
    assert labels.names == ("a", "b", "c")
    assert labels.problem_type == "multi_label_classification"
    assert labels.targets(label_sets((), ("c", "a"))).tolist() == [
        [False, False, False],
        [True, False, True],
    ]


def test_several_labels_must_differ_between_documents():
    with pytest.raises(InputError, match="the same labels \\('a', 'b'\\) on all 2 documents"):
        LabelMap.from_documents(label_sets(("b", "a"), ("a", "b")))


def test_one_label_and_a_list_of_labels_do_not_mix():
    labels = LabelMap.from_documents(label_sets(("a",), ("b",)))
    with pytest.raises(InputError, match="list of labels"):
        labels.targets([Document("x", "text", "a")])
    with pytest.raises(InputError, match="list of labels"):
        LabelMap.from_documents([*label_sets(("a",)), Document("x", "text", "a")])


def test_r10_an_unseen_label_of_several_is_named():
    labels = LabelMap.from_documents(label_sets(("a",), ("b",)))
    with pytest.raises(InputError, match="'z' \\(1 document, first id 1\\)"):
        labels.targets(label_sets(("a",), ("b", "z")))
