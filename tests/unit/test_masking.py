from __future__ import annotations

import numpy as np
import pytest
import tiny_tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from longform.training.masking import IGNORED, Vocabulary, WordMasker

MASK_ID = 4
TEXTS = st.text(
    alphabet=st.sampled_from([*tiny_tokenizers.HAN, *"abcdethe 12。，.!"]), min_size=1, max_size=120
)
KINDS = ("word_pieces", "unigram", "byte_pairs")


def build(kind, share=0.15, seed=7, prefix=""):
    tokenizer = tiny_tokenizers.KINDS[kind]()
    before, after = tokenizer.frame(prefix)
    frame = len(before), len(after)
    masker = WordMasker(
        Vocabulary(tokenizer.serialized), frame, MASK_ID, tokenizer.unknown_id, share, seed
    )

    def segment(text):
        return np.array([*before, *tokenizer.encode([text])[0], *after], dtype=np.int32)

    return tokenizer, masker, segment, frame


def pieces(kind, token_ids):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tiny_tokenizers.KINDS[kind]().serialized)
    return [tokenizer.id_to_token(int(token_id)) for token_id in token_ids]


def spans(masker, token_ids, seed=0):
    return list(masker.words(token_ids, np.random.default_rng(seed)))


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS, epoch=st.integers(0, 5), share=st.floats(0.05, 0.6))
@settings(max_examples=60, deadline=None)
def test_s2_02_masks_keep_their_promises(kind, text, epoch, share):
    _, masker, segment, (before, after) = build(kind, share, prefix="the ")
    token_ids = segment(text)
    if not masker.has_words(token_ids):
        return
    masked = masker.mask(token_ids, epoch, 3)
    drawn = masked.labels != IGNORED
    inner = np.zeros(len(token_ids), dtype=bool)
    inner[before : len(token_ids) - after] = True
    # The frame is as it was, nothing is asked of it; what is not drawn is untouched.
    assert not drawn[~inner].any()
    assert (masked.labels[drawn] == token_ids[drawn]).all()
    assert (masked.input_ids[~drawn] == token_ids[~drawn]).all()
    words = spans(masker, token_ids)
    tokens = sum(end - begin for begin, end in words)
    assert drawn.sum() >= 1
    shortest = min(end - begin for begin, end in words)
    # Stretches of unspaced characters are cut anew, to at most four characters of three bytes.
    assert drawn.sum() <= max(round(share * tokens), 1, shortest, 12)
    again = masker.mask(token_ids, epoch, 3)
    assert (again.input_ids == masked.input_ids).all()
    assert (again.labels == masked.labels).all()


@pytest.mark.parametrize("kind", KINDS)
def test_all_pieces_of_a_word_go_together(kind):
    _, masker, segment, _ = build(kind, share=0.3)
    token_ids = segment("abcd the abcde, the abc. 文本分类 the " * 3)
    words = spans(masker, token_ids)
    letters = {
        span
        for span in words
        if "".join(pieces(kind, token_ids[span[0] : span[1]])).strip("▁Ġ#").isascii()
    }
    joined = ["".join(pieces(kind, token_ids[slice(*span)])) for span in sorted(letters)]
    plain = [word.replace("#", "").strip("▁Ġ") for word in joined]
    assert plain[:6] == ["abcd", "the", "abcde", ",", "the", "abc"]
    for epoch in range(20):
        drawn = masker.mask(token_ids, epoch, 0).labels != IGNORED
        for begin, end in letters:
            assert drawn[begin:end].all() or not drawn[begin:end].any()


def test_unspaced_characters_are_cut_into_stretches_of_one_to_four():
    _, masker, segment, _ = build("word_pieces")
    token_ids = segment(tiny_tokenizers.HAN * 300)
    lengths = np.array([end - begin for begin, end in spans(masker, token_ids)])
    assert set(lengths) == {1, 2, 3, 4}
    found = np.bincount(lengths)[1:] / len(lengths)
    # 0.4, 0.3, 0.2 and 0.1 within four standard errors of about 3,300 stretches.
    assert found == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.035)
    assert spans(masker, token_ids, seed=1) != spans(masker, token_ids, seed=2)


def test_no_character_of_several_bytes_is_cut():
    _, masker, segment, _ = build("byte_pairs")
    token_ids = segment(tiny_tokenizers.HAN * 5 + "é the à")
    for begin, end in spans(masker, token_ids):
        text = "".join(pieces("byte_pairs", token_ids[begin:end]))
        from longform.training.word_pieces import as_bytes

        content = b"".join(as_bytes(piece, bytewise=True) for piece in text)
        content.decode("utf-8")


def test_share_and_kinds_of_replacement_are_as_published():
    tokenizer, masker, segment, _ = build("word_pieces")
    token_ids = segment((tiny_tokenizers.HAN + "。the abcd，") * 40)
    drawn = kept = hidden = total = 0
    for index in range(60):
        masked = masker.mask(token_ids, 0, index)
        rows = masked.labels != IGNORED
        drawn += rows.sum()
        total += len(token_ids) - 2
        hidden += (masked.input_ids[rows] == MASK_ID).sum()
        kept += (masked.input_ids[rows] == token_ids[rows]).sum()
        assert masked.input_ids.max() < tokenizer.vocabulary_size
        # Nothing but the mask token is special among the replacements.
        assert set(np.unique(masked.input_ids[rows])) & {0, 1, 2, 3} == set()
    assert drawn / total == pytest.approx(0.15, abs=0.002)
    assert hidden / drawn == pytest.approx(0.8, abs=0.02)
    assert kept / drawn == pytest.approx(0.1, abs=0.02)


def test_each_epoch_segment_and_seed_draws_anew():
    _, masker, segment, _ = build("word_pieces")
    token_ids = segment(tiny_tokenizers.HAN * 4)
    other = build("word_pieces", seed=8)[1]
    drawings = [
        masker.mask(token_ids, 0, 0),
        masker.mask(token_ids, 1, 0),
        masker.mask(token_ids, 0, 1),
        other.mask(token_ids, 0, 0),
    ]
    assert len({drawing.labels.tobytes() for drawing in drawings}) == 4


def test_unknown_text_and_blanks_are_never_asked_for():
    tokenizer, masker, segment, _ = build("word_pieces", share=0.9)
    token_ids = segment("龘龘 abc 龘 文")
    assert (token_ids == tokenizer.unknown_id).any()
    for epoch in range(10):
        labels = masker.mask(token_ids, epoch, 0).labels
        assert tokenizer.unknown_id not in labels
    assert not masker.has_words(segment("龘龘龘"))
    _, masker, segment, _ = build("unigram", share=0.9)
    assert pieces("unigram", segment("文本 分"))[1] == "▁"
    assert all(begin != 1 for begin, _ in spans(masker, segment("文本 分")))
