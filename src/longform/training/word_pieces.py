"""What a piece of a vocabulary says of words: whether one begins with it or goes on with it."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from tokenizers import pre_tokenizers

ALONE, LETTER, UNSPACED = 0, 1, 2
"""Kinds of characters: of no word but their own, of alphabets, and of scripts without blanks."""

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


class Piece(NamedTuple):
    """A piece of the vocabulary, as far as words are concerned.

    `joins`: it goes on with the piece before it, whatever that is. `begins`: a word begins here.
    `first` and `last` are the kinds of its outer characters, `size` its characters.
    """

    joins: bool
    begins: bool
    first: int
    last: int
    size: int


def read_word_piece(text: str, prefix: str) -> Piece:
    """Read a piece of WordPiece, where a prefix marks those that go on with a word."""
    joins = text.startswith(prefix) and len(text) > len(prefix)
    content = text.removeprefix(prefix) if joins else text
    # BERT's kind knows nothing of blanks, and its Han characters are pieces of their own.
    begins = not joins and _kind(content[:1]) != UNSPACED
    return _describe(content, joins=joins, begins=begins)


def read_marked_piece(content: bytes) -> Piece:
    """Read a piece whose blank, if it has one, begins a word; it may end inside a character."""
    begins = content.startswith(b" ")
    content = content.strip(b" ")
    # A byte 10xxxxxx goes on with the character that the piece before it began.
    joins = bool(content) and content[0] & 0xC0 == 0x80
    text = content.decode("utf-8", "ignore")
    if not text and content:
        kind = UNSPACED if content[0] in _FIRST_UNSPACED_BYTES or joins else ALONE
        return Piece(joins, begins, kind, kind, int(not joins))
    return _describe(text, joins=joins, begins=begins)


def _describe(text: str, *, joins: bool, begins: bool) -> Piece:
    kinds = [_kind(character) for character in text] or [ALONE]
    return Piece(joins, begins, kinds[0], kinds[-1], len(text))


def _kind(character: str) -> int:
    if not character:
        return ALONE
    if any(low <= ord(character) <= high for low, high in _UNSPACED_RANGES):
        return UNSPACED
    return LETTER if character.isalnum() else ALONE


def as_bytes(piece: str, *, bytewise: bool) -> bytes:
    """Return the bytes that a piece stands for in a text, with a blank for SentencePiece's mark."""
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
