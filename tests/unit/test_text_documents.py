from __future__ import annotations

import numpy as np
import pytest
from fake_backends import fake_scorer
from hypothesis import given, settings
from hypothesis import strategies as st

from longform.errors import InputError
from longform.text.documents import PART, segment_documents
from longform.types import Document

WORDS = "本院认为被告应当赔偿损失。合同自双方签字之日起生效！"


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(WORDS, min_size=1, max_size=90), st.text(WORDS, min_size=1, max_size=90)),
        min_size=1,
        max_size=5,
    )
)
def test_a_pair_is_its_two_texts_side_by_side(pairs):
    segmenter = fake_scorer().segmenter
    documents = [Document(str(n), a, text_pair=b) for n, (a, b) in enumerate(pairs)]
    for document, found in zip(
        documents, segment_documents(segmenter, documents, pairs=True), strict=True
    ):
        first, second = segmenter.segment(document.text), segmenter.segment(document.text_pair)
        assert [s.start for s in found.segments] == [
            s.start for s in first.segments + second.segments
        ]
        assert found.positions[:, PART].tolist() == [0] * len(first.segments) + [1] * len(
            second.segments
        )
        assert np.array_equal(
            found.positions[len(first.segments) :, :PART], second.positions[:, :PART]
        )
        assert found.coverage.tokens_total == (
            first.coverage.tokens_total + second.coverage.tokens_total
        )


def test_a_pair_of_which_one_text_is_cut_is_truncated():
    segmenter = fake_scorer(max_segments=1).segmenter
    documents = [Document("a", "短文。", text_pair=WORDS * 20)]
    (found,) = segment_documents(segmenter, documents, pairs=True)
    assert found.coverage.truncated
    assert found.coverage.reason == "max_segments"


def test_a_pair_model_wants_two_texts_and_no_other_does():
    segmenter = fake_scorer().segmenter
    with pytest.raises(InputError, match="document 'one' has one"):
        list(segment_documents(segmenter, [Document("one", WORDS)], pairs=True))
    with pytest.raises(InputError, match="document 'two' has a second"):
        list(segment_documents(segmenter, [Document("two", WORDS, text_pair="x")], pairs=False))
    with pytest.raises(InputError, match="the second text of document 'empty'"):
        list(segment_documents(segmenter, [Document("empty", WORDS, text_pair=" ")], pairs=True))
