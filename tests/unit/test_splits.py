from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longform.data.splits import stratified_split
from longform.errors import InputError
from longform.types import Document

pytest.importorskip("sklearn")


def corpus(**sizes: int) -> list[Document]:
    return [
        Document(f"{label}{n}", f"{label} text {n}", label)
        for label, size in sizes.items()
        for n in range(size)
    ]


@given(
    pairs=st.lists(st.tuples(st.integers(0, 15), st.sampled_from("abc")), min_size=2, max_size=60),
    fraction=st.floats(0.05, 0.95),
)
@settings(max_examples=100, deadline=None)
def test_r16_nothing_lost_no_text_on_both_sides_every_class_judged(pairs, fraction):
    documents = [Document(str(n), f"text {text}", name) for n, (text, name) in enumerate(pairs)]
    class_of_text: dict[str, str] = {}
    for document in documents:
        class_of_text.setdefault(document.text, str(document.label))
    texts = Counter(class_of_text.values())
    if max(texts.values()) < 2:
        with pytest.raises(InputError, match="0 for validation"):
            stratified_split(documents, fraction)
        return
    split = stratified_split(documents, fraction)
    both = sorted((*split.train, *split.validation), key=lambda document: int(document.id))
    assert both == documents
    held_out = {document.text for document in split.validation}
    assert not held_out & {document.text for document in split.train}
    for name, count in texts.items():
        kept = sum(text in held_out for text, owner in class_of_text.items() if owner == name)
        expected = 0 if count == 1 else min(max(round(fraction * count), 1), count - 1)
        assert kept == expected


def test_shares_of_each_class_and_order():
    documents = corpus(a=1000, b=100, c=20)
    split = stratified_split(documents)
    assert Counter(d.label for d in split.validation) == {"a": 100, "b": 10, "c": 2}
    assert list(split.train) == [d for d in documents if d in set(split.train)]
    assert split.notes == ()


def test_same_seed_same_split_other_seed_another():
    documents = corpus(a=50, b=50)
    assert stratified_split(documents, seed=1) == stratified_split(documents, seed=1)
    assert stratified_split(documents, seed=1) != stratified_split(documents, seed=2)


def test_r11_class_with_one_document_is_trained_on_and_named():
    split = stratified_split(corpus(哲学=1, 农业=5, 体育=5))
    assert "哲学" in {d.label for d in split.train} - {d.label for d in split.validation}
    assert split.notes == ("classes with a single text, trained on but not validated: '哲学'",)


def test_duplicates_are_noted():
    documents = [*corpus(a=10, b=10), *corpus(a=3)]
    notes = stratified_split(documents).notes
    assert notes == ("3 documents repeat a text and stay on the side of the first",)


def test_r12_empty_side_names_the_sizes():
    with pytest.raises(InputError, match="2 for training and 0 for validation out of 2 documents"):
        stratified_split(corpus(a=1, b=1))
    with pytest.raises(InputError, match="0 for training and 0 for validation"):
        stratified_split([])


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 10])
def test_fraction_must_be_a_share(fraction):
    with pytest.raises(InputError, match="between 0 and 1"):
        stratified_split(corpus(a=5, b=5), fraction)
