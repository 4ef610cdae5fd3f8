"""Aggregators: a document's segment vectors, in order, to one document vector.

All of them read masks, never lengths of packed sequences, so that they export and run on devices
without dynamic shapes; all are told where each segment stands; none reads padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from longform.models.configuration import LongTextConfig

_PLACE_FEATURES = 7
_LONG_DOCUMENT = 8.0
"""Scale of the logarithm of the segment index: exp(8) segments are a very long document."""


def place_features(positions: Tensor) -> Tensor:
    """Turn positions into features of a comparable size.

    Args:
        positions: float `[docs, segments, 4]`: index, relative start, relative end, part.

    Returns:
        float `[docs, segments, 7]`: is first, is last, log index, relative start, relative end,
        relative length, part.
    """
    index, start, end, part = positions.unbind(dim=-1)
    first = (index < 0.5).to(positions.dtype)
    last = (end > 1.0 - 1e-6).to(positions.dtype)
    depth = torch.log1p(index) / _LONG_DOCUMENT
    return torch.stack([first, last, depth, start, end, end - start, part], dim=-1)


class Place(nn.Module):
    """Scales and shifts each segment vector by where the segment stands (a FiLM layer).

    After Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer" (2018). A shift
    alone would be lost in an average; the scale lets the head of a document count for more.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(_PLACE_FEATURES, 32)
        self.modulation = nn.Linear(32, 2 * width)

    def forward(self, vectors: Tensor, positions: Tensor) -> Tensor:
        """Return `[docs, segments, width]`, the same shape as `vectors`."""
        hidden = torch.nn.functional.gelu(self.hidden(place_features(positions)))
        scale, shift = self.modulation(hidden).chunk(2, dim=-1)
        return vectors * (1.0 + scale) + shift


def first_vector(vectors: Tensor) -> Tensor:
    """Return the vector of each document's first read segment, `[docs, width]`."""
    return vectors[:, 0]


def masked_mean(vectors: Tensor, mask: Tensor) -> Tensor:
    """Average `[docs, segments, width]` over the real segments; zeros where there are none."""
    weight = mask.to(vectors.dtype).unsqueeze(-1)
    return (vectors * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1.0)


def masked_max(vectors: Tensor, mask: Tensor) -> Tensor:
    """Take the largest of each feature over the real segments; zeros where there are none."""
    real = mask.to(torch.bool).unsqueeze(-1)
    lowest = torch.finfo(vectors.dtype).min
    largest = vectors.masked_fill(~real, lowest).amax(dim=1)
    return torch.where(real.any(dim=1), largest, torch.zeros_like(largest))


class MeanAggregator(nn.Module):
    """The mean of the segments."""

    def __init__(self, width: int, config: LongTextConfig) -> None:
        super().__init__()
        self.output_size = width

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return `[docs, width]` from `vectors [docs, segments, width]` and `mask`."""
        return masked_mean(vectors, mask)


class MaxAggregator(nn.Module):
    """The largest value of each feature over the segments, after one hidden layer."""

    def __init__(self, width: int, config: LongTextConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, config.aggregator_hidden)
        self.output_size = config.aggregator_hidden

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return `[docs, aggregator_hidden]`."""
        return masked_max(torch.nn.functional.gelu(self.hidden(vectors)), mask)


