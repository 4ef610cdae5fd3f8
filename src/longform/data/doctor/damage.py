"""Text that was decoded wrongly before it was written: mojibake, found and, where sure, undone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from longform.data.doctor.scripts import code_points
from longform.extras import require

_FOREIGN = (0x80, 0x2600)
_LATIN_TO, _MIDDLE_DOT = 0x250, 0xB7
_BOXES_FROM = 0x2500
_ENOUGH_IDEOGRAPHS = 8
_SAMPLE = 4_000
"""Characters that tell whether a text was read as GBK: all of it was, or none."""
_IDEOGRAPH = re.compile("[\u4e00-\u9fff]")
_SECOND_LEVEL = 0xD8
"""First byte from which GB2312 has its rarer characters."""
_REAL_SHARE = 0.7
"""Share of the first level in any real simplified text; damage has about a third."""
_RESTORED_SHARE = 0.4
"""Traditional texts have about half: less than simplified ones, more than chance gives."""
_WIDE_FROM = "\u07ff"


def make_damage_detector() -> Callable[[str], bool]:
    """Return a function that tells whether a text holds mojibake.

    Two kinds are found: UTF-8 read as a Latin code page (by ftfy's measure of badness) and UTF-8
    read as GBK, which turns common characters into rare ones.

    Raises:
        MissingExtraError: ftfy is not installed.
    """
    badness = require("ftfy.badness", "Looking for mojibake").is_bad

    def is_damaged(text: str) -> bool:
        return (_may_be_latin(text) and bool(badness(text))) or _is_read_as_gbk(text)

    return is_damaged


def make_damage_repairer() -> Callable[[str], str]:
    """Return a function that undoes mojibake line by line, only where ftfy or GBK leave no doubt.

    Raises:
        MissingExtraError: ftfy is not installed.
    """
    ftfy: Any = require("ftfy", "Repairing mojibake")

    def repair_line(line: str) -> str:
        undone = _undo_gbk(line)
        return undone if undone is not None else str(ftfy.fix_encoding(line))

    def repair(text: str) -> str:
        return "".join(repair_line(line) for line in text.splitlines(keepends=True))

    return repair


def _may_be_latin(text: str) -> bool:
    """Tell cheaply whether an accented letter or a box stands beside another sign beyond ASCII.

    UTF-8 read as a Latin code page makes two or three such signs of each character; Chinese, whose
    own signs lie elsewhere, need not be searched by slower means.
    """
    if text.isascii():
        return False
    points = code_points(text)
    foreign = (points >= _FOREIGN[0]) & (points < _FOREIGN[1])
    telling = foreign & ((points < _LATIN_TO) | (points >= _BOXES_FROM)) & (points != _MIDDLE_DOT)
    beside = (telling[1:] & foreign[:-1]) | (telling[:-1] & foreign[1:])
    return bool(np.any(beside))


def _is_read_as_gbk(text: str) -> bool:
    ideographs = "".join(_IDEOGRAPH.findall(text[:_SAMPLE]))
    if len(ideographs) < _ENOUGH_IDEOGRAPHS or _common_share(ideographs) > _REAL_SHARE:
        return False
    # What was lost on the way, as a byte without its partner is, stays lost here.
    undone = text[:_SAMPLE].encode("gb18030", "replace").decode("utf-8", "replace")
    foreign = sum(character > "\x7f" for character in undone)
    restored = "".join(_IDEOGRAPH.findall(undone))
    return len(restored) > 0.6 * foreign and _common_share(restored) > _RESTORED_SHARE


def _common_share(ideographs: str) -> float:
    """Return the share of GB2312's first level: most of real Chinese, little of damage."""
    encoded = ideographs.encode("gb2312", "ignore")
    common = np.frombuffer(encoded[::2], dtype=np.uint8) < _SECOND_LEVEL
    return float(common.sum()) / max(len(ideographs), 1)


def _undo_gbk(line: str) -> str | None:
    """Return what a line was before UTF-8 was read as GBK; None where it was not."""
    if line.isascii():
        return None
    try:
        undone = line.encode("gb18030").decode("utf-8")
    except UnicodeError:
        return None
    # By chance, a few GBK characters are valid UTF-8: hardly ever eight of them, all wide ones.
    foreign = [character for character in undone if character > "\x7f"]
    wide = sum(character > _WIDE_FROM for character in foreign)
    enough = len(line) - len(line.encode("ascii", "ignore")) >= _ENOUGH_IDEOGRAPHS
    return undone if enough and wide >= 0.9 * len(foreign) else None
