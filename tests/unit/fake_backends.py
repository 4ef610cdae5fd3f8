"""A backend whose answers follow from the tokens by arithmetic, and can be wrong on demand."""

from __future__ import annotations

import numpy as np
import tiny_tokenizers

from longform.backends.base import Backend, BackendInfo
from longform.config import SegmentSettings
from longform.inference.neural import NeuralScorer
from longform.text.segmenter import Segmenter
from longform.types import Floats, SegmentBatch


class FakeBackend(Backend):
    """Vectors hold the sum and the number of tokens; logits are a function of their means."""

    def __init__(self, error: float = 0.0, precision: str = "fp32") -> None:
        self.error = error
        self.precision = precision
        self.batches: list[tuple[int, int]] = []
        self.closed = False

    @property
    def info(self) -> BackendInfo:
        return BackendInfo("fake", "cpu", self.precision, 2, 1)

    def encode(self, batch: SegmentBatch) -> Floats:
        self.batches.append(batch.input_ids.shape)
        ids = batch.input_ids * batch.attention_mask
        return np.stack([ids.sum(axis=1), batch.attention_mask.sum(axis=1)], axis=1).astype(
            np.float32
        )

    def score(self, vectors: Floats, mask: Floats, positions: Floats) -> Floats:
        totals = (vectors * mask[..., np.newaxis]).sum(axis=1)
        signal = np.sin(totals[:, 0]) + 0.01 * totals[:, 1]
        # Wrong in one class alone, so that the label may change and not only the logits.
        return np.stack([signal + self.error, -signal, np.zeros_like(signal)], axis=1)

    def close(self) -> None:
        self.closed = True


def fake_scorer(error: float = 0.0, precision: str = "fp32", **settings: int) -> NeuralScorer:
    segmenter = Segmenter(
        tiny_tokenizers.bag(), SegmentSettings(**{"segment_length": 16} | settings)
    )
    return NeuralScorer(segmenter, FakeBackend(error, precision))
