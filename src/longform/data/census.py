"""What the lines of a file that is not UTF-8 look like, and which older encodings they fit."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from charset_normalizer import from_bytes

from longform.data.charsets import CHARSETS, Charset, count_characters
from longform.errors import InputError

MARKER = "\udcff"
"""Stands for bytes that are not in the encoding; no decoder gives it for bytes that are."""
MARK = "longform-mark"
"""Name of the error handler that puts `MARKER` where `strict` would raise."""

_BLOCK = 1 << 20
_SAMPLE = 1 << 18
_WIDE_CHARACTERS = 3
_FOREIGN_CHARACTERS = 10
"""Characters of three UTF-8 bytes, or beyond ASCII at all, in one line that text of other
encodings practically never imitates."""
_LOOKED_AT = 400
"""Characters of a line among which they are counted."""
_JUDGED_CHARACTERS = 1 << 16
"""Characters after which the encoding that fits best is the only one that is tried further."""
_ENOUGH_CHARACTERS = 20
"""Characters below which GB18030 wins over an encoding that fits as well."""
_EQUAL_SHARES = 0.05
_TRAILS = frozenset(bytes((byte,)) for byte in range(0x80, 0xC0))
"""Bytes within a UTF-8 character; at most three follow the first."""
_OTHER_WAYS = (
    "Name the encoding with --encoding if you know it, or convert the file, for example: "
    "iconv -f {name} -t UTF-8 {file} > utf8-{file}"
)
_BROKEN_BYTES = "or let --encoding-errors replace such bytes or skip their rows."


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return MARKER, error.end


codecs.register_error(MARK, _mark)


@dataclass(frozen=True, slots=True)
class Detected:
    """The encoding of a file.

    Attributes:
        name: Codec name.
        certainty: Share of the characters beyond ASCII that are common in this encoding; None
            where the bytes themselves decide, as for UTF-8.
        notes: What the user should know.
    """

    name: str
    certainty: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    line: int
    byte: int

    def __str__(self) -> str:
        return f"line {self.line} (byte {self.byte})"


class _Trial:
    """One encoding tried on the stream."""

    def __init__(self, charset: Charset, errors: str) -> None:
        self.charset = charset
        self.fault: _Place | None = None
        self.characters = 0
        self.common = 0
        self._decoder = codecs.getincrementaldecoder(charset.name)(errors)

    @property
    def share(self) -> float:
        return self.common / self.characters if self.characters else 0.0

    def read(self, block: bytes, start: _Place, *, count: bool, final: bool = False) -> None:
        try:
            text = self._decoder.decode(block, final)
        except UnicodeDecodeError as error:
            position = len(block) - len(error.object) + error.start
            lines = block.count(b"\n", 0, max(position, 0))
            self.fault = _Place(start.line + lines, start.byte + position)
            return
        if count:
            characters, common = count_characters(text, self.charset)
            self.characters += characters
            self.common += common


class Census:
    """The account of one reading of a file.

    Args:
        path: Named in errors.
        tolerant: Take the encoding of most lines, whatever bytes it cannot read.
    """

    def __init__(self, path: Path, tolerant: bool) -> None:
        self._path = path
        self._tolerant = tolerant
        errors = MARK if tolerant else "strict"
        # Bytes that plain Big5 has not would be taken for broken ones.
        skipped = "big5" if tolerant else ""
        self._trials = [_Trial(charset, errors) for charset in CHARSETS if charset.name != skipped]
        self._judged = False
        self._utf8_lines = self._other_lines = 0
        self._first_utf8: _Place | None = None
        self._first_other: _Place | None = None
        self._sample = bytearray()
        self._within_line = False

    def take(self, stream: BinaryIO) -> None:
        """Read the stream to its end."""
        start = _Place(1, 0)
        for block in _iterate_blocks(stream):
            self._judge_lines(block, start)
            self._try(block, start)
            start = _Place(start.line + block.count(b"\n"), start.byte + len(block))
        self._try(b"", start, final=True)

    def decide(self) -> Detected:
        """Return the encoding.

        Raises:
            InputError: Bytes fit no encoding, or the lines are not all in the same one.
        """
        utf8_prevails = self._utf8_lines >= self._other_lines
        if self._tolerant and utf8_prevails:
            return Detected("utf-8", None, ("most lines are UTF-8; read as utf-8",))
        if self._utf8_lines and not self._tolerant:
            raise self._describe_mixture(utf8_prevails)
        best = self._best_trial()
        if best is None or best.fault is not None:
            raise self._describe_foreign(best)
        name, title, share = best.charset.name, best.charset.title, best.share
        note = (
            f"not UTF-8; read as {name} ({title}), {share:.2f} of {best.characters:,} characters "
            "common; --encoding overrides"
        )
        return Detected(name, round(share, 4), (note,))

    def _try(self, block: bytes, start: _Place, *, final: bool = False) -> None:
        for trial in self._trials:
            if trial.fault is None:
                trial.read(block, start, count=not self._judged, final=final)
        if self._judged or not any(t.characters > _JUDGED_CHARACTERS for t in self._trials):
            return
        self._judged = True
        best = self._best_trial()
        if best is not None:
            self._trials = [best]

    def _best_trial(self) -> _Trial | None:
        if self._judged and len(self._trials) == 1:
            return self._trials[0]
        fitting = [
            trial
            for trial in self._trials
            if trial.fault is None and trial.share >= trial.charset.likely
        ]
        if not fitting:
            return None
        most = max(trial.share for trial in fitting) - _EQUAL_SHARES
        fitting = [trial for trial in fitting if trial.share >= most]
        chinese = next((trial for trial in fitting if trial.charset.name == "gb18030"), None)
        if chinese is not None and chinese.characters < _ENOUGH_CHARACTERS:
            return chinese
        return fitting[0]

    def _judge_lines(self, block: bytes, start: _Place) -> None:
        offset = start.byte
        for number, line in enumerate(block.split(b"\n"), start.line):
            if not line.isascii():
                within = number == start.line and self._within_line
                self._judge_line(line, _Place(number, offset), within)
            offset += len(line) + 1
        self._within_line = not block.endswith(b"\n")

    def _judge_line(self, line: bytes, place: _Place, within: bool) -> None:
        # A line longer than a block comes in pieces, which may begin and end within a character.
        whole = (n for n in range(4) if line[n : n + 1] not in _TRAILS)
        skipped = next(whole, 0) if within else 0
        try:
            text = codecs.utf_8_decode(line[skipped:], "strict", False)[0][:_LOOKED_AT]
        except UnicodeDecodeError as error:
            self._other_lines += 1
            position = _Place(place.line, place.byte + skipped + error.start)
            self._first_other = self._first_other or position
            if len(self._sample) < _SAMPLE:
                self._sample += line[:_SAMPLE] + b"\n"
            return
        wide = sum(character > "\u07ff" for character in text)
        foreign = sum(character > "\x7f" for character in text)
        # A short line can be valid UTF-8 by chance; several such characters cannot.
        if wide >= _WIDE_CHARACTERS or foreign >= _FOREIGN_CHARACTERS:
            self._utf8_lines += 1
            self._first_utf8 = self._first_utf8 or place

    def _describe_mixture(self, utf8_prevails: bool) -> InputError:
        if utf8_prevails:
            place, kind, rest = self._first_other, "is not UTF-8", "others are"
        else:
            place, kind, rest = self._first_utf8, "is UTF-8", "most others are not"
        return InputError(
            "A file must be in one encoding from start to end.",
            found=f"{self._path}: {place} {kind} while {rest}",
            fix=f"Repair that line, write the whole file again as UTF-8, {_BROKEN_BYTES}",
        )

    def _describe_foreign(self, best: _Trial | None) -> InputError:
        chinese = next((t for t in self._trials if t.charset.name == "gb18030"), None)
        trial = best or chinese
        guess = from_bytes(bytes(self._sample)).best()
        name = guess.encoding if guess is not None else "ITS_ENCODING"
        likely = f", probably {guess.encoding}" if guess is not None else ""
        ways = _OTHER_WAYS.format(name=name, file=self._path.name)
        if trial is not None and trial.fault is not None:
            codec = trial.charset.name
            found = f"{self._path}: {trial.fault} is neither UTF-8 nor {codec.upper()}"
            ways = f"{ways}, {_BROKEN_BYTES}" if best is not None else ways
        else:
            found = f"{self._path}: not UTF-8, and as GB18030 it would be mostly rare characters"
        return InputError(
            "A file must be in UTF-8, GB18030, Big5, Shift JIS, EUC-JP or EUC-KR, or in UTF-16 "
            "with a byte order mark.",
            found=found + likely,
            fix=ways,
        )


def _iterate_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield blocks that end where a line does, unless the line is longer than a block."""
    while block := stream.read(_BLOCK):
        yield block + stream.readline(_BLOCK)
