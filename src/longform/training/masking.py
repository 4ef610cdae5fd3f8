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
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, pre_tokenizers

from longform.types import Booleans, Integers, TokenIds

IGNORED = -100
"""Label of the tokens that the loss leaves out, as transformers and torch have it."""

_STRETCHES = (0.4, 0.3, 0.2, 0.1)
"""How often a stretch is of one, two, three and four characters: two on average."""
_MASKED, _RANDOM = 0.8, 0.1
"""Shares of the drawn words that are masked, and that become other tokens (Devlin et al., 2019).
The rest is left as it is and has to be guessed all the same."""

_ALONE, _LETTER, _UNSPACED = 0, 1, 2
_FIRST_UNSPACED_BYTES = frozenset(range(0xE4, 0xEA))
"""First bytes, in UTF-8, of nearly all Han characters, for pieces that end inside a character."""
_UNSPACED_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # 々〆〇
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)


class _Piece(NamedTuple):
    """A piece of the vocabulary, as far as words are concerned.

    `joins`: it goes on with the piece before it, whatever that is. `begins`: a word begins here.
    `first` and `last` are the kinds of its outer characters, `size` its characters.
    """

    joins: bool
    begins: bool
    first: int
    last: int
    size: int


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
                pieces.append(_read_word_piece(text, prefix))
            else:
                pieces.append(_read_marked_piece(_as_bytes(text, bytewise=bytewise)))
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
        joined = (words.joins[text[1:]] & both) | (same & (kinds[1:] == _LETTER))
        unspaced = same & (kinds[1:] == _UNSPACED)
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


def _read_word_piece(text: str, prefix: str) -> _Piece:
    joins = text.startswith(prefix) and len(text) > len(prefix)
    content = text.removeprefix(prefix) if joins else text
    # BERT's kind knows nothing of blanks, and its Han characters are pieces of their own.
    begins = not joins and _kind(content[:1]) != _UNSPACED
    return _describe(content, joins=joins, begins=begins)


def _read_marked_piece(content: bytes) -> _Piece:
    """Read a piece whose blank, if it has one, begins a word; it may end inside a character."""
    begins = content.startswith(b" ")
    content = content.strip(b" ")
    # A byte 10xxxxxx goes on with the character that the piece before it began.
    joins = bool(content) and content[0] & 0xC0 == 0x80
    text = content.decode("utf-8", "ignore")
    if not text and content:
        kind = _UNSPACED if content[0] in _FIRST_UNSPACED_BYTES or joins else _ALONE
        return _Piece(joins, begins, kind, kind, int(not joins))
    return _describe(text, joins=joins, begins=begins)


def _describe(text: str, *, joins: bool, begins: bool) -> _Piece:
    kinds = [_kind(character) for character in text] or [_ALONE]
    return _Piece(joins, begins, kinds[0], kinds[-1], len(text))


def _kind(character: str) -> int:
    if not character:
        return _ALONE
    if any(low <= ord(character) <= high for low, high in _UNSPACED_RANGES):
        return _UNSPACED
    return _LETTER if character.isalnum() else _ALONE


def _as_bytes(piece: str, *, bytewise: bool) -> bytes:
    if bytewise:
        table = _byte_of_character()
        if all(character in table for character in piece):
            return bytes(table[character] for character in piece)
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes([int(piece[3:5], 16)])
    return piece.replace("\u2581", " ").encode("utf-8")


@cache
def _byte_of_character() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for (as GPT-2 has it).

    Printable bytes stand for themselves; the others are counted from U+0100 on.
    """
    alphabet = set(pre_tokenizers.ByteLevel.alphabet())
    themselves = [byte for byte in range(256) if chr(byte) in alphabet]
    others = [byte for byte in range(256) if chr(byte) not in alphabet]
    table = {chr(byte): byte for byte in themselves}
    return table | {chr(256 + place): byte for place, byte in enumerate(others)}
