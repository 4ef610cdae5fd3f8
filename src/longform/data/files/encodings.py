"""Which encoding a stream of bytes is in: decided on all of its bytes, never on a sample."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from contextlib import AbstractContextManager
from difflib import get_close_matches
from encodings.aliases import aliases
from pathlib import Path
from typing import BinaryIO

from longform.data.files.census import Census, Detected
from longform.errors import InputError

OpenBinary = Callable[[], AbstractContextManager[BinaryIO]]

_BLOCK = 1 << 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MARKED_FORMS = {
    "utf-8": "utf-8-sig",
    **dict.fromkeys(("utf-16-le", "utf-16-be"), "utf-16"),
    **dict.fromkeys(("utf-32-le", "utf-32-be"), "utf-32"),
}

_NOT_OF_FILES = {"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"}


def detect_encoding(open_binary: OpenBinary, path: Path, *, tolerant: bool = False) -> Detected:
    """Find the encoding in which every byte of a stream can be read.

    A byte order mark decides; then UTF-8 is tried strictly, because GB18030 accepts most UTF-8
    text and would turn it into other characters; then the older encodings of Chinese, Japanese
    and Korean: the one in which all bytes are characters, most of them common ones.

    Args:
        open_binary: Opens the unpacked bytes from their start; called up to three times.
        path: Named in errors.
        tolerant: Take the encoding of most lines, whatever bytes it cannot read.

    Raises:
        InputError: Bytes fit no encoding, or the lines are not all in the same one.
    """
    with open_binary() as stream:
        head = stream.read(4)
    marked = encoding_by_mark(head)
    if marked is not None:
        return Detected(marked)
    wide = encoding_by_zeros(head)
    if wide is not None:
        note = f"no byte order mark; read as {wide} because every second byte is zero"
        return Detected(wide, None, (note,))
    if _is_utf8(open_binary):
        return Detected("utf-8")
    with open_binary() as stream:
        census = Census(path, tolerant)
        census.take(stream)
    return census.decide()


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


def find_codec(name: str, head: bytes = b"") -> str:
    """Return the codec of an encoding that a user named.

    Args:
        name: As Python or anyone else spells it.
        head: First bytes of the file; a byte order mark there is then not read as a character.

    Raises:
        InputError: There is no such encoding.
    """
    try:
        codec = codecs.lookup(name)
    except (LookupError, UnicodeError, ValueError):
        codec = None
    # base64, zlib and the like are codecs too; only a private field tells them apart.
    if (
        codec is None
        or codec.name.replace("-", "_") in _NOT_OF_FILES
        or not getattr(codec, "_is_text_encoding", True)
    ):
        wanted = name.lower().replace("-", "_")
        near = get_close_matches(wanted, [*aliases, *aliases.values()], n=3)
        raise InputError(
            "The encoding must be one that Python knows.",
            found=f"encoding '{name}'",
            fix=f"Did you mean {' or '.join(dict.fromkeys(near))}?"
            if near
            else "Well-known ones are utf-8, utf-16, gb18030, big5, cp1252, shift_jis and euc_kr.",
        )
    marked = encoding_by_mark(head)
    return marked if marked is not None and _MARKED_FORMS.get(codec.name) == marked else codec.name


def locate_fault(open_binary: OpenBinary, encoding: str) -> str | None:
    """Say which line and byte of a stream cannot be decoded, or return None."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    consumed, line = 0, 1
    with open_binary() as stream:
        while True:
            block = stream.read(_BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                # The decoder puts what was left of the block before in front of this one.
                start = consumed + len(block) - len(error.object) + error.start
                line += error.object[: error.start].decode(encoding, "ignore").count("\n")
                return f"line {line} (byte {start}, 0x{error.object[error.start]:02x})"
            if not block:
                return None
            consumed += len(block)
            line += text.count("\n")


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
