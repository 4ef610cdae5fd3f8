"""Training documents whose labels stand beside a teacher's answers, as a dataset."""

from __future__ import annotations

from typing import Any

from torch.utils.data import Dataset

from longform.types import Floats, Integers, Targets


class TaughtDataset(Dataset[dict[str, Any]]):
    """Training documents whose labels stand beside a teacher's answers.

    Args:
        documents: A `SegmentDataset` or a `VectorDataset`, the labelled documents first.
        targets: float32 `[docs, columns]`, what a batch holds as `labels`.
        labelled: How many documents have a label.
    """

    def __init__(self, documents: Any, targets: Floats, labelled: int) -> None:
        self.documents = documents
        self.targets = targets
        self.labelled = labelled

    @property
    def labels(self) -> Targets:
        """Labels of the documents that have them: what classes are weighed by."""
        labels: Targets = self.documents.labels[: self.labelled]
        return labels

    @property
    def sizes(self) -> Integers:
        """As those of the dataset."""
        sizes: Integers = self.documents.sizes
        return sizes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, where segments are drawn; the Trainer's loader calls it."""
        if hasattr(self.documents, "set_epoch"):
            self.documents.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.documents[index], "labels": self.targets[index]}
