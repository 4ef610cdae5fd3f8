"""A pruned vocabulary segments the corpus as before, and gives the very same vectors."""

from __future__ import annotations

import json

import pytest
import tiny_tokenizers
import torch
from tiny_encoders import hidden_states, tiny_encoder
from tokenizers import Tokenizer, models, pre_tokenizers

from longform.compression.tokenizers import TokenizerFile
from longform.compression.vocabulary import choose_tokens, prune_vocabulary
from longform.config import SegmentSettings
from longform.errors import InputError
from longform.text.segmenter import Segmenter
from longform.text.tokenization import TextTokenizer

CORPUS = [
    "长文本分类器读完每一个字。The parties agree, abc!",
    "不遗漏任何句子。 [SEP] <s> 2024",
    "the the theta 字",
]
UNSEEN = "法院 zebra 意思? 任何 9"
SETTINGS = SegmentSettings(segment_length=32)


def prune(kind, corpus=CORPUS, **options):
    tokenizer = tiny_tokenizers.KINDS[kind]()
    encoder = tiny_encoder(tokenizer, "xlm-roberta" if kind == "unigram" else "bert")
    ids = [segment_ids(tokenizer, text) for text in corpus]
    before = [hidden_states(encoder, row) for text in ids for row in text]
    rows = encoder.get_input_embeddings().weight.detach().clone()
    pruned, report = prune_vocabulary(encoder, tokenizer, lambda: corpus, SETTINGS, **options)
    return tokenizer, pruned, encoder, before, rows, report


def segment_ids(tokenizer, text):
    return [segment.token_ids for segment in Segmenter(tokenizer, SETTINGS).segment(text).segments]


def names(tokenizer, ids):
    inside = Tokenizer.from_str(tokenizer.serialized)
    return [inside.id_to_token(int(number)) for number in ids]


@pytest.mark.parametrize("kind", sorted(tiny_tokenizers.KINDS))
@pytest.mark.parametrize("characters", [True, False])
def test_corpus_keeps_its_tokens_and_vectors_bit_for_bit(kind, characters):
    whole, pruned, encoder, before, _, report = prune(kind, characters=characters)
    after = []
    for text in CORPUS:
        old, new = segment_ids(whole, text), segment_ids(pruned, text)
        assert [names(whole, row) for row in old] == [names(pruned, row) for row in new]
        after += [hidden_states(encoder, row) for row in new]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert report.tokens_after == pruned.vocabulary_size == encoder.config.vocab_size
    assert report.tokens_used <= report.tokens_after <= report.tokens_before
    # The tiny vocabularies are hardly more than characters.
    assert characters or report.tokens_after < report.tokens_before
    removed = report.tokens_before - report.tokens_after
    assert report.parameters_removed == removed * 16
    assert report.bytes_removed == removed * 64


@pytest.mark.parametrize("kind", sorted(tiny_tokenizers.KINDS))
def test_ids_are_renumbered_in_their_old_order_with_their_rows(kind):
    whole, pruned, encoder, _, rows, _ = prune(kind)
    kept = encoder.get_input_embeddings().weight
    inside, outside = (Tokenizer.from_str(item.serialized) for item in (whole, pruned))
    old = [inside.token_to_id(outside.id_to_token(row)) for row in range(len(kept))]
    assert old == sorted(old)
    assert torch.equal(kept, rows[old])
    if inside.token_to_id("<pad>") is not None or inside.token_to_id("[PAD]") is not None:
        assert encoder.config.pad_token_id == pruned.pad_id


@pytest.mark.parametrize("kind", ["word_pieces", "unigram", "byte_pairs"])
def test_unseen_text_is_spelt_by_characters_and_unknown_without_them(kind):
    whole, spelling, *_ = prune(kind)
    _, strict, *_ = prune(kind, characters=False)
    unknown = {
        name: tokenizer.encode([UNSEEN])[0].count(tokenizer.unknown_id)
        for name, tokenizer in (("whole", whole), ("spelling", spelling), ("strict", strict))
    }
    if kind == "byte_pairs":
        assert spelling.encode([UNSEEN])[0]
    else:
        assert unknown["whole"] == unknown["spelling"] < unknown["strict"]


