"""Texts to hashed n-grams: what a token is, that places are right, that hashes do not wander."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longform.text.features import FeatureReader
from longform.text.ngrams import gram_places, hash_grams, ideograph_share, tokenize


def pieces(text: str, analyzer: str) -> list[str]:
    tokens = tokenize(text, analyzer)
    return [text[a:b] for a, b in zip(tokens.starts, tokens.ends, strict=True)]


def test_words_are_runs_of_letters_and_digits_and_han_characters_stand_alone():
    assert pieces("Art. 12 of 合同法, naïve_case!", "word") == [
        *("Art", "12", "of"),
        *("合", "同", "法"),
        "naïve_case",
    ]


def test_characters_are_all_but_white_space():
    assert pieces("甲 乙。\n\tA", "char") == ["甲", "乙", "。", "A"]


def test_letter_case_does_not_count():
    assert np.array_equal(tokenize("ABC Déf", "word").hashes, tokenize("abc dÉF", "word").hashes)


def test_characters_beyond_the_basic_plane_differ():
    first, second = tokenize("𠀀", "char").hashes, tokenize("𠀁", "char").hashes
    assert first != second
    assert pieces("a𠀀b", "word") == ["a", "𠀀", "b"]


@given(st.text())
def test_any_text_is_read_and_places_lie_in_order(text):
    for analyzer in ("char", "word"):
        tokens = tokenize(text, analyzer)
        assert (tokens.starts < tokens.ends).all()
        assert (tokens.ends[:-1] <= tokens.starts[1:]).all()


@given(st.text(alphabet="abc ", max_size=30), st.text(alphabet="abc ", max_size=30))
def test_words_have_one_hash_wherever_they_stand(before, after):
    alone = tokenize("court", "word").hashes[0]
    text = f"{before} court {after}"
    words = pieces(text, "word")
    assert tokenize(text, "word").hashes[words.index("court")] == alone


GOLDEN = [953071, 939371, 771460, 574223, 503875]
"""Buckets of a text, once and for all: other ones would make every saved model blind."""


def test_hashes_are_those_that_bundles_were_written_with():
    hashes = tokenize("合同 law", "word").hashes
    assert hash_grams(hashes, 2, 20, 1).tolist() == GOLDEN


def test_every_ngram_has_its_place():
    text = "a b c d"
    tokens = tokenize(text, "word")
    buckets = hash_grams(tokens.hashes, 3, 20)
    first, lengths = gram_places(len(tokens), 3)
    grams = [text.split()[a : a + n] for a, n in zip(first, lengths, strict=True)]
    assert grams[:4] == [["a"], ["b"], ["c"], ["d"]]
    assert grams[-1] == ["b", "c", "d"]
    # The same n-gram in another text falls into the same bucket.
    again = hash_grams(tokenize("x b c d", "word").hashes, 3, 20)
    assert buckets[-1] == again[-1]
    assert len(buckets) == len(grams) == 4 + 3 + 2


def test_blocks_keep_their_ngrams_apart():
    reader = FeatureReader("word", ("head:2", "tail:1", "whole"), 1, 20)
    tokens = reader.tokenize("a b c a")
    head, tail, whole = reader.buckets([tokens])
    assert [len(head), len(tail), len(whole)] == [2, 1, 4]
    assert head[0] != whole[0]
    assert whole[0] == whole[3]
    assert tail[0] != whole[3]


def test_a_text_shorter_than_a_block_is_read_once():
    reader = FeatureReader("char", ("head:512", "tail:512"), 2, 16)
    head, tail = reader.buckets([reader.tokenize("短文")])
    assert len(head) == len(tail) == 3


@pytest.mark.parametrize(("text", "share"), [("合同", 1.0), ("law", 0.0), ("a法", 0.5), ("", 0.0)])
def test_the_script_of_a_text_is_told(text, share):
    assert ideograph_share(text) == share
