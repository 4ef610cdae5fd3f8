"""Groups of words of one meaning, and where such words stand in a text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from longform.errors import InputError

HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
"""Characters that are written without blanks between words, for a class of a regular expression."""

_NUMERALS = frozenset("零〇一二三四五六七八九十百千万亿两")
_SIGN = rf"[^\W{HAN}]"
# What stands between blanks, without the marks at its ends, and runs of Han characters. Repeats
# are possessive, so that time is linear.
_RUN = re.compile(rf"(?P<token>{_SIGN}++(?:[-.,@:/\\?=&#%~'’]++{_SIGN}++)*+)|[{HAN}]++")
# Not 3.14, ISO9001, an address or a path.
_WORD = re.compile(r"[^\W\d_]++(?:['’-][^\W\d_]++)*+")
_HAN_WORD = re.compile(rf"[{HAN}]+")
_SEPARATORS = re.compile(r"\s*[\t,，、]\s*")
# Lines of the extended Tongyici Cilin begin so; only those with `=` are of one meaning.
_CODE = re.compile(r"[A-Z][a-z]\d\d[A-Z]\d\d([=#@])\s*")

Span = tuple[int, int]


def is_numeral(character: str) -> bool:
    """Tell whether a character is a digit or a Chinese numeral; the empty string is neither."""
    return character.isdigit() or character in _NUMERALS


class SynonymLexicon:
    """Words of one meaning.

    Args:
        groups: Words that can stand for each other; a word may be in several groups.
    """

    def __init__(self, groups: Iterable[Sequence[str]]) -> None:
        found: dict[str, dict[str, None]] = {}
        for group in groups:
            for word in group:
                others = found.setdefault(word.lower(), {})
                others.update(dict.fromkeys(other for other in group if other != word))
        self._synonyms = {word: tuple(others) for word, others in found.items() if others}
        lengths: dict[str, set[int]] = {}
        for word in self._synonyms:
            if _HAN_WORD.fullmatch(word):
                lengths.setdefault(word[0], set()).add(len(word))
        self._lengths = {
            first: tuple(sorted(sizes, reverse=True)) for first, sizes in lengths.items()
        }

    @classmethod
    def load(cls, path: str | None = None) -> SynonymLexicon:
        """Read a lexicon: words of one meaning on each line.

        Args:
            path: A UTF-8 text file. The words of a line are separated by tabs or commas, else by
                blanks; a line that begins with `#` is a comment. The extended Tongyici Cilin can
                be read as it is. None takes the small one of everyday Chinese and English words
                that comes with longform.

        Raises:
            InputError: The file cannot be read, or no line of it has two words.
        """
        if path is None:
            text = files("longform.data").joinpath("synonyms.txt").read_text(encoding="utf-8")
            return cls(_groups(text))
        try:
            text = Path(path).expanduser().read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                "The lexicon of synonyms must be a text file in UTF-8.",
                found=f"'{path}': {error}",
                fix="Give the path of such a file, or leave 'synonyms' out to use the small "
                "lexicon that comes with longform.",
            ) from error
        lexicon = cls(_groups(text))
        if not len(lexicon):
            raise InputError(
                "The lexicon of synonyms must have lines of two or more words of one meaning.",
                found=f"no such line in '{path}'",
                fix="Write, for example: quick fast rapid",
            )
        return lexicon

    def __len__(self) -> int:
        return len(self._synonyms)

    def synonyms(self, word: str) -> tuple[str, ...]:
        """Return the words that can stand for one, whatever its case; none for a strange one."""
        return self._synonyms.get(word.lower(), ())

    def words(self, text: str) -> Iterator[Span]:
        """Cut a text into words, in time linear in its length.

        Words between blanks are taken whole. Among Han characters, which need no blanks, the
        longest word of the lexicon that begins at a place is taken, else the character alone.
        Numbers, in digits or in Chinese, addresses and paths are no words.

        Yields:
            Character offsets of the start and the end of each word, in order.
        """
        for match in _RUN.finditer(text):
            token = match["token"]
            if token is None:
                yield from self._han_words(text, *match.span())
            elif _WORD.fullmatch(token):
                yield match.span()

    def _han_words(self, text: str, start: int, end: int) -> Iterator[Span]:
        lengths_of, known = self._lengths, self._synonyms
        in_number = False
        while start < end:
            first = text[start]
            numeral = first in _NUMERALS
            size = 0
            # Words such as 一起 count, but not inside 三十一起.
            if first in lengths_of and not (numeral and in_number):
                for length in lengths_of[first]:
                    if text[start : start + length] in known:
                        size = length
                        break
            if size or not numeral:
                yield start, start + (size or 1)
            in_number = numeral and not size
            start += size or 1


def _groups(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        line = line.strip()
        code = _CODE.match(line)
        if not line or line.startswith("#") or (code and code[1] != "="):
            continue
        line = line[code.end() :] if code else line
        words = _SEPARATORS.split(line) if _SEPARATORS.search(line) else line.split()
        yield [word for word in dict.fromkeys(words) if word]
