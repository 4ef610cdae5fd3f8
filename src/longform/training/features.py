"""Segmented documents to what a training step reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from longform.inference.packing import stack_documents
from longform.types import Floats, Integers, SegmentedDocument, Targets


class SegmentDataset(Dataset[dict[str, Any]]):
    """Documents as token ids, for training the encoder.

    Args:
        documents: The segmented documents.
        labels: int64 `[docs]`, or bool `[docs, classes]`.
        max_segments: Draw at most so many segments of a document, anew at each step.
    """

    def __init__(
        self,
        documents: Sequence[SegmentedDocument],
        labels: Targets,
        max_segments: int | None = None,
    ) -> None:
        self.documents = documents
        self.labels = labels
        self.max_segments = max_segments

    @property
    def sizes(self) -> Integers:
        """Segments that a step reads of each document and tokens of its longest, `[docs, 2]`."""
        return np.array(
            [
                (
                    min(len(document.segments), self.max_segments or len(document.segments)),
                    max(len(segment.token_ids) for segment in document.segments),
                )
                for document in self.documents
            ],
            dtype=np.int64,
        )

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, index: int) -> dict[str, Any]:
        document = self.documents[index]
        rows = self._draw(len(document.segments))
        return {
            "token_ids": [document.segments[row].token_ids for row in rows],
            "positions": document.positions[rows],
            "labels": self.labels[index],
        }

    def _draw(self, count: int) -> list[int]:
        if self.max_segments is None or count <= self.max_segments:
            return list(range(count))
        # torch's generator, because the Trainer saves and restores it with its checkpoints.
        drawn = torch.randperm(count)[: self.max_segments]
        return sorted(drawn.tolist())


class VectorDataset(Dataset[dict[str, Any]]):
    """Documents as segment vectors that a frozen encoder gave.

    Args:
        vectors: For each document, float32 `[segments, width]`.
        positions: For each document, float32 `[segments, 4]`.
        labels: int64 `[docs]`, or bool `[docs, classes]`.
    """

    def __init__(
        self, vectors: Sequence[Floats], positions: Sequence[Floats], labels: Targets
    ) -> None:
        self.vectors = vectors
        self.positions = positions
        self.labels = labels

    @property
    def lengths(self) -> list[int]:
        """Segments of each document: batches of like lengths spare an LSTM most of its padding."""
        return [len(rows) for rows in self.vectors]

    @property
    def sizes(self) -> Integers:
        """Segments of each document, beside 1: a vector is padded like a token, `[docs, 2]`."""
        return np.array([(len(rows), 1) for rows in self.vectors], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "vectors": self.vectors[index],
            "positions": self.positions[index],
            "labels": self.labels[index],
        }


class SegmentCollator:
    """Pads documents to `input_ids` and `attention_mask` `[docs, segments, tokens]`.

    Args:
        pad_id: Fills the padding, which the mask hides.
    """

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Pad the documents of one batch."""
        segments = max(len(item["token_ids"]) for item in items)
        tokens = max(len(ids) for item in items for ids in item["token_ids"])
        input_ids = np.full((len(items), segments, tokens), self.pad_id, dtype=np.int64)
        mask = np.zeros((len(items), segments, tokens), dtype=np.int64)
        positions = np.zeros((len(items), segments, items[0]["positions"].shape[1]), np.float32)
        for row, item in enumerate(items):
            positions[row, : len(item["token_ids"])] = item["positions"]
            for column, ids in enumerate(item["token_ids"]):
                input_ids[row, column, : len(ids)] = ids
                mask[row, column, : len(ids)] = 1
        return {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(mask),
            "segment_positions": torch.from_numpy(positions),
            "labels": _labels(items),
        }


def collate_vectors(items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Pad documents to `segment_vectors` `[docs, segments, width]` with mask and positions."""
    vectors, mask, positions = stack_documents(
        [item["vectors"] for item in items], [item["positions"] for item in items]
    )
    return {
        "segment_vectors": torch.from_numpy(vectors),
        "segment_mask": torch.from_numpy(mask),
        "segment_positions": torch.from_numpy(positions),
        "labels": _labels(items),
    }


def _labels(items: Sequence[dict[str, Any]]) -> torch.Tensor:
    labels = np.stack([item["labels"] for item in items])
    # The losses of several labels want flags as numbers.
    return torch.from_numpy(labels.astype(np.float32) if labels.dtype == np.bool_ else labels)