def test_special_tokens_and_prefixes_stay_whatever_the_corpus_has():
    _, pruned, *_ = prune("unigram", corpus=["长"], characters=False)
    inside = Tokenizer.from_str(pruned.serialized)
    assert all(inside.token_to_id(token) is not None for token in ("<s>", "<pad>", "</s>", "<unk>"))
    assert inside.token_to_id("<mask>") == pruned.vocabulary_size - 1
    frame = json.loads(pruned.serialized)["post_processor"]["special_tokens"]
    assert frame["</s>"]["ids"] == [inside.token_to_id("</s>")]
    assert pruned.frame("query: ")[0] != pruned.frame("")[0]
    assert pruned.unknown_id not in pruned.frame("query: ")[0]


def test_roberta_keeps_the_ids_before_its_padding_so_that_positions_stay():
    pieces = [("junk", -9.0), ("<pad>", 0.0), ("<unk>", 0.0), ("a", -1.0), ("b", -2.0), ("c", -3.0)]
    model = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    model.add_special_tokens(["<pad>"])
    tokenizer = TextTokenizer(model.to_str())
    # 'c' and 'junk' are in no text; only 'junk' stands before the padding token.
    for kind, stays in (("xlm-roberta", {"junk", "c"}), ("bert", {"junk", "c"})):
        encoder = tiny_encoder(tokenizer, kind)
        before = hidden_states(encoder, tokenizer.encode(["a b a"]))
        pruned, _ = prune_vocabulary(
            encoder, tokenizer, lambda: ["a b a"], SETTINGS, characters=False
        )
        inside = Tokenizer.from_str(pruned.serialized)
        assert torch.equal(before, hidden_states(encoder, pruned.encode(["a b a"])))
        kept = {token for token in stays if inside.token_to_id(token) is not None}
        # The rarest piece, 'junk', stays for both: an unknown character is priced by it.
        assert kept == {"junk"}


def test_word_pieces_that_end_as_unknown_still_end_so():
    # The longest piece 'ab' leaves an x that has no piece; without 'ab' there is 'a', '##bx'.
    vocabulary = ["[UNK]", "a", "ab", "##bx", "z", "abz"]
    model = models.WordPiece(
        {piece: row for row, piece in enumerate(vocabulary)}, unk_token="[UNK]"
    )
    inside = Tokenizer(model)
    inside.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = TextTokenizer(inside.to_str())
    corpus = ["abx", "a z"]
    wanted = {1, 3, 4}
    loose = TextTokenizer(TokenizerFile(tokenizer.serialized).keep({0, *wanted}))
    assert loose.encode(["abx"]) != [[0]]
    kept, pruned, used, count = choose_tokens(
        tokenizer, lambda: corpus, SETTINGS, characters=False, always=wanted
    )
    assert tokenizer.encode(["abx"]) == [[0]] == pruned.encode(["abx"])
    assert kept.tolist() == [0, 1, 2, 3, 4]
    assert (used, count) == (3, 3)


def test_byte_pairs_keep_the_merges_that_lead_to_what_is_kept_and_no_others():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("a", "n"), ("an", "d"), ("the", "n")]
    vocabulary = {piece: row for row, piece in enumerate(alphabet)}
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    inside = Tokenizer(models.BPE(vocabulary, merges))
    inside.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = TextTokenizer(inside.to_str())
    _, pruned, _, _ = choose_tokens(
        tokenizer, lambda: ["then"], SETTINGS, characters=True, always=set()
    )
    model = json.loads(pruned.serialized)["model"]
    assert [tuple(merge) for merge in model["merges"]] == [("t", "h"), ("th", "e"), ("the", "n")]
    assert names(pruned, pruned.encode(["then"])[0]) == ["then"]
    assert names(pruned, pruned.encode(["thand"])[0]) == ["th", "a", "n", "d"]


def test_empty_corpus_and_unknown_kinds_are_refused():
    tokenizer = tiny_tokenizers.word_pieces()
    with pytest.raises(InputError, match=r"must hold text\. Found: not one token"):
        prune_vocabulary(tiny_encoder(tokenizer), tokenizer, lambda: [" "], SETTINGS)
    content = json.loads(tokenizer.serialized)
    content["model"]["type"] = "Wordless"
    with pytest.raises(InputError, match="of the kind Wordless"):
        TokenizerFile(json.dumps(content))
