from __future__ import annotations

import json

import pytest
import tiny_tokenizers
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from longform.errors import InputError
from longform.text.tokenization import TextTokenizer, replace_surrogates

kinds = pytest.mark.parametrize("kind", tiny_tokenizers.KINDS)
awkward = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def tokens_of(tokenizer: TextTokenizer, text: str) -> list[str]:
    """Pieces of a text, by the vocabulary that the tokenizer was saved with."""
    names = {
        token_id: name
        for name, token_id in Tokenizer.from_str(tokenizer.serialized).get_vocab().items()
    }
    return [names[token_id] for token_id in tokenizer.encode([text])[0]]


@kinds
@pytest.mark.parametrize(
    "text",
    [
        *("[CLS]", "[SEP]", "[PAD]", "[MASK]", "<s>", "</s>", "<pad>", "<mask>", "<|endoftext|>"),
        *("长<s></s>文", "<s><s><s>", "＜s＞", "[SEP] [SEP]", "<s", "<<s>>", "a[SEP]b"),
    ],
)
def test_r28_special_tokens_typed_by_a_user_stay_text(kind, text):
    tokenizer = tiny_tokenizers.KINDS[kind]()
    saved = Tokenizer.from_str(tokenizer.serialized)
    special = {
        token_id: token.content
        for token_id, token in saved.get_added_tokens_decoder().items()
        if token.special and token_id != tokenizer.unknown_id
    }
    assert special
    ids, spans = tokenizer.encode([text])[0], tokenizer.offsets([text])[0]
    assert ids
    assert special.keys().isdisjoint(ids)
    assert len(spans) == len(ids)
    starts = [start for start, _ in spans]
    assert starts == sorted(starts)
    assert (min(starts), max(end for _, end in spans)) == (0, len(text))


def test_r28_neighbours_of_a_typed_special_token_are_read_as_ever():
    tokenizer = tiny_tokenizers.unigram()
    sentences = ["长文本", "长<s>文", "the text"]
    plain, _, last = tokenizer.encode(sentences)
    assert [plain] == tokenizer.encode(["长文本"])
    assert [last] == tokenizer.encode(["the text"])
    assert tokens_of(tokenizer, "长<s>文") == ["▁", "长", "<", "▁", "s", ">", "文"]


@kinds
@given(texts=st.lists(awkward, max_size=4))
@example(texts=["\ufdfa", "e\u0301", "👩\u200d👩\u200d👧", "\x00\x1c", "\ufffd", "<s>长"])
def test_every_token_has_its_characters_in_order(kind, texts):
    tokenizer = tiny_tokenizers.KINDS[kind]()
    for text, ids, spans in zip(
        texts, tokenizer.encode(texts), tokenizer.offsets(texts), strict=True
    ):
        assert len(spans) == len(ids)
        assert spans == sorted(spans, key=lambda span: span[0])
        assert all(0 <= start <= end <= len(text) for start, end in spans)


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [("word_pieces", [2], [3]), ("unigram", [0], [2]), ("byte_pairs", [], []), ("bag", [], [])],
)
def test_the_frame_is_what_the_encoder_was_trained_with(kind, before, after):
    tokenizer = tiny_tokenizers.KINDS[kind]()
    assert tokenizer.frame() == (before, after)
    prefix = tokenizer.encode(["query:"])[0]
    assert prefix
    assert tokenizer.frame("query: ") == (before + prefix, after)


def test_a_tokenizer_that_knows_no_latin_letter_has_a_frame():
    tokenizer = TextTokenizer(Tokenizer(models.BPE({"的": 0, "文": 1}, [])).to_str())
    assert tokenizer.frame() == ([], [])


def test_what_the_file_says_of_truncation_and_padding_is_not_obeyed():
    saved = Tokenizer.from_str(tiny_tokenizers.word_pieces().serialized)
    saved.enable_truncation(4)
    saved.enable_padding(length=16)
    tokenizer = TextTokenizer(saved.to_str())
    assert len(tokenizer.encode(["长文本分类器"])[0]) == 6


@pytest.mark.parametrize(
    ("kind", "pad", "unknown"),
    [("word_pieces", 0, 1), ("unigram", 1, 3), ("byte_pairs", 258, None), ("bag", 0, 1)],
)
def test_padding_and_unknown_are_found_by_name(kind, pad, unknown):
    tokenizer = tiny_tokenizers.KINDS[kind]()
    assert (tokenizer.pad_id, tokenizer.unknown_id) == (pad, unknown)


def test_vocabulary_size_counts_added_tokens():
    assert tiny_tokenizers.byte_pairs().vocabulary_size == 256 + 2 + 1


def test_the_digest_follows_the_content(tmp_path):
    tokenizer = tiny_tokenizers.bag()
    path = tmp_path / "分词器.json"
    path.write_text(tokenizer.serialized, encoding="utf-8")
    loaded = TextTokenizer.from_file(path)
    assert loaded.digest == tokenizer.digest
    assert loaded.encode(["合同生效"]) == tokenizer.encode(["合同生效"])
    assert tiny_tokenizers.unigram().digest != tokenizer.digest


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"not json", b"\xff\xfe", json.dumps({"version": "1.0"}).encode()],
    ids=["empty", "no model", "no JSON", "no UTF-8", "no parts"],
)
def test_a_file_that_is_no_tokenizer_is_refused_by_name(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        TextTokenizer.from_file(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="no file at"):
        TextTokenizer.from_file(tmp_path / "tokenizer.json")
    with pytest.raises(InputError, match=str(tmp_path)):
        TextTokenizer.from_file(tmp_path)


def test_r21_lone_surrogates_are_replaced_one_for_one():
    assert replace_surrogates("a\ud83d长\udc4d\udc4d") == "a\ufffd长\ufffd\ufffd"


@given(awkward)
def test_other_texts_are_left_as_they_are(text):
    assert replace_surrogates(text) == text
