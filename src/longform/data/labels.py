"""Label names to class numbers, in an order that depends on nothing but the names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from longform.errors import InputError
from longform.types import Document, Integers

_NAMED = 10


@dataclass(frozen=True)
class LabelMap:
    """The classes of a model.

    Attributes:
        names: Label names in sorted order; a label's place is its id.
    """

    names: tuple[str, ...]

    @classmethod
    def from_documents(cls, documents: Iterable[Document]) -> LabelMap:
        """Collect the labels of training documents.

        Raises:
            InputError: A document has no label, or there are fewer than two classes.
        """
        documents = tuple(documents)
        _require_labels(documents)
        names = tuple(sorted({document.label for document in documents if document.label}))
        if len(names) < 2:
            found = f"one class only: '{names[0]}'" if names else "no documents"
            raise InputError(
                "A classifier needs documents of at least two classes.",
                found=f"{found} in {len(documents):,} documents",
                fix="Add documents of another class, or name the right column with --label-column.",
            )
        return cls(names)

    @cached_property
    def label2id(self) -> dict[str, int]:
        """Label name -> class number."""
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def id2label(self) -> dict[str, str]:
        """Class number as a string -> label name, as `config.json` of Hugging Face has it."""
        return {str(number): name for number, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def ids(self, documents: Sequence[Document]) -> Integers:
        """Return the class numbers, int64 `[documents]`.

        Raises:
            InputError: A document has no label, or one that is not in this map.
        """
        _require_labels(documents)
        unseen = [d for d in documents if d.label not in self.label2id]
        if unseen:
            raise self._describe_unseen(unseen)
        return np.array([self.label2id[str(d.label)] for d in documents], dtype=np.int64)

    def _describe_unseen(self, documents: Sequence[Document]) -> InputError:
        first: dict[str, str] = {}
        counts: dict[str, int] = {}
        for document in documents:
            label = str(document.label)
            first.setdefault(label, document.id)
            counts[label] = counts.get(label, 0) + 1
        named = ", ".join(
            f"'{label}' ({counts[label]:,} document{'s' if counts[label] > 1 else ''}, "
            f"first id {first[label]})"
            for label in sorted(first)[:_NAMED]
        )
        more = f" and {len(first) - _NAMED:,} more" if len(first) > _NAMED else ""
        known = ", ".join(f"'{name}'" for name in self.names[:_NAMED])
        rest = ", ..." if len(self.names) > _NAMED else ""
        return InputError(
            "Every label must occur in the training data.",
            found=f"labels unknown to the model: {named}{more}; it knows {known}{rest}",
            fix="Correct the spelling, add such documents to the training data, "
            "or remove these from the file.",
        )


def _require_labels(documents: Sequence[Document]) -> None:
    missing = [document.id for document in documents if not document.label]
    if missing:
        raise InputError(
            "Every document must have a label here.",
            found=f"{len(missing):,} of {len(documents):,} without one, "
            f"ids {', '.join(missing[:_NAMED])}",
            fix="Fill in the labels or remove these documents.",
        )
