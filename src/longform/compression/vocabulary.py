"""Vocabulary pruning: an encoder keeps the tokens that a corpus uses, and their vectors alone.

After Abdaoui et al., "Load What You Need: Smaller Versions of Multilingual BERT" (2020). Every text
of the corpus keeps its segmentation, and so its vectors, bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from torch import nn

from longform.compression.tokenizers import TokenizerFile
from longform.config import SegmentSettings
from longform.errors import InputError
from longform.text.cleaning import Cleaner
from longform.text.sentences import sentence_boundaries
from longform.text.tokenization import TextTokenizer
from longform.types import Integers, TokenIds

Texts = Callable[[], Iterable[str]]
"""The corpus, to be read twice: once for its tokens, once to prove that nothing changed."""

_BATCH_CHARACTERS = 1_000_000
_FRAMES = ("", "query: ", "passage: ")
"""Prefixes that encoders want before a segment: their tokens stay, whatever the corpus has."""
_MOST_REPAIRS = 8


@dataclass(frozen=True, slots=True)
class VocabularyReport:
    """What vocabulary pruning did.

    Attributes:
        tokens_before: Tokens of the tokenizer.
        tokens_after: Those that stay.
        tokens_used: Those that the corpus uses; characters, bytes and special tokens come on top.
        corpus_tokens: Tokens of the corpus, all of which are segmented as before.
        parameters_removed: Parameters of the encoder that are gone.
        bytes_removed: Their bytes in fp32, or in what the encoder has.
    """

    tokens_before: int
    tokens_after: int
    tokens_used: int
    corpus_tokens: int
    parameters_removed: int
    bytes_removed: int

    def as_dict(self) -> dict[str, int]:
        """Return the figures under their names."""
        return asdict(self)


def prune_vocabulary(
    encoder: Any,
    tokenizer: TextTokenizer,
    texts: Texts,
    settings: SegmentSettings,
    *,
    characters: bool = True,
) -> tuple[TextTokenizer, VocabularyReport]:
    """Take the tokens that a corpus does not use out of an encoder, in place.

    Args:
        encoder: A Hugging Face encoder; its token embeddings and configuration are changed.
        tokenizer: Its tokenizer.
        texts: Gives the corpus, twice the same.
        settings: How texts are cleaned, and the prefix of segments.
        characters: Keep every piece of one character, so that a text with new words is spelt
            where it would be unknown otherwise.

    Returns:
        The tokenizer that belongs to the encoder now, and what was done.

    Raises:
        InputError: The tokenizer is of a kind that cannot lose tokens, or the corpus is empty.
    """
    kept, pruned, used, corpus_tokens = choose_tokens(
        tokenizer, texts, settings, characters=characters, always=_model_ids(encoder)
    )
    removed = _keep_rows(encoder, kept)
    return pruned, VocabularyReport(
        tokens_before=tokenizer.vocabulary_size,
        tokens_after=len(kept),
        tokens_used=used,
        corpus_tokens=corpus_tokens,
        parameters_removed=removed,
        bytes_removed=removed * encoder.get_input_embeddings().weight.element_size(),
    )


def choose_tokens(
    tokenizer: TextTokenizer,
    texts: Texts,
    settings: SegmentSettings,
    *,
    characters: bool,
    always: set[int],
) -> tuple[Integers, TextTokenizer, int, int]:
    """Find the tokens to keep, and prove that the corpus is segmented with them as before.

    Returns:
        The kept ids, int64 `[tokens]`, rising: a kept token's new id is its row. The tokenizer of
        these tokens, how many tokens the corpus uses, and how many it has.
    """
    file = TokenizerFile(tokenizer.serialized)
    used, digests, corpus_tokens = _read(tokenizer, texts(), settings)
    if not corpus_tokens:
        raise InputError(
            "The corpus of --vocabulary must hold text.",
            found="not one token in it",
            fix="Give the files that the model is to be trained and used on.",
        )
    wanted = used | file.indispensable() | always
    for prefix in {*_FRAMES, settings.segment_prefix}:
        wanted |= set(tokenizer.frame(prefix)[0] + tokenizer.frame(prefix)[1])
    wanted |= file.characters() if characters else set()
    for _ in range(_MOST_REPAIRS):
        kept = np.array(sorted(file.closure(wanted)), dtype=np.int64)
        pruned = TextTokenizer(file.keep(kept.tolist()))
        missed = _missed(file, (tokenizer, pruned), kept, _batches(texts(), settings), digests)
        if not missed - wanted:
            break
        wanted |= missed
    if missed:
        raise InputError(
            "A pruned tokenizer must segment the corpus as the whole one does.",
            found=f"a {file.kind} tokenizer that does not, whatever is kept",
            fix="Leave --vocabulary out; layers and heads can be pruned all the same.",
        )
    return kept, pruned, len(used), corpus_tokens


def _read(
    tokenizer: TextTokenizer, texts: Iterable[str], settings: SegmentSettings
) -> tuple[set[int], list[bytes], int]:
    """Return the ids that a corpus uses, a digest of each batch's tokens, and their number."""
    used: set[int] = set()
    digests, count = [], 0
    for sentences in _batches(texts, settings):
        ids, lengths = tokenizer.encode_joined(sentences)
        used.update(np.unique(ids).tolist())
        digests.append(_digest(ids, lengths))
        count += len(ids)
    return used, digests, count


