"""Which column holds what: as the settings say, or under a name that is well known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from longform.config import DataSettings
from longform.errors import InputError

ID_COLUMN = "id"
_TEXT, _LABEL = "text", "label"
_WELL_KNOWN = {
    _TEXT: (
        *("text", "texts", "sentence", "content", "document", "body", "article", "data"),
        *("文本", "内容", "正文", "文章", "全文", "句子"),
    ),
    _LABEL: (
        *("label", "labels", "category", "class", "target", "tag", "cats"),
        *("标签", "类别", "分类", "标注"),
    ),
}
"""Names that stand in for the default ones, in any letter case."""
_COLUMNS_NAMED = 40


class ColumnChoice:
    """The columns that rows are read from.

    Args:
        settings: The names that were asked for.
        labelled: Whether labels are read, and with them what decides the held-out split.

    Attributes:
        text: Column of the text.
        label: Column of the label, or None.
        text_pair: Column of the second text, or None.
        fields: Columns that are kept beside text and label.
        notes: Which names were taken for others.
    """

    def __init__(self, settings: DataSettings, *, labelled: bool) -> None:
        self.text = settings.text_column
        self.label = settings.label_column if labelled else None
        self.text_pair = settings.text_pair_column
        split = (settings.group_column, settings.time_column) if labelled else ()
        self.fields = tuple(name for name in split if name is not None)
        self.notes: list[str] = []
        self._open = [
            name for name in (self.text, self.label) if name is not None and name in _WELL_KNOWN
        ]

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns that are read."""
        names = (self.text, self.label, self.text_pair, *self.fields, ID_COLUMN)
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @property
    def candidates(self) -> tuple[str, ...]:
        """The columns that may be read: the wanted ones and what stands in for them."""
        others = (other for name in self._open for other in _WELL_KNOWN[name])
        return tuple(dict.fromkeys((*self.wanted, *others)))

    def settle(self, columns: Iterable[str]) -> None:
        """Take well-known names for the default ones where just one of them is there."""
        columns = tuple(dict.fromkeys(columns))
        for name in tuple(self._open):
            taken = set(self.wanted) - {name}
            near = [
                column
                for column in columns
                if column.strip().casefold() in _WELL_KNOWN[name] and column not in taken
            ]
            if name in columns:
                self._open.remove(name)
            elif len(near) == 1:
                self._open.remove(name)
                self.text = near[0] if self.text == name else self.text
                self.label = near[0] if self.label == name else self.label
                self.notes.append(f"column '{near[0]}' read as the {name}")

    @property
    def is_settled(self) -> bool:
        """Whether all names are final."""
        return not self._open

    def require(self, columns: Sequence[str], found_in: str) -> None:
        """Refuse columns that lack a needed one or have one twice.

        Raises:
            InputError: A column is missing, or not the only one of its name.
        """
        flags = {self.text: "--text-column"}
        if self.label is not None:
            flags[self.label] = "--label-column"
        if self.text_pair is not None:
            flags[self.text_pair] = "--text-pair-column"
        flags |= dict.fromkeys(self.fields, "--set group_column or time_column")
        missing = [name for name in flags if name not in columns]
        if missing:
            raise self._describe_missing(missing, flags, columns, found_in)
        repeated = sorted({name for name in self.wanted if columns.count(name) > 1})
        if repeated:
            raise InputError(
                "A column that is read must have a name of its own.",
                found=f"{found_in} has several columns named '{repeated[0]}'",
                fix="Rename or remove all but one of them.",
            )

    def _describe_missing(
        self, missing: list[str], flags: dict[str, str], columns: Sequence[str], found_in: str
    ) -> InputError:
        shown = [_shorten(name) for name in columns[:_COLUMNS_NAMED]]
        named = ", ".join(f"'{name}'" for name in shown)
        near = {
            column
            for name in missing
            for column in (
                *get_close_matches(name, shown, n=2),
                *(c for c in shown if c.strip().casefold() in _WELL_KNOWN.get(name, ())),
            )
        }
        hint = f" Nearest: {', '.join(sorted(near))}." if near else ""
        if "entities" in columns or "spans" in columns:
            hint += " Marked spans within texts are another task: give one label for each text."
        ways = " and ".join(dict.fromkeys(flags[name] for name in missing))
        return InputError(
            f"The data must have the column{'s' if len(missing) > 1 else ''} "
            + " and ".join(f"'{name}'" for name in missing)
            + ".",
            found=f"{found_in} has the columns {named}",
            fix=f"Name the columns with {ways}; a file without a header needs one.{hint}",
        )


def _shorten(name: str) -> str:
    return name if len(name) <= _COLUMNS_NAMED else name[:_COLUMNS_NAMED] + "..."
