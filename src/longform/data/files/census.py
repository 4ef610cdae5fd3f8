"""What the lines of a file that is not UTF-8 look like, and which older encodings they fit."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from charset_normalizer import from_bytes

from longform.data.files.charsets import CHARSETS, Charset, count_characters
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
"""Characters below which two encodings that both fit cannot be told apart."""
_EQUAL_SHARES = 0.05
_TRAILS = frozenset(bytes((byte,)) for byte in range(0x80, 0xC0))
"""Bytes within a UTF-8 character; at most three follow the first."""
_CUT_CHARACTER = re.compile(rb"[\xc0-\xff][\x80-\xbf]{0,2}\Z")
_FOREIGN_LINE = re.compile(rb"\n[\x00-\x09\x0b-\x7f]*+[\x80-\xff]")
_UTF8_LINE = re.compile(
    rb"\n[\x00-\x09\x0b-\x7f]*+(?:(?:[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}"
    rb"|[\xf0-\xf4][\x80-\xbf]{3})++[\x00-\x09\x0b-\x7f]*+)++(?=\n|\Z)"
)
"""Lines beyond ASCII, and those among them in UTF-8, after the line feed before them: an anchor
would be looked for at every byte. No byte of the other encodings' characters is a line feed."""
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

    def moved(self, block: bytes, position: int) -> _Place:
        """Return the place at a position of a block that begins here."""
        lines = block.count(b"\n", 0, max(position, 0))
        return _Place(self.line + lines, self.byte + position)

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
            self.fault = start.moved(block, len(block) - len(error.object) + error.start)
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
        self._trials = [_Trial(charset, errors) for charset in CHARSETS]
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
        rival = None if self._tolerant else self._find_rival(best)
        if rival is not None:
            raise self._describe_rivals(best, rival)
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
        return fitting[0]

    def _find_rival(self, best: _Trial) -> _Trial | None:
        """Return an encoding that so few characters cannot be told from the best one."""
        if best.characters >= _ENOUGH_CHARACTERS:
            return None
        # GB18030 fits less well than others where the characters are traditional.
        distance = _EQUAL_SHARES if best.charset.name == "gb18030" else 1.0
        return next(
            (
                trial
                for trial in self._trials
                if trial.fault is None
                and trial.charset.language != best.charset.language
                and trial.share >= max(trial.charset.likely, best.share - distance)
            ),
            None,
        )

    def _judge_lines(self, block: bytes, start: _Place) -> None:
        # A line longer than a block comes in pieces, which may begin and end within a character.
        skipped = 0
        if self._within_line:
            skipped = next((n for n in range(4) if block[n : n + 1] not in _TRAILS), 0)
        self._within_line = not block.endswith(b"\n")
        cut = _CUT_CHARACTER.search(block, max(skipped, len(block) - 3))
        pieces = b"\n" + block[skipped : None if cut is None else cut.start()]
        foreign = [match.start() for match in _FOREIGN_LINE.finditer(pieces)]
        if not foreign:
            return
        if len(self._sample) < _SAMPLE:
            self._sample += pieces[:_SAMPLE]
        valid = {match.start(): match.group() for match in _UTF8_LINE.finditer(pieces)}
        self._other_lines += len(foreign) - len(valid)
        if self._first_other is None and len(foreign) > len(valid):
            position = next(position for position in foreign if position not in valid)
            end = pieces.find(b"\n", position + 1)
            position += _first_fault(pieces[position:end] if end >= 0 else pieces[position:])
            self._first_other = start.moved(block, skipped + position - 1)
        for position, line in valid.items():
            if _is_surely_utf8(line):
                self._utf8_lines += 1
                self._first_utf8 = self._first_utf8 or start.moved(block, skipped + position)

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

    def _describe_rivals(self, best: _Trial, rival: _Trial) -> InputError:
        return InputError(
            "The encoding of a file must be known.",
            found=f"{self._path}: not UTF-8, and its {best.characters} characters beyond ASCII are "
            f"too few to tell {best.charset.name} from {rival.charset.name}",
            fix="Name the encoding with --encoding, or write the file again as UTF-8.",
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


def _first_fault(line: bytes) -> int:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _is_surely_utf8(line: bytes) -> bool:
    """Tell whether a line of valid UTF-8 cannot be so by chance, as a short one can."""
    text = line.decode("utf-8", "replace")[:_LOOKED_AT]
    wide = sum(character > "\u07ff" for character in text)
    return wide >= _WIDE_CHARACTERS or sum(c > "\x7f" for c in text) >= _FOREIGN_CHARACTERS


def _iterate_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield blocks that end where a line does, unless the line is longer than a block."""
    while block := stream.read(_BLOCK):
        yield block + stream.readline(_BLOCK)
