"""A tokenizer trained on the user's own corpus, for models that start from nothing.

Every Han character, kana and Hangul syllable is a token of its own, so that token pairs are the
character bigrams that Chinese classifiers rest on; other scripts get byte-pair pieces of words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from longform.text.sentences import sentence_boundaries
from longform.text.tokenization import TextTokenizer, replace_surrogates

PAD_TOKEN, UNKNOWN_TOKEN = "[PAD]", "[UNK]"

_ALPHABET = 10_000
"""Most different characters kept; rarer ones become the unknown token."""

_LONE_CHARACTERS = Regex(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{P}\p{S}]")


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> TextTokenizer:
    """Learn a vocabulary.

    Args:
        texts: The training corpus, or a part of it, cleaned as the segmenter cleans. Validation
            texts have no place here.
        vocabulary_size: Most tokens, the two special ones included.

    Returns:
        A tokenizer that adds no special tokens to a text: the same one for the same corpus.
    """
    readable = [replace_surrogates(text) for text in texts]
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN_TOKEN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(_LONE_CHARACTERS, behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=False),
        ]
    )
    alphabet = _alphabet(readable, tokenizer.normalizer, min(_ALPHABET, vocabulary_size - 2))
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=2,
        special_tokens=[PAD_TOKEN, UNKNOWN_TOKEN],
        limit_alphabet=len(alphabet),
        initial_alphabet=alphabet,
        max_token_length=20,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sentences(readable), trainer)
    return TextTokenizer(tokenizer.to_str())


def _alphabet(texts: Sequence[str], normalizer: normalizers.Normalizer, limit: int) -> list[str]:
    """Return the most frequent characters; the trainer's own choice among equals is random."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [character for character, _ in ranked if not character.isspace()][:limit]


def _sentences(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield the sentences of each text, as the segmenter encodes them.

    The trainer is quadratic in the length of a word, and an unbroken text is one word.
    """
    for text in texts:
        yield [text[start:end] for start, end in pairwise(sentence_boundaries(text))]
