"""Many vectors to one, over a mask: what is padding never counts.

The same four functions pool the tokens of a segment and serve the aggregators of segments.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def first_vector(vectors: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the first vector of each row, `[rows, width]`: of a segment its `[CLS]`."""
    return vectors[:, 0]


def last_vector(vectors: Tensor, mask: Tensor) -> Tensor:
    """Return the last real vector of each row, whichever side is padded.

    Args:
        vectors: float `[rows, steps, width]`.
        mask: `[rows, steps]`, not 0 for what is real.

    Returns:
        float `[rows, width]`; the first vector where nothing is real.
    """
    steps = torch.arange(vectors.shape[1], device=vectors.device)
    last = (mask.to(torch.bool).to(torch.int64) * steps).amax(dim=1).view(-1, 1, 1)
    return vectors.gather(1, last.expand(-1, 1, vectors.shape[-1])).squeeze(1)


def masked_mean(vectors: Tensor, mask: Tensor) -> Tensor:
    """Average `[rows, steps, width]` over the real steps; zeros where there are none."""
    # A batched matrix product reads the vectors once; multiply-then-sum would write them again.
    weight = mask.to(vectors.dtype)
    total = torch.bmm(weight.unsqueeze(1), vectors).squeeze(1)
    return total / weight.sum(dim=1, keepdim=True).clamp_min(1.0)


def masked_max(vectors: Tensor, mask: Tensor) -> Tensor:
    """Take the largest of each feature over the real steps; zeros where there are none."""
    real = mask.to(torch.bool).unsqueeze(-1)
    lowest = torch.finfo(vectors.dtype).min
    largest = vectors.masked_fill(~real, lowest).amax(dim=1)
    return torch.where(real.any(dim=1), largest, torch.zeros_like(largest))


TOKEN_POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": first_vector,
    "mean": masked_mean,
    "max": masked_max,
    "last": last_vector,
}
"""Value of `token_pooling` -> token vectors and mask to a segment vector."""
