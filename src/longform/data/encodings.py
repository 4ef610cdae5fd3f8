"""Which encoding a stream of bytes is in: decided on all of its bytes, never on a sample."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from charset_normalizer import from_bytes

from longform.errors import InputError

OpenBinary = Callable[[], AbstractContextManager[BinaryIO]]

_BLOCK = 1 << 20
_SAMPLE = 1 << 18
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDE_CHARACTERS = 3
"""Characters of three UTF-8 bytes in one line that GB18030 text practically never imitates."""
_CHINESE = re.compile("[\u2014\u2018-\u201d\u2026\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")
_CHINESE_SHARE = 0.8
"""Least share of ideographs and Chinese punctuation in text that really is GB18030. Measured:
simplified and traditional Chinese above 0.95, Big5 read as GB18030 about 0.4."""
_COMMON_SHARE = 0.3
"""Least share of GB2312 characters. Measured: simplified Chinese 0.99, traditional Chinese 0.5 to
0.7, Shift JIS read as GB18030 0.0."""
_ENOUGH_CHARACTERS = 40
"""Characters below which a share says nothing."""


def detect_encoding(open_binary: OpenBinary, path: Path) -> tuple[str, list[str]]:
    """Find the encoding in which every byte of a stream can be read.

    A byte order mark decides; then UTF-8 is tried strictly, because GB18030 accepts most UTF-8
    text and would turn it into other characters; then GB18030, strictly.

    Args:
        open_binary: Opens the unpacked bytes from their start; called up to three times.
        path: Named in errors.

    Returns:
        The codec name, and notes for the user.

    Raises:
        InputError: Bytes fit no encoding, or the lines are not all in the same one.
    """
    with open_binary() as stream:
        head = stream.read(4)
    marked = encoding_by_mark(head)
    if marked is not None:
        return marked, []
    wide = encoding_by_zeros(head)
    if wide is not None:
        return wide, [f"no byte order mark; read as {wide} because every second byte is zero"]
    if _is_utf8(open_binary):
        return "utf-8", []
    with open_binary() as stream:
        census = _take_census(stream)
    _refuse_mixture(census, path)
    _refuse_foreign(census, path)
    return "gb18030", ["not UTF-8; read as gb18030 (GBK and GB2312 are parts of it)"]


def encoding_by_mark(head: bytes) -> str | None:
    """Return the codec that a byte order mark at the start of a file names, or None."""
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)


def encoding_by_zeros(head: bytes) -> str | None:
    """Recognise the two ASCII characters, each beside a zero byte, that a header begins with."""
    if len(head) < 4:
        return None
    if head[1] == head[3] == 0 and head[0] and head[2]:
        return "utf-16-le"
    if head[0] == head[2] == 0 and head[1] and head[3]:
        return "utf-16-be"
    return None


def _is_utf8(open_binary: OpenBinary) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    try:
        with open_binary() as stream:
            while block := stream.read(_BLOCK):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Place:
    line: int
    byte: int


@dataclass(slots=True)
class _Census:
    """What the lines of a file that is not UTF-8 look like, one by one."""

    utf8_lines: int = 0
    other_lines: int = 0
    first_utf8: _Place | None = None
    first_other: _Place | None = None
    first_unreadable: _Place | None = None
    characters: int = 0
    chinese_characters: int = 0
    common_characters: int = 0
    sample: bytearray = field(default_factory=bytearray)


def _take_census(lines: Iterable[bytes]) -> _Census:
    """Judge each line by itself: no byte of a GB18030 character is a line feed."""
    census = _Census()
    offset = 0
    for number, line in enumerate(lines, start=1):
        if not line.isascii():
            _judge_line(census, line, number, offset)
        offset += len(line)
    return census


def _judge_line(census: _Census, line: bytes, number: int, offset: int) -> None:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        census.other_lines += 1
        census.first_other = census.first_other or _Place(number, offset + error.start)
    else:
        # A short GB18030 line can be valid UTF-8 by chance; several wide characters cannot.
        if sum(character > "\u07ff" for character in text) >= _WIDE_CHARACTERS:
            census.utf8_lines += 1
            census.first_utf8 = census.first_utf8 or _Place(number, offset)
        return
    if len(census.sample) < _SAMPLE:
        census.sample += line[:_SAMPLE]
    try:
        text = line.decode("gb18030")
    except UnicodeDecodeError as error:
        place = _Place(number, offset + error.start)
        census.first_unreadable = census.first_unreadable or place
        return
    foreign = "".join(character for character in text[:_SAMPLE] if character > "\x7f")
    census.characters += len(foreign)
    census.chinese_characters += len(_CHINESE.findall(foreign))
    census.common_characters += len(foreign.encode("gb2312", "ignore")) // 2


def _refuse_mixture(census: _Census, path: Path) -> None:
    if not census.utf8_lines or not census.other_lines:
        return
    if census.other_lines <= census.utf8_lines:
        place, kind, rest = census.first_other, "is not UTF-8", "others are"
    else:
        place, kind, rest = census.first_utf8, "is UTF-8", "most others are not"
    assert place is not None
    raise InputError(
        "A file must be in one encoding from start to end.",
        found=f"{path}: line {place.line} (byte {place.byte}) {kind} while {rest}",
        fix="Repair that line, or write the whole file again as UTF-8.",
    )


def _refuse_foreign(census: _Census, path: Path) -> None:
    place = census.first_unreadable
    rare = census.characters >= _ENOUGH_CHARACTERS and (
        census.chinese_characters < _CHINESE_SHARE * census.characters
        or census.common_characters < _COMMON_SHARE * census.characters
    )
    if place is None and not rare:
        return
    guess = from_bytes(bytes(census.sample)).best()
    likely = f", probably {guess.encoding}" if guess is not None else ""
    if place is not None:
        found = f"{path}: line {place.line} (byte {place.byte}) is neither UTF-8 nor GB18030"
    else:
        found = f"{path}: not UTF-8, and as GB18030 it would be mostly rare characters"
    source = guess.encoding if guess is not None else "ITS_ENCODING"
    raise InputError(
        "A file must be in UTF-8, GB18030, or UTF-16 with a byte order mark.",
        found=found + likely,
        fix=f"Convert it first, for example: iconv -f {source} -t UTF-8 {path.name} > utf8.csv",
    )
