"""One spelling for labels that differ only in how they were typed."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from longform.types import Document

_Key = TypeVar("_Key", str, tuple[str, str])
_NAMED = 5


def normalize_labels(
    documents: Sequence[Document], like: Iterable[Document] = ()
) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """Take labels that are equal but for white space at the ends, full width or case for one.

    Args:
        documents: Any documents; those without labels stay as they are.
        like: Documents whose spelling is followed where they have the label, such as those of
            training for those of validation. By default the commonest spelling wins.

    Returns:
        The documents, and what was changed, with counts.
    """
    spellings = _choose_spellings(documents) | _choose_spellings(like)
    changed: Counter[tuple[str, str]] = Counter()

    def spell(label: str) -> str:
        spelling = spellings[_fold(label)]
        if spelling != label:
            changed[label, spelling] += 1
        return spelling

    result = []
    for document in documents:
        if document.label is not None:
            document = replace(document, label=spell(document.label))
        elif document.labels is not None:
            labels = tuple(dict.fromkeys(map(spell, document.labels)))
            document = replace(document, labels=labels)
        result.append(document)
    if not changed:
        return tuple(result), ()
    named = ", ".join(
        f"'{found}' as '{taken}' ({count:,})" for (found, taken), count in _rank(changed)[:_NAMED]
    )
    more = ", ..." if len(changed) > _NAMED else ""
    note = f"{sum(changed.values()):,} labels respelled: {named}{more}"
    return tuple(result), (note,)


def _choose_spellings(documents: Iterable[Document]) -> dict[str, str]:
    counts: dict[str, Counter[str]] = {}
    for document in documents:
        labels = document.labels or () if document.label is None else (document.label,)
        for label in labels:
            counts.setdefault(_fold(label), Counter())[label.strip()] += 1
    return {folded: _rank(spellings)[0][0] for folded, spellings in counts.items()}


def _fold(label: str) -> str:
    return unicodedata.normalize("NFKC", label).strip().casefold()


def _rank(counts: Counter[_Key]) -> list[tuple[_Key, int]]:
    """Sort by count, the highest first; equal counts by name, so that the order is fixed."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
