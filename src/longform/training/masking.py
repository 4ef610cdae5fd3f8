"""Which tokens of a segment a masked language model has to guess: whole words, drawn by seed.

Words are found by the pieces of the vocabulary alone. Where a script puts no blanks between words,
each drawing cuts anew: into stretches of one to four characters, as often as the n-gram masking of
MacBERT takes one to four words (Cui et al., "Revisiting Pre-Trained Models for Chinese Natural
Language Processing", 2020). A single masked character would be easy: its neighbours give it away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from longform.training.word_pieces import (
    LETTER,
    UNSPACED,
    as_bytes,
    read_marked_piece,
    read_word_piece,
)
from longform.types import Booleans, Integers, TokenIds

IGNORED = -100
"""Label of the tokens that the loss leaves out, as transformers and torch have it."""

_STRETCHES = (0.4, 0.3, 0.2, 0.1)
"""How often a stretch is of one, two, three and four characters: two on average."""
_MASKED, _RANDOM = 0.8, 0.1
"""Shares of the drawn words that are masked, and that become other tokens (Devlin et al., 2019).
The rest is left as it is and has to be guessed all the same."""


class Vocabulary:
    """What the pieces of a tokenizer say about words. Arrays by token id.

    Args:
        serialized: The content of a `tokenizer.json`: WordPiece with its `##`, SentencePiece with
            its mark for a blank, or byte-level pairs.
    """

    def __init__(self, serialized: str) -> None:
        tokenizer = Tokenizer.from_str(serialized)
        content = json.loads(serialized)
        prefix = content["model"].get("continuing_subword_prefix") or ""
        # Found in any part of a sequence of steps.
        bytewise = '"ByteLevel"' in json.dumps([content["pre_tokenizer"], content["decoder"]])
        added = tokenizer.get_added_tokens_decoder()
        size = max([*tokenizer.get_vocab(with_added_tokens=True).values(), -1]) + 1
        pieces = []
        for token_id in range(size):
            text = tokenizer.id_to_token(token_id) or ""
            if prefix:
                pieces.append(read_word_piece(text, prefix))
            else:
                pieces.append(read_marked_piece(as_bytes(text, bytewise=bytewise)))
        self.joins: Booleans = np.array([piece.joins for piece in pieces], dtype=np.bool_)
        self.begins: Booleans = np.array([piece.begins for piece in pieces], dtype=np.bool_)
        self.first: NDArray[np.int8] = np.array([piece.first for piece in pieces], dtype=np.int8)
        self.last: NDArray[np.int8] = np.array([piece.last for piece in pieces], dtype=np.int8)
        self.sizes: Integers = np.array([piece.size for piece in pieces], dtype=np.int64)
        special = {token_id for token_id, token in added.items() if token.special}
        self.ordinary: Integers = np.array(
            [token_id for token_id in range(size) if token_id not in special], dtype=np.int64
        )
        """Ids that may stand in a text."""


@dataclass(frozen=True, slots=True, eq=False)
class MaskedSegment:
    """A segment as a masked language model reads it, and what it has to guess.

    Attributes:
        input_ids: int64 `[tokens]`.
        labels: int64 `[tokens]`: the true id where a token was drawn, `IGNORED` elsewhere.
    """

    input_ids: Integers
    labels: Integers


class WordMasker:
    """Draws words of segments and masks them.

    Args:
        vocabulary: Of the tokenizer.
        frame: How many tokens before and after the text are prefix and special tokens.
        mask_id: Id of the mask token.
        unknown_id: Id that nothing can be learnt from, if there is one.
        share: Of the tokens of the text that are drawn, at most; at least one word is.
        seed: The same seed, epoch and segment give the same drawing.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        frame: tuple[int, int],
        mask_id: int,
        unknown_id: int | None,
        share: float,
        seed: int,
    ) -> None:
        self._vocabulary = vocabulary
        self._before, self._after = frame
        self._mask_id = mask_id
        self._unknown_id = -1 if unknown_id is None else unknown_id
        self._share = share
        self._seed = seed

    def has_words(self, token_ids: TokenIds) -> bool:
        """Tell whether a segment has anything that can be drawn."""
        return bool(self._can_be_drawn(self._text(token_ids)).any())

    def mask(self, token_ids: TokenIds, epoch: int, index: int) -> MaskedSegment:
        """Draw words of a segment, anew for each epoch.

        Args:
            token_ids: int32 `[tokens]`, prefix and special tokens included.
            epoch: Number of the epoch.
            index: Number of the segment.
        """
        generator = np.random.default_rng([self._seed, epoch, index])
        input_ids = token_ids.astype(np.int64)
        labels = np.full(len(token_ids), IGNORED, dtype=np.int64)
        for begin, end in self._draw(token_ids, generator):
            labels[begin:end] = token_ids[begin:end]
            chance = generator.random()
            if chance < _MASKED:
                input_ids[begin:end] = self._mask_id
            elif chance < _MASKED + _RANDOM:
                input_ids[begin:end] = generator.choice(self._vocabulary.ordinary, end - begin)
        return MaskedSegment(input_ids, labels)

    def _draw(
        self, token_ids: TokenIds, generator: np.random.Generator
    ) -> Iterator[tuple[int, int]]:
        """Yield words of a segment in random order up to the share; a longer word is passed by."""
        words = list(self.words(token_ids, generator))
        wanted = max(1, round(self._share * sum(end - begin for begin, end in words)))
        drawn = 0
        order = generator.permutation(len(words)).tolist()
        for place in order:
            begin, end = words[place]
            if drawn + end - begin <= wanted:
                drawn += end - begin
                yield begin, end
        if words and not drawn:
            # A short text of long words: one of them is more than the share.
            yield min((words[place] for place in order), key=lambda word: word[1] - word[0])

    def words(
        self, token_ids: TokenIds, generator: np.random.Generator
    ) -> Iterator[tuple[int, int]]:
        """Cut the text of a segment into words; unknown tokens and mere blanks are in none.

        Args:
            token_ids: int32 `[tokens]`, prefix and special tokens included.
            generator: Draws the lengths of stretches.

        Yields:
            First token and last, exclusive, counted in the segment.
        """
        text = self._text(token_ids)
        if not len(text):
            return
        words = self._vocabulary
        can_be_drawn = self._can_be_drawn(text)
        both = can_be_drawn[:-1] & can_be_drawn[1:]
        kinds = words.first[text]
        same = (words.last[text[:-1]] == kinds[1:]) & ~words.begins[text[1:]] & both
        # Within a word of letters; unspaced characters are joined by chance.
        joined = (words.joins[text[1:]] & both) | (same & (kinds[1:] == LETTER))
        unspaced = same & (kinds[1:] == UNSPACED)
        # Drawn for every token, so that the cut depends on nothing but seed and place.
        rooms = 1 + generator.choice(len(_STRETCHES), len(text), p=_STRETCHES)
        sizes = words.sizes[text]
        begin, room = 0, int(rooms[0] - sizes[0])
        for token in range(1, len(text)):
            fits = bool(unspaced[token - 1]) and room >= sizes[token]
            if not (joined[token - 1] or fits):
                if can_be_drawn[begin]:
                    yield self._before + begin, self._before + token
                begin, room = token, int(rooms[token])
            room -= int(sizes[token])
        if can_be_drawn[begin]:
            yield self._before + begin, self._before + len(text)

    def _can_be_drawn(self, text: TokenIds) -> Booleans:
        """Tell of each token whether it is of a known word: not unknown text, not a mere blank."""
        words = self._vocabulary
        return (text != self._unknown_id) & ((words.sizes[text] > 0) | words.joins[text])

    def _text(self, token_ids: TokenIds) -> TokenIds:
        return token_ids[self._before : len(token_ids) - self._after]
