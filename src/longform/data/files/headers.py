"""Files without a header whose two columns can be told apart all the same."""

from __future__ import annotations

from collections.abc import Sequence

_FEWEST_ROWS = 4
_LONGEST_LABEL = 100
"""Characters; a column with longer values is not one of labels."""


def find_headerless_columns(records: Sequence[Sequence[str]]) -> tuple[str, str] | None:
    """Name the columns of text and label in rows that begin without a header.

    The column of labels is the only one of two with short values, each occurring twice on
    average; the first of them comes back further down, which the name of a column would not.
    So are the `train.txt` files of PaddleNLP, `text<TAB>label`.

    Returns:
        The names in order, or None where the rows are not clearly of this kind.
    """
    if len(records) < _FEWEST_ROWS or any(len(record) != 2 for record in records):
        return None
    columns = list(zip(*records, strict=True))
    labels = [_holds_labels(column) for column in columns]
    if labels == [True, False]:
        return ("label", "text")
    if labels == [False, True]:
        return ("text", "label")
    return None


def _holds_labels(values: Sequence[str]) -> bool:
    return (
        all(value.strip() and len(value) <= _LONGEST_LABEL for value in values)
        and values[0] in values[1:]
        and len(set(values)) * 2 <= len(values)
    )
