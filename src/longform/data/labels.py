"""Label names to class numbers, in an order that depends on nothing but the names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from longform.config import ProblemType
from longform.errors import InputError
from longform.types import Document, Targets

_NAMED = 10


@dataclass(frozen=True)
class LabelMap:
    """The classes of a model.

    Attributes:
        names: Label names in sorted order; a label's place is its id.
        problem_type: Whether a document has one label or any number.
    """

    names: tuple[str, ...]
    problem_type: ProblemType = "single_label_classification"

    @classmethod
    def from_documents(cls, documents: Iterable[Document]) -> LabelMap:
        """Collect the labels of training documents.

        Raises:
            InputError: A document has no label, some have one and others a list, or the labels
                leave nothing to tell apart.
        """
        documents = tuple(documents)
        if documents and documents[0].labels is not None:
            return cls._from_label_sets(documents)
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

    @classmethod
    def _from_label_sets(cls, documents: Sequence[Document]) -> LabelMap:
        _require_label_sets(documents)
        sets = {frozenset(document.labels or ()) for document in documents}
        if len(sets) < 2:
            only = ", ".join(f"'{name}'" for name in sorted(next(iter(sets)))) or "none"
            raise InputError(
                "A classifier needs documents that differ in their labels.",
                found=f"the same labels ({only}) on all {len(documents):,} documents",
                fix="Add documents with other labels, or name the right column with "
                "--label-column.",
            )
        names = tuple(sorted(frozenset.union(*sets)))
        return cls(names, "multi_label_classification")

    @property
    def is_multi_label(self) -> bool:
        """Whether a document may have any number of labels."""
        return self.problem_type == "multi_label_classification"

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

    def targets(self, documents: Sequence[Document]) -> Targets:
        """Return the labels as numbers: int64 `[docs]`, or bool `[docs, classes]` for several.

        Raises:
            InputError: A document has no label, or one that is not in this map.
        """
        if not self.is_multi_label:
            _require_labels(documents)
            self._refuse_unseen(documents, [(str(document.label),) for document in documents])
            return np.array([self.label2id[str(d.label)] for d in documents], dtype=np.int64)
        _require_label_sets(documents)
        sets = [document.labels or () for document in documents]
        self._refuse_unseen(documents, sets)
        targets = np.zeros((len(documents), len(self)), dtype=np.bool_)
        for row, labels in enumerate(sets):
            targets[row, [self.label2id[name] for name in labels]] = True
        return targets

    def pad(self, targets: Targets, documents: int) -> Targets:
        """Add rows for documents without labels: class -1, or no label of several.

        Args:
            targets: Of the documents that have labels.
            documents: How many there are in all.
        """
        shape = (documents - len(targets), *targets.shape[1:])
        fill: Targets = np.full(shape, 0 if self.is_multi_label else -1, dtype=targets.dtype)
        padded: Targets = np.concatenate([targets, fill])
        return padded

    def _refuse_unseen(
        self, documents: Sequence[Document], sets: Sequence[tuple[str, ...]]
    ) -> None:
        unseen = [
            (document.id, name)
            for document, labels in zip(documents, sets, strict=True)
            for name in labels
            if name not in self.label2id
        ]
        if unseen:
            raise self._describe_unseen(unseen)

    def _describe_unseen(self, unseen: Sequence[tuple[str, str]]) -> InputError:
        first: dict[str, str] = {}
        counts: dict[str, int] = {}
        for identity, label in unseen:
            first.setdefault(label, identity)
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
            fix="Correct the spelling, add such documents to the training data, remove these from "
            "the file, or set unseen_labels to drop when training.",
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


def _require_label_sets(documents: Sequence[Document]) -> None:
    missing = [document.id for document in documents if document.labels is None]
    if missing:
        raise InputError(
            "Every document must have a list of labels here, which may be empty.",
            found=f"{len(missing):,} of {len(documents):,} with one label or none given, "
            f"ids {', '.join(missing[:_NAMED])}",
            fix="Write the labels of each document as a list, or with --label-separator.",
        )
