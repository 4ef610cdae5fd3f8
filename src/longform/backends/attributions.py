"""Gradients of a bundle's trained model: what tokens add, and what the head attends to.

Torch is loaded when it is first asked: few requests want this, and what serves does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longform.extras import require
from longform.types import Booleans, Floats, Integers, SegmentBatch


@dataclass(frozen=True, slots=True, eq=False)
class TextBatch:
    """Segments of one document that are encoded together.

    Attributes:
        rows: int64 `[n]`, which of the document's segments they are.
        batch: Their tokens.
        text_mask: bool `[n, tokens]`, True for tokens of the text.
    """

    rows: Integers
    batch: SegmentBatch
    text_mask: Booleans


@dataclass(frozen=True, slots=True, eq=False)
class TokenTerms:
    """A logit as a sum over tokens.

    Attributes:
        terms: float64 `[n, tokens]` of each batch.
        logit: Of the document.
        base: Of a document without content.
        steps: Points at which the gradient was taken.
    """

    terms: list[NDArray[np.float64]]
    logit: float
    base: float
    steps: int


class TorchAttributions:
    """The trained model of a bundle, opened when it is first asked.

    Args:
        folder: The bundle, with `model.safetensors`.
        baseline_id: The token whose embedding stands for no content; None takes zeros.
    """

    def __init__(self, folder: Path, baseline_id: int | None = None) -> None:
        self._folder = folder
        self._baseline_id = baseline_id

    @property
    def has_one_logit(self) -> bool:
        """Whether a binary model gives its first label the logit 0."""
        return bool(self._model.head.one_logit)

    def tokens(
        self, batches: Sequence[TextBatch], positions: Floats, direction: Floats
    ) -> TokenTerms:
        """Split a logit over tokens; see `TokenAttributor`.

        Args:
            batches: All segments of a document.
            positions: float32 `[segments, 4]`.
            direction: float32 `[labels]`; what is split is the product of the logits with it.

        Raises:
            MissingExtraError: torch or transformers is not installed.
        """
        from longform.models.attributions import TokenBatch

        read = [
            TokenBatch(
                self._tensor(item.rows),
                self._tensor(item.batch.input_ids),
                self._tensor(item.batch.attention_mask),
                self._tensor(item.text_mask),
            )
            for item in batches
        ]
        found = self._attributor(read, self._tensor(positions), self._tensor(direction))
        terms = [terms.numpy() for terms in found.tokens]
        return TokenTerms(terms, found.logit, found.base, found.steps)

    def attention(self, vectors: Floats, positions: Floats) -> Floats | None:
        """Return the weights of the aggregator `attention`, float32 `[segments, heads]`.

        Args:
            vectors: float32 `[segments, width]` of one document.
            positions: float32 `[segments, 4]`.

        Returns:
            None where the aggregator is another one, or compares two texts, each with weights of
            its own.
        """
        if self._model.config.aggregator != "attention" or self._model.config.text_pair:
            return None
        from longform.models.attributions import attention_weights

        found = attention_weights(self._model, self._tensor(vectors), self._tensor(positions))
        weights: Floats = found.cpu().numpy()
        return weights

    def _tensor(self, values: NDArray[Any]) -> Any:
        import torch

        return torch.from_numpy(np.ascontiguousarray(values)).to(self._model.device)

    @cached_property
    def _attributor(self) -> Any:
        from longform.models.attributions import TokenAttributor

        return TokenAttributor(self._model, self._baseline_id)

    @cached_property
    def _model(self) -> Any:
        for library in ("torch", "transformers"):
            require(library, "Looking into a neural model")
        from longform.backends.torch import default_device
        from longform.models import load_classifier

        return load_classifier(self._folder).to(default_device()).eval()