def _missed(
    file: TokenizerFile,
    tokenizers: tuple[TextTokenizer, TextTokenizer],
    kept: Integers,
    batches: Iterator[list[str]],
    digests: list[bytes],
) -> set[int]:
    """Return the pieces of sentences that the second tokenizer segments otherwise.

    WordPiece looks for the longest piece and gives a word up when its rest has none: a piece that
    no text ends up with can still decide. Those of the few sentences concerned are kept, all.
    """
    whole, pruned = tokenizers
    missed: set[int] = set()
    for sentences, digest in zip(batches, digests, strict=True):
        ids, lengths = pruned.encode_joined(sentences)
        if _digest(kept[ids].astype(np.int32), lengths) == digest:
            continue
        before, after = whole.encode(sentences), pruned.encode(sentences)
        for sentence, old, new in zip(sentences, before, after, strict=True):
            if kept[new].tolist() != old:
                missed |= file.within(sentence)
    return missed


def _batches(texts: Iterable[str], settings: SegmentSettings) -> Iterator[list[str]]:
    """Yield the sentences of texts as the segmenter makes them, many at a time."""
    cleaner = Cleaner(settings)
    sentences: list[str] = []
    characters = 0
    for text in texts:
        cleaned = cleaner.clean(text).text
        sentences += [cleaned[start:end] for start, end in pairwise(sentence_boundaries(cleaned))]
        characters += len(cleaned)
        if characters >= _BATCH_CHARACTERS:
            yield sentences
            sentences, characters = [], 0
    if sentences:
        yield sentences


def _digest(ids: TokenIds, lengths: Integers) -> bytes:
    return hashlib.sha256(ids.tobytes() + lengths.tobytes()).digest()


def _model_ids(encoder: Any) -> set[int]:
    """Return the ids that the encoder's configuration names, and those it counts positions from."""
    config = encoder.config
    found: set[int] = set()
    for name, value in config.to_dict().items():
        if name.endswith("_token_id") and value is not None:
            found |= set(value) if isinstance(value, list) else {value}
    if "roberta" in config.model_type or config.model_type == "camembert":
        # Positions begin after the id of the padding token, which must therefore not move.
        found |= set(range((config.pad_token_id or 0) + 1))
    rows = encoder.get_input_embeddings().num_embeddings
    return {number for number in found if 0 <= number < rows}


def _keep_rows(encoder: Any, kept: Integers) -> int:
    """Keep these rows of the token embeddings; return how many parameters went."""
    whole = encoder.get_input_embeddings()
    before = sum(parameter.numel() for parameter in encoder.parameters())
    numbers = {old: new for new, old in enumerate(kept.tolist())}
    embeddings = nn.Embedding(
        len(kept), whole.embedding_dim, padding_idx=numbers.get(whole.padding_idx)
    )
    embeddings.weight = nn.Parameter(whole.weight.detach()[kept].clone())
    encoder.set_input_embeddings(embeddings)
    encoder.config.vocab_size = len(kept)
    for name, value in encoder.config.to_dict().items():
        if name.endswith("_token_id") and value is not None:
            renumbered = (
                [numbers.get(number, number) for number in value]
                if isinstance(value, list)
                else numbers.get(value)
            )
            setattr(encoder.config, name, renumbered)
    return before - sum(parameter.numel() for parameter in encoder.parameters())
