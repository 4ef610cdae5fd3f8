"""Rows of JSON files: one object a line, or one array of objects, read without holding the file."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from longform.data.files.sources import Source
from longform.data.files.tables import LONGEST_FIELD, Row, Table
from longform.errors import InputError

_BLOCK = 1 << 16
_MARGIN = 32
"""Characters before the end of the text read so far where a fault may only mean: read on."""


class _RepeatedKeys(dict[str, Any]):
    """An object that names a key twice; `json` alone would keep the last in silence."""

    keys_twice: tuple[str, ...] = ()


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    names = [name for name, _ in pairs]
    repeated = _RepeatedKeys(values)
    repeated.keys_twice = tuple(sorted({name for name in names if names.count(name) > 1}))
    return repeated


_DECODER = json.JSONDecoder(object_pairs_hook=_build_object)


def iterate_json_lines(source: Source, table: Table) -> Iterator[Row]:
    """Read one object a line. Lines end at LF only: U+2028 and the like are part of a text.

    Raises:
        InputError: A line is not JSON; the error names it.
    """
    blank = 0
    for number, line in iterate_lines(source):
        content = line.strip(" \t\r\n")
        if not content:
            blank += 1
            continue
        try:
            value = _DECODER.decode(content)
        except (ValueError, RecursionError) as error:
            raise _describe(source, number, error) from error
        yield _build_row(number, value)
    if blank:
        table.notes.append(f"{blank:,} blank lines passed over")


def iterate_lines(source: Source) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a text, which end at LF only.

    Raises:
        InputError: A line is longer than any field may be.
    """
    with source.open_text(newline="\n") as stream:
        number = 0
        while line := stream.readline(LONGEST_FIELD):
            number += 1
            if len(line) == LONGEST_FIELD:
                raise _describe(source, number, f"longer than {LONGEST_FIELD:,} characters")
            yield number, line


def iterate_json_array(source: Source, table: Table) -> Iterator[Row]:
    """Read the elements of one array one by one; only the current one is held.

    Raises:
        InputError: The text is not a JSON array; the error names the line.
    """
    with source.open_text(newline="") as stream:
        window = _Window(stream, source)
        window.expect("[")
        if window.peek() == "]":
            window.expect("]")
        else:
            number = 0
            while True:
                number += 1
                yield _build_row(number, window.read_value())
                if window.peek() != ",":
                    break
                window.expect(",")
            window.expect("]")
        if window.peek():
            raise window.fault("text after the end of the array")


class _Window:
    """The stretch of a JSON text that is being decoded."""

    def __init__(self, stream: io.TextIOWrapper, source: Source) -> None:
        self._stream = stream
        self._source = source
        self._text = ""
        self._position = 0
        self._line = 1
        self._ended = False

    def peek(self) -> str:
        """Return the next character that is not white space, or "" at the end."""
        while True:
            rest = self._text[self._position : self._position + _BLOCK]
            content = rest.lstrip(" \t\r\n")
            self._position += len(rest) - len(content)
            if content:
                return content[0]
            if self._position >= len(self._text) and not self._read_more():
                return ""

    def expect(self, character: str) -> None:
        """Pass over `character`, which must come next."""
        found = self.peek()
        if found != character:
            raise self.fault(f"'{character}' expected, {repr(found) if found else 'the end'} found")
        self._position += 1

    def read_value(self) -> Any:
        """Decode the next value, reading on until it is complete."""
        if not self.peek():
            raise self.fault("the array is not closed")
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos > len(self._text) - _MARGIN
                if cut and self._read_more():
                    continue
                raise _describe(self._source, self._line + error.lineno - 1, error) from error
            except (ValueError, RecursionError) as error:
                raise _describe(self._source, self._current_line(), error) from error
            # A number near the end of what was read may go on: 1 as 1.5 or 1e-5.
            if end + len("e-5") <= len(self._text) or not self._read_more():
                self._pass_to(end)
                return value

    def fault(self, problem: str) -> InputError:
        """Return an error that names the current line."""
        return _describe(self._source, self._current_line(), problem)

    def _current_line(self) -> int:
        return self._line + self._text.count("\n", 0, self._position)

    def _pass_to(self, position: int) -> None:
        self._position = position
        # Dropping only what outweighs the rest copies each character about once.
        if position > max(_BLOCK, len(self._text) // 2):
            self._line = self._current_line()
            self._text = self._text[position:]
            self._position = 0

    def _read_more(self) -> bool:
        if len(self._text) - self._position > LONGEST_FIELD:
            raise self.fault(f"a value of more than {LONGEST_FIELD:,} characters")
        # Doubling keeps the cost of decoding a long value again and again linear.
        block = "" if self._ended else self._stream.read(max(_BLOCK, len(self._text)))
        self._ended = not block
        self._text += block
        return bool(block)


def _build_row(number: int, value: Any) -> Row:
    if not isinstance(value, dict):
        return Row(number, {}, f"not a JSON object but {name_type(value)}")
    if isinstance(value, _RepeatedKeys):
        return Row(number, value, f"key named twice: {', '.join(value.keys_twice)}")
    return Row(number, value)


def name_type(value: Any) -> str:
    """Say what kind of value this is, in the words of JSON."""
    names = {bool: "true or false", str: "a string", int: "a number", float: "a number"}
    names |= {list: "a list", dict: "an object", type(None): "null"}
    return names.get(type(value), f"a {type(value).__name__}")


def _describe(source: Source, line: int, problem: Exception | str) -> InputError:
    if isinstance(problem, json.JSONDecodeError):
        problem = f"{problem.msg.removesuffix(' at')} at character {problem.colno}"
    elif isinstance(problem, RecursionError):
        problem = "nested too deeply"
    elif isinstance(problem, ValueError):
        problem = str(problem)
    return InputError(
        "JSON data must be one object a line, or one array of objects.",
        found=f"{source.path}, line {line}: {problem}",
        fix="Correct or remove that line; it may be cut short.",
    )
