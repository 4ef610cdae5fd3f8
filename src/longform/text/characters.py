"""Cleaning steps that exchange characters: normal forms, width, controls, script, symbols."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import pairwise

import numpy as np

from longform.extras import require
from longform.text.alignment import Edit, Edited, apply_edits
from longform.text.sentences import sentence_boundaries

_FEW = 32
"""Up to so many different characters, one `str.replace` each beats `str.translate`."""

_FULL_WIDTH = re.compile(
    # Chinese prose is set with ！（），：；？ in full width: those stay.
    "[\u3000＂-＇＊＋－-９＜-＞＠-～]"
)
_CONTROLS = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
# Soft hyphen, zero-width space, word joiner and invisible operators, byte order mark; marks,
# embeddings and isolates of writing direction.
_INVISIBLE = "\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
_CONTROL = re.compile(f"[{_CONTROLS}]")
_INVISIBLES = re.compile(f"[{_INVISIBLE}]+")
_CONTROL_OR_INVISIBLE = re.compile(f"[{_CONTROLS}{_INVISIBLE}]")
_EMOJI = re.compile(
    # Unicode's property Emoji below U+10000, and the blocks of pictographs above.
    "[©®‼⁉™ℹ↔-↙↩↪⌚⌛⌨⏏⏩-⏳⏸-⏺Ⓜ▪▫▶◀◻-◾☀-☄☎☑☔☕☘☝☠☢☣☦☪☮☯☸-☺♀♂♈-♓♟♠♣♥♦♨♻♾♿⚒-⚗⚙⚛⚜⚠⚡⚧⚪⚫⚰⚱⚽⚾⛄⛅⛈⛎⛏⛑⛓⛔⛩⛪"
    "⛰-⛵⛷-⛺⛽✂✅✈-✍✏✒✔✖✝✡✨✳✴❄❇❌❎❓-❕❗❣❤➕-➗➡➰➿⤴⤵⬅-⬇⬛⬜⭐⭕〰〽㊗㊙\U0001f000-\U0001faff]"
)
_CJK_FORMS = re.compile("[\u3000-\u303f\uff00-\uffef]")
_ABOVE, _END = 0x10000, 0x110000
_ANY_ABOVE = re.compile("[\U00010000-\U0010ffff]")
_ASSIGNED = 0x30000
"""Behind this, Unicode has only ideographs without decompositions, selectors and private use."""
_PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))
_SPECIAL_MARKS = "@#*_\\※†‡¶•"


def normalize_width(text: str) -> Edited | None:
    """Write full-width letters, digits, signs and the ideographic space in ASCII, one for one.

    The marks of Chinese prose ！（），：；？ stay, as do ￥ and its like, which have no ASCII form.
    """
    return _replace_each(
        text,
        _FULL_WIDTH.findall(text),
        lambda character: " " if character == "\u3000" else chr(ord(character) - 0xFEE0),
    )


def replace_controls(text: str) -> Edited | None:
    """Make a blank of each control character, and remove what has no width.

    Tab, line feed and carriage return are white space and stay. The joiners U+200C and U+200D
    stay: emoji, Persian and Indic scripts are written with them. So do variation selectors.
    """
    # Nearly all texts have neither: they cost one scan.
    if _CONTROL_OR_INVISIBLE.search(text) is None:
        return None
    replaced = _replace_each(text, _CONTROL.findall(text), lambda _: " ")
    visible = text if replaced is None else replaced.text
    removed = apply_edits(visible, [(*m.span(), "") for m in _INVISIBLES.finditer(visible)])
    if removed is None or replaced is None:
        return removed or replaced
    return Edited(removed.text, removed.changed + replaced.changed, removed.alignment)


def normalize_nfkc(text: str) -> Edited | None:
    """Bring a text to Unicode's form NFKC: exactly `unicodedata.normalize("NFKC", text)`.

    Characters with a form of the same length are exchanged in place. Only where one grows, or
    where a character can join the one before it (accents, Hangul parts), are the few characters
    concerned normalised together: the forms of what lies between them do not interact.
    """
    if unicodedata.is_normalized("NFKC", text):
        return None
    exchanged, close, joiners = _nfkc_patterns()
    edits: list[Edit] = []
    for match in close.finditer(text):
        start, end = match.span()
        if start > 0 and joiners.match(text, start):
            # Never a character of the match before, which would have taken this one too.
            start -= 1
        normal = unicodedata.normalize("NFKC", text[start:end])
        if normal != text[start:end]:
            edits.append((start, end, normal))
    base = _replace_each(text, exchanged.findall(text), _nfkc)
    if base is None:
        return apply_edits(text, edits)
    outside = base.changed - sum(len(exchanged.findall(text, a, b)) for a, b, _ in edits)
    edited = apply_edits(text, edits, base.text)
    if edited is None:
        return base
    return Edited(edited.text, edited.changed + outside, edited.alignment)


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


@lru_cache(maxsize=1)
def _nfkc_patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return patterns of what is exchanged one for one, what is looked at closely, what joins.

    `re` is fast on classes below U+10000 alone: all characters above are looked at closely.
    """
    exchanged, growing, joining = [], [], []
    for code in range(_ASSIGNED):
        character = chr(code)
        if _joins(character):
            joining.append(code)
        elif code < _ABOVE and unicodedata.decomposition(character):
            normal = _nfkc(character)
            if len(normal) > 1:
                growing.append(code)
            elif normal != character:
                exchanged.append(code)
    joiners = _character_class(joining)
    close = {*growing, *(code for code in joining if code < _ABOVE), *range(_ABOVE, _END)}
    return (
        re.compile(_character_class(exchanged)),
        re.compile(f"{_character_class(sorted(close))}{joiners}*+"),
        re.compile(joiners),
    )


