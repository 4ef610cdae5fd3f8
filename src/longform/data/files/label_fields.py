"""What stands in the label field of a row: one label name, or several."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from longform.config import DataSettings, ProblemType
from longform.data.files.json_rows import name_type
from longform.errors import InputError

VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
"""A character that is seen: not white space, not a control, not of zero width."""
_SINGLE: ProblemType = "single_label_classification"
_MULTI: ProblemType = "multi_label_classification"


class UnusableRowError(Exception):
    """Says why a row cannot become a document; the reader lists it and goes on."""


class LabelFields:
    """Reads label fields, all of a file in one way.

    Whether a document has one label or several is what the settings say, else what the first
    label says: a list, or a field to be cut at a separator, means several.

    Args:
        settings: `problem_type` and `label_separator`.
        class_names: The names that integers stand for, where the file says so.

    Attributes:
        problem_type: One label a document or several; None until it is known.
        changes: What was changed in labels, with counts.
    """

    def __init__(self, settings: DataSettings, class_names: Sequence[str] | None) -> None:
        self._asked = settings.problem_type
        self._separator = settings.label_separator
        self._class_names = class_names
        self.problem_type: ProblemType | None = settings.problem_type
        if self.problem_type is None and self._separator is not None:
            self.problem_type = _MULTI
        self.changes: Counter[str] = Counter()

    def read(self, value: Any, place: str) -> tuple[str | None, tuple[str, ...] | None]:
        """Return the label, or the labels, of a row; the other one is None.

        Args:
            value: As the file has it.
            place: The row, for errors.

        Raises:
            UnusableRowError: There is no usable label.
            InputError: The rows before had one label each, and this one has a list.
        """
        if is_missing(value):
            raise UnusableRowError("label is missing")
        is_list = isinstance(value, list | tuple)
        if is_list:
            _refuse_spans(value, place)
        if self.problem_type is None:
            self.problem_type = _MULTI if is_list else _SINGLE
        if self.problem_type == _SINGLE:
            return self._read_single(value, is_list, place), None
        return None, self._read_several(value, is_list)

    def _read_single(self, value: Any, is_list: bool, place: str) -> str:
        if not is_list:
            return self._read_name(value)
        if self._asked is None:
            raise InputError(
                "All rows must have one label, or all may have several.",
                found=f"{place} has a list of labels, rows before it one label each",
                fix="Add --set problem_type=multi_label_classification, or correct that row.",
            )
        if len(value) != 1:
            raise UnusableRowError(f"label is a list of {len(value)}, not a string")
        self.changes["labels are lists of one, read as that one"] += 1
        return self._read_name(value[0])

    def _read_several(self, value: Any, is_list: bool) -> tuple[str, ...]:
        if is_list:
            parts = [self._read_name(part).strip() for part in value]
            return tuple(dict.fromkeys(parts))
        name = self._read_name(value)
        if self._separator is None:
            if self._asked is None:
                self.changes["labels are plain strings among lists, read as lists of one"] += 1
            return (name.strip(),)
        parts = [part.strip() for part in name.split(self._separator)]
        kept = [part for part in parts if VISIBLE.search(part)]
        if not kept:
            raise UnusableRowError("label is empty")
        if len(kept) < len(parts):
            self.changes["label fields with nothing between two separators"] += 1
        return tuple(dict.fromkeys(kept))

    def _read_name(self, value: Any) -> str:
        if is_missing(value):
            raise UnusableRowError("label is missing in a list")
        if self._class_names and isinstance(value, int) and not isinstance(value, bool):
            return self._name_class(value)
        if isinstance(value, bool | int | float):
            self.changes["labels are numbers or booleans, read as their JSON text"] += 1
            return json.dumps(value)
        if not isinstance(value, str):
            raise UnusableRowError(f"label is {name_type(value)}, not a string")
        if VISIBLE.search(value) is None:
            # As missing in rows where any number of labels is fine, none included.
            several = self.problem_type == _MULTI and not value
            raise UnusableRowError("label is missing" if several else "label is empty")
        return value

    def _name_class(self, number: int) -> str:
        assert self._class_names is not None
        if number == -1:
            raise UnusableRowError("label is missing")
        if not 0 <= number < len(self._class_names):
            raise UnusableRowError(
                f"label {number} is none of the {len(self._class_names)} classes"
            )
        return self._class_names[number]


def is_missing(value: Any) -> bool:
    """Tell whether a field holds nothing: null, or not a number."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _refuse_spans(value: Sequence[Any], place: str) -> None:
    if any(isinstance(part, list | tuple | dict) for part in value):
        raise InputError(
            "A label must be the name of a class, for the whole text.",
            found=f"{place} has marked spans within the text (sequence labelling) as its label",
            fix="Give one label, or a list of label names, for each text; in doccano, export a "
            "project for text classification.",
        )
