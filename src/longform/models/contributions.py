"""The logits of a document as a sum over its segments, for heads that are one.

The last layer is linear, and the document vector of these heads is made of the segments' vectors
by sums: its product with the weights falls apart into one term for each segment.

* `mean`: each segment's term is its vector times the weights, over the number of segments.
* `attention`: the same with the weights of attention in place of the mean's, taken as they are in
  the whole document. They depend on all segments: the terms tell what each adds, not what would be
  left without it.
* `max`: the largest value of each feature belongs to the segment that has it, the first of equals.
* `concat`: each place has weights of its own.

The first segment's vector stands in the document vector once more, and its term in the first
segment's. Recurrent aggregators and transformers mix the segments, and pairs of texts are compared
feature by feature: none of these is a sum.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from longform.models.aggregators import (
    AttentionAggregator,
    ConcatAggregator,
    MaxAggregator,
    MeanAggregator,
)
from longform.models.classifier import Head


class Contributions(nn.Module):
    """Splits the logits of a head over the segments.

    Args:
        head: One that `is_sum` is true of.

    Raises:
        ValueError: The head is no sum.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        if not is_sum(head):
            raise ValueError("the head does not add up over segments")
        self.head = head

    def forward(
        self, segment_vectors: Tensor, segment_mask: Tensor, segment_positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Split the logits; arguments as of `Head.forward`, named as in the exported file.

        Returns:
            float `[docs, segments, labels]`, zeros for padding, and what is of no segment, float
            `[docs, labels]`. Their sum over the segments is the head's logits.
        """
        head, mask = self.head, segment_mask
        placed = head.placed(segment_vectors, mask, segment_positions)
        split = head.aggregator.output_size
        weight = head.classifier.weight
        of_aggregate, of_first = weight[:, :split], weight[:, split:]
        terms = _TERMS[type(head.aggregator)](head.aggregator, placed, mask, of_aggregate)
        steps = torch.arange(placed.shape[1], device=placed.device)
        is_first = (steps == 0).to(placed.dtype).view(1, -1, 1)
        terms = terms + is_first * (placed @ of_first.T)
        base = head.classifier.bias.expand(placed.shape[0], -1)
        return head.both_classes(terms), head.both_classes(base)


def is_sum(head: Head) -> bool:
    """Tell whether the logits of a head are a sum over the segments."""
    return type(head.aggregator) in _TERMS and not head.text_pair


def _terms_of_mean(module: nn.Module, placed: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    counts = mask.to(placed.dtype).sum(dim=1).clamp_min(1.0).view(-1, 1, 1)
    return placed @ weight.T / counts


def _terms_of_attention(module: nn.Module, placed: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    assert isinstance(module, AttentionAggregator)
    attention = module.weights(placed, mask)
    heads = attention.shape[-1]
    per_head = weight.unflatten(1, (heads, -1)).permute(1, 0, 2)
    terms = torch.einsum("nsw,hlw->nshl", placed, per_head)
    return (attention.unsqueeze(-1) * terms).sum(dim=2)


def _terms_of_max(module: nn.Module, placed: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    assert isinstance(module, MaxAggregator)
    features = module.features(placed)
    real = mask.to(torch.bool).unsqueeze(-1)
    lowest = torch.finfo(features.dtype).min
    largest = features.masked_fill(~real, lowest).argmax(dim=1, keepdim=True)
    steps = torch.arange(placed.shape[1], device=placed.device).view(1, -1, 1)
    owned = features * (steps == largest).to(features.dtype) * real.to(features.dtype)
    return owned @ weight.T


def _terms_of_concat(module: nn.Module, placed: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    assert isinstance(module, ConcatAggregator)
    segments = placed.shape[1]
    real = placed * mask.to(placed.dtype).unsqueeze(-1)
    padded = nn.functional.pad(real, (0, 0, 0, module.segments))[:, : module.segments]
    per_place = weight.unflatten(1, (module.segments, -1))
    terms = torch.einsum("nsw,lsw->nsl", padded, per_place)
    return nn.functional.pad(terms, (0, 0, 0, segments))[:, :segments]


_Terms = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]
"""Aggregator, placed vectors, mask and the weights of the aggregate -> `[docs, segments, n]`."""

_TERMS: dict[type[nn.Module], _Terms] = {
    MeanAggregator: _terms_of_mean,
    AttentionAggregator: _terms_of_attention,
    MaxAggregator: _terms_of_max,
    ConcatAggregator: _terms_of_concat,
}