def _joins(character: str) -> bool:
    """Tell whether a character may combine, or change places, with those before it."""
    if not unicodedata.combining(character) and not unicodedata.decomposition(character):
        first = character
    else:
        first = unicodedata.normalize("NFKD", character)[0]
    marks = unicodedata.category(first)[0] == "M"
    return marks or unicodedata.combining(first) > 0 or "\u1160" <= first <= "\u11ff"


class Simplifier:
    """Traditional to simplified Chinese by OpenCC's table `t2s`, words before characters.

    Raises:
        MissingExtraError: OpenCC is not installed.
    """

    def __init__(self) -> None:
        opencc = require("opencc", "The cleaning step traditional_to_simplified")
        self._convert: Callable[[str], str] = opencc.OpenCC("t2s").convert

    def __call__(self, text: str) -> Edited | None:
        """Convert a text in place.

        A sentence whose length a word changes is converted character by character instead, so
        that every character stays where it is.
        """
        if text.isascii():
            return None
        converted = self._convert(text)
        if len(converted) != len(text):
            converted = "".join(
                self._convert_sentence(text[start:end])
                for start, end in pairwise(sentence_boundaries(text))
            )
        if converted == text:
            return None
        return Edited(converted, _count_differences(text, converted))

    def _convert_sentence(self, sentence: str) -> str:
        converted = self._convert(sentence)
        if len(converted) == len(sentence):
            return converted
        alone = ((character, self._convert(character)) for character in sentence)
        return "".join(new if len(new) == 1 else old for old, new in alone)


class SymbolRemover:
    r"""Makes one blank of each run of special symbols, so that no two words become one.

    Special are Unicode's symbols (currency, mathematics, arrows, boxes, shapes), private
    characters, and the marks @ # * _ \ ※ † ‡ ¶ •. Never emoji, CJK punctuation, full-width forms,
    or symbols that stand for letters or digits, such as ㎡ and №.

    Args:
        keep: Characters that stay.
    """

    def __init__(self, keep: str) -> None:
        self._below, self._all = _symbol_patterns(keep)

    def __call__(self, text: str) -> Edited | None:
        """Remove the symbols of a text."""
        pattern = self._below if _ANY_ABOVE.search(text) is None else self._all
        return apply_edits(text, [(*match.span(), " ") for match in pattern.finditer(text)])


@lru_cache(maxsize=8)
def _symbol_patterns(keep: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return patterns of the symbols below U+10000, on which `re` is fast, and of all."""
    found = set(map(ord, _SPECIAL_MARKS)).union(*_PRIVATE_USE)
    for code in range(_ASSIGNED):
        character = chr(code)
        if unicodedata.category(character)[0] == "S" and _is_plain_symbol(character):
            found.add(code)
    codes = sorted(found - set(map(ord, keep)))
    below = [code for code in codes if code < _ABOVE]
    return re.compile(f"{_character_class(below)}+"), re.compile(f"{_character_class(codes)}+")


def _is_plain_symbol(character: str) -> bool:
    if _EMOJI.match(character) or _CJK_FORMS.match(character):
        return False
    return not any(part.isalnum() for part in _nfkc(character))


def _replace_each(text: str, found: list[str], replacement: Callable[[str], str]) -> Edited | None:
    """Exchange all occurrences of the characters found, each for another one."""
    if not found:
        return None
    distinct = set(found)
    if len(distinct) > _FEW:
        table = {ord(character): replacement(character) for character in distinct}
        return Edited(text.translate(table), len(found))
    for character in distinct:
        text = text.replace(character, replacement(character))
    return Edited(text, len(found))


def _count_differences(one: str, other: str) -> int:
    codes = (np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32) for text in (one, other))
    return int(np.count_nonzero(np.not_equal(*codes)))


def _character_class(codes: Iterable[int]) -> str:
    """Write code points, in order, as a class of ranges."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "[" + "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges) + "]"
