"""Tokenizers of the four kinds that encoders come with, small enough to read, built on the spot."""

from __future__ import annotations

import string
from functools import lru_cache

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from longform.text.tokenization import TextTokenizer
from longform.text.vocabulary import train_tokenizer

HAN = "长文本分类器读完每一个字不遗漏任何句子的意思"
CORPUS = [
    "合同自双方签字之日起生效。本院认为，被告应当赔偿损失！",
    "The parties agree to the terms. The court dismissed the claim of the parties.",
    HAN * 2,
    "版本3.14，见https://example.org/a?b=c。abc abcd abcde 2024 2025",
]
_CHARACTERS = sorted(
    set(HAN + string.ascii_lowercase + string.digits + "。，！？.,!?:;\"'()[]<>/“”")
)


@lru_cache(maxsize=1)
def word_pieces() -> TextTokenizer:
    """BERT's kind: white space vanishes, unknown words become [UNK], [CLS] and [SEP] frame."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *_CHARACTERS, *(f"##{letter}" for letter in string.ascii_lowercase), "the"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(special)
    return TextTokenizer(tokenizer.to_str())


@lru_cache(maxsize=1)
def unigram() -> TextTokenizer:
    """XLM-R's kind: NFKC, a mark before each word, special tokens among the pieces."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [(piece, 0.0) for piece in special]
    pieces += [("▁", -2.0), ("▁the", -3.0), ("文本", -4.0)]
    pieces += [(character, -5.0) for character in _CHARACTERS]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens([*special, "<mask>"])
    return TextTokenizer(tokenizer.to_str())


@lru_cache(maxsize=1)
def byte_pairs() -> TextTokenizer:
    """GPT's kind: one character can be several tokens, white space is kept, nothing frames."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate([*alphabet, "th", "the"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("t", "h"), ("th", "e")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return TextTokenizer(tokenizer.to_str())


@lru_cache(maxsize=1)
def bag() -> TextTokenizer:
    """The kind that longform trains itself: NFKC, a token for each Han character, no frame."""
    return train_tokenizer(CORPUS, 300)


KINDS = {
    "word_pieces": word_pieces,
    "unigram": unigram,
    "byte_pairs": byte_pairs,
    "bag": bag,
}
