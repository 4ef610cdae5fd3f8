"""Segmented documents to what a training step reads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from longform.inference.packing import stack_documents
from longform.types import Floats, Integers, SegmentedDocument, Targets

INDICES = "indices"
"""Key, in a batch, of int64 `[docs]`: the numbers of its documents."""
LINEAR_LOGITS = "linear_logits"
"""Key, in a batch, of float `[docs, classes]`: what the linear model beneath makes of them."""


class SegmentDataset(Dataset[dict[str, Any]]):
    """Documents as token ids, for training the encoder.

    Args:
        documents: The segmented documents.
        labels: int64 `[docs]`, or bool `[docs, classes]`.
        max_segments: Read at most so many segments of a document in a step: the first of each text,
            which a head reads by itself too, and others that are drawn anew in each epoch.
        seed: Decides, with the epoch and the document, which are drawn.
        linear_logits: float32 `[docs, classes]` of the linear model beneath; None without one.
    """

    def __init__(
        self,
        documents: Sequence[SegmentedDocument],
        labels: Targets,
        max_segments: int | None = None,
        seed: int = 0,
        linear_logits: Floats | None = None,
    ) -> None:
        self.documents = documents
        self.linear_logits = linear_logits
        self.labels = labels
        self.max_segments = max_segments
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose segments are drawn; the Trainer's loader calls it."""
        self.epoch = epoch

    @cached_property
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
        rows = self._draw(index, document.positions)
        return {
            INDICES: index,
            "token_ids": [document.segments[row].token_ids for row in rows],
            "positions": document.positions[rows],
            "labels": self.labels[index],
            **_linear(self.linear_logits, index),
        }

    def _draw(self, index: int, positions: Floats) -> list[int]:
        count = len(positions)
        if self.max_segments is None or count <= self.max_segments:
            return list(range(count))
        # Of nothing but these numbers: loaders read ahead, so that the state of a generator in a
        # checkpoint would belong to a later batch.
        generator = np.random.default_rng([self.seed, self.epoch, index])
        _, firsts = np.unique(positions[:, 3], return_index=True)
        others = generator.permutation(np.setdiff1d(np.arange(count), firsts))
        return sorted([*firsts.tolist(), *others.tolist()][: self.max_segments])


class VectorDataset(Dataset[dict[str, Any]]):
    """Documents as segment vectors that a frozen encoder gave.

    Args:
        vectors: For each document, float32 `[segments, width]`.
        positions: For each document, float32 `[segments, 4]`.
        labels: int64 `[docs]`, or bool `[docs, classes]`.
        linear_logits: float32 `[docs, classes]` of the linear model beneath; None without one.
    """

    def __init__(
        self,
        vectors: Sequence[Floats],
        positions: Sequence[Floats],
        labels: Targets,
        linear_logits: Floats | None = None,
    ) -> None:
        self.linear_logits = linear_logits
        self.vectors = vectors
        self.positions = positions
        self.labels = labels

    @property
    def sizes(self) -> Integers:
        """Segments of each document, beside 1: a vector is padded like a token, `[docs, 2]`."""
        return np.array([(len(rows), 1) for rows in self.vectors], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            INDICES: index,
            "vectors": self.vectors[index],
            "positions": self.positions[index],
            "labels": self.labels[index],
            **_linear(self.linear_logits, index),
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
            **_targets(items),
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
        **_targets(items),
    }


def _linear(logits: Floats | None, index: int) -> dict[str, Floats]:
    return {} if logits is None else {LINEAR_LOGITS: logits[index]}


def _targets(items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    labels = np.stack([item["labels"] for item in items])
    # The losses of several labels want flags as numbers.
    flags = labels.astype(np.float32) if labels.dtype == np.bool_ else labels
    batch = {
        INDICES: torch.tensor([item[INDICES] for item in items], dtype=torch.int64),
        "labels": torch.from_numpy(flags),
    }
    if LINEAR_LOGITS in items[0]:
        batch[LINEAR_LOGITS] = torch.from_numpy(np.stack([item[LINEAR_LOGITS] for item in items]))
    return batch
