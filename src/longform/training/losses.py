"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

LossFunction = Callable[..., Tensor]


def cross_entropy(label_smoothing: float = 0.0) -> LossFunction:
    """Return the cross-entropy in the form that `transformers.Trainer` calls.

    Args:
        label_smoothing: Share of the probability spread over all classes (Szegedy et al., 2016).

    Returns:
        A function of the model's output, the labels int64 `[docs]`, and the number of documents
        of the whole accumulation group. Dividing by that number makes accumulated gradients equal
        those of one large batch, the last incomplete group included.
    """

    def compute(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        total = functional.cross_entropy(
            outputs.logits, labels, label_smoothing=label_smoothing, reduction="sum"
        )
        return total / (labels.numel() if num_items_in_batch is None else num_items_in_batch)

    return compute
