"""Segments to what a step of masked language modelling reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from longform.data.batching import BatchPlan
from longform.training.masking import IGNORED, MaskedSegment, WordMasker
from longform.types import TokenIds

Place = tuple[int, int]
"""Number of an epoch and of a segment."""


class MaskedSegments(Dataset[MaskedSegment]):
    """Segments with words masked, anew for each epoch.

    Args:
        segments: int32 `[tokens]` each.
        masker: Draws the words.
    """

    def __init__(self, segments: Sequence[TokenIds], masker: WordMasker) -> None:
        self.segments = segments
        self.lengths = [len(segment) for segment in segments]
        self._masker = masker

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, place: Place) -> MaskedSegment:
        epoch, index = place
        return self._masker.mask(self.segments[index], epoch, index)


@dataclass(frozen=True, slots=True)
class MaskedCollator:
    """Pads masked segments to `input_ids`, `attention_mask` and `labels` `[segments, tokens]`.

    Attributes:
        pad_id: Fills the padding, which the mask hides.
    """

    pad_id: int

    def __call__(self, items: Sequence[MaskedSegment]) -> dict[str, Tensor]:
        """Pad the segments of one batch."""
        shape = len(items), max(len(item.input_ids) for item in items)
        input_ids = np.full(shape, self.pad_id, dtype=np.int64)
        attention_mask = np.zeros(shape, dtype=np.int64)
        labels = np.full(shape, IGNORED, dtype=np.int64)
        for row, item in enumerate(items):
            length = len(item.input_ids)
            input_ids[row, :length] = item.input_ids
            attention_mask[row, :length] = 1
            labels[row, :length] = item.labels
        return {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(attention_mask),
            "labels": torch.from_numpy(labels),
        }


class EpochBatches(Sampler[list[Place]]):
    """The batches of one process, which name the epoch beside each segment.

    Args:
        plan: For all processes.
        process: Number of this one.
    """

    def __init__(self, plan: BatchPlan, process: int) -> None:
        self._plan = plan
        self._process = process
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the Trainer calls it before each, a continued one too."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._plan.batches_per_epoch // self._plan.processes

    def __iter__(self) -> Iterator[list[Place]]:
        for batch in self._plan.batches(self._epoch)[self._process :: self._plan.processes]:
            yield [(self._epoch, segment) for segment in batch]