class AttentionAggregator(nn.Module):
    """A mean weighted by gated attention, four heads.

    After Ilse et al., "Attention-based Deep Multiple Instance Learning" (2018), section 2.4.
    """

    def __init__(self, width: int, config: LongTextConfig, heads: int = 4) -> None:
        super().__init__()
        self.content = nn.Linear(width, config.aggregator_hidden)
        self.gate = nn.Linear(width, config.aggregator_hidden)
        self.attention = nn.Linear(config.aggregator_hidden, heads)
        self.output_size = width * heads

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return `[docs, width * heads]`."""
        gated = torch.tanh(self.content(vectors)) * torch.sigmoid(self.gate(vectors))
        scores = self.attention(gated)
        real = mask.to(torch.bool).unsqueeze(-1)
        scores = scores.masked_fill(~real, torch.finfo(scores.dtype).min)
        weight = torch.softmax(scores, dim=1) * real.to(vectors.dtype)
        return torch.einsum("nsh,nsw->nhw", weight, vectors).flatten(1)


class LSTMAggregator(nn.Module):
    """An LSTM over the segments, one or two directions.

    The second direction is a one-directional LSTM over the segments reversed *within each
    document's own length*; both states are read at the last real segment. So padding is never
    read, and neither packed sequences nor a bidirectional operator are needed.
    """

    def __init__(self, width: int, config: LongTextConfig) -> None:
        super().__init__()
        hidden, layers = config.aggregator_hidden, config.aggregator_layers
        directions = 2 if config.lstm_bidirectional else 1
        widths = [width] + [hidden * directions] * (layers - 1)
        self.forward_layers = nn.ModuleList(_lstm(size, hidden) for size in widths)
        self.backward_layers = nn.ModuleList(
            _lstm(size, hidden) for size in widths if directions == 2
        )
        self.output_size = 2 * hidden * directions

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return `[docs, 2 * hidden * directions]`: the last states beside the largest ones."""
        lengths = mask.to(torch.int64).sum(dim=1)
        if not self.backward_layers:
            outputs = vectors
            for layer in self.forward_layers:
                outputs = layer(outputs)[0]
        else:
            outputs = self._both_directions(vectors, lengths)
        return torch.cat([self._last(outputs, lengths), masked_max(outputs, mask)], dim=-1)

    def _both_directions(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        reversal = _reversal(lengths, vectors)
        outputs = vectors
        for forward, backward in zip(self.forward_layers, self.backward_layers, strict=True):
            reversed_outputs = backward(_gather(outputs, reversal))[0]
            outputs = torch.cat([forward(outputs)[0], _gather(reversed_outputs, reversal)], dim=-1)
        return outputs

    def _last(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """Read each direction where it has seen the whole document."""
        final = (lengths - 1).clamp_min(0).view(-1, 1, 1)
        last = outputs.gather(1, final.expand(-1, 1, outputs.shape[-1])).squeeze(1)
        if not self.backward_layers:
            return last
        hidden = outputs.shape[-1] // 2
        # The backward direction, restored to reading order, ends at the first segment.
        return torch.cat([last[:, :hidden], outputs[:, 0, hidden:]], dim=-1)


def _lstm(width: int, hidden: int) -> nn.LSTM:
    return nn.LSTM(width, hidden, batch_first=True)


def _reversal(lengths: Tensor, vectors: Tensor) -> Tensor:
    """Return int64 `[docs, segments]` that reverses each document and leaves its padding."""
    steps = torch.arange(vectors.shape[1], device=vectors.device).unsqueeze(0)
    mirrored = lengths.unsqueeze(1) - 1 - steps
    return torch.where(mirrored >= 0, mirrored, steps)


def split_parts(vectors: Tensor, mask: Tensor, positions: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Take the two texts of each pair apart.

    Args:
        vectors: float `[docs, segments, width]`, of each document the first text's segments before
            the second's.
        mask: `[docs, segments]`.
        positions: float `[docs, segments, 4]`.

    Returns:
        For the first and for the second text, vectors of the same shape whose real segments come
        first, and their mask. No sorting, which not every device can do: the second text is moved
        to the front by the number of the first one's segments.
    """
    second = (positions[..., 3] > 0.5).to(vectors.dtype) * mask.to(vectors.dtype)
    first = mask.to(vectors.dtype) - second
    steps = torch.arange(vectors.shape[1], device=vectors.device).unsqueeze(0)
    offset = first.sum(dim=1, keepdim=True).to(torch.int64)
    count = second.sum(dim=1, keepdim=True).to(torch.int64)
    order = (steps + offset).clamp_max(vectors.shape[1] - 1)
    behind = (steps < count).to(vectors.dtype)
    moved = _gather(vectors, order) * behind.unsqueeze(-1)
    return [(vectors * first.unsqueeze(-1), first), (moved, behind)]


def _gather(vectors: Tensor, order: Tensor) -> Tensor:
    return vectors.gather(1, order.unsqueeze(-1).expand(-1, -1, vectors.shape[-1]))


AGGREGATORS: dict[str, type[nn.Module]] = {
    "mean": MeanAggregator,
    "max": MaxAggregator,
    "attention": AttentionAggregator,
    "lstm": LSTMAggregator,
}
