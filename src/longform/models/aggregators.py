"""Aggregators: a document's segment vectors, in order, to one document vector.

All of them read masks, never lengths of packed sequences, so that they export and run on devices
without dynamic shapes; all are told where each segment stands; none reads padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from longform.models.attention import SelfAttention, TransformerLayer, attendable
from longform.models.configuration import LongTextConfig
from longform.models.place import sinusoids
from longform.models.pooling import masked_max, masked_mean
from longform.models.recurrence import Recurrence, gather_rows


class MeanAggregator(nn.Module):
    """The mean of the segments."""

    def __init__(self, width: int, config: LongTextConfig) -> None:
        super().__init__()
        self.output_size = width

    def forward(self, vectors: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Return `[docs, width]` from `vectors [docs, segments, width]` and `mask`."""
        return masked_mean(vectors, mask)


class MaxAggregator(nn.Module):
    """The largest value of each feature over the segments, after one hidden layer."""

    def __init__(self, width: int, config: LongTextConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, config.aggregator_hidden)
        self.output_size = config.aggregator_hidden

    def forward(self, vectors: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Return `[docs, aggregator_hidden]`."""
        return masked_max(self.features(vectors), mask)

    def features(self, vectors: Tensor) -> Tensor:
        """Return what the largest is taken of, `[docs, segments, aggregator_hidden]`."""
        return torch.nn.functional.gelu(self.hidden(vectors))


class AttentionAggregator(nn.Module):
    """A mean weighted by gated attention, of several heads.

    After Ilse et al., "Attention-based Deep Multiple Instance Learning" (2018), section 2.4.
    """

    def __init__(self, width: int, config: LongTextConfig) -> None:
        super().__init__()
        self.content = nn.Linear(width, config.aggregator_hidden)
        self.gate = nn.Linear(width, config.aggregator_hidden)
        self.attention = nn.Linear(config.aggregator_hidden, config.aggregator_heads)
        self.output_size = width * config.aggregator_heads

    def forward(self, vectors: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Return `[docs, width * heads]`."""
        weight = self.weights(vectors, mask)
        return torch.einsum("nsh,nsw->nhw", weight, vectors).flatten(1)

    def weights(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return how much each segment counts for each head, `[docs, segments, heads]`."""
        gated = torch.tanh(self.content(vectors)) * torch.sigmoid(self.gate(vectors))
        scores = self.attention(gated)
        real = mask.to(torch.bool).unsqueeze(-1)
        scores = scores.masked_fill(~real, torch.finfo(scores.dtype).min)
        return torch.softmax(scores, dim=1) * real.to(vectors.dtype)


class RecurrentAggregator(Recurrence):
    """An LSTM or GRU over the segments, one or two directions.

    Reading BERT's segments by a recurrent network is after Pappagari et al., "Hierarchical
    Transformers for Long Document Classification" (2019), there called RoBERT.
    """

    cell: type[nn.LSTM] | type[nn.GRU]

    def __init__(self, width: int, config: LongTextConfig) -> None:
        super().__init__(
            self.cell,
            width,
            config.aggregator_hidden,
            config.aggregator_layers,
            config.lstm_bidirectional,
            config.dropout,
        )
        self.output_size = 2 * self.width

    def forward(self, vectors: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Return `[docs, 2 * hidden * directions]`: the last states beside the largest ones."""
        states = self.read(vectors, mask)
        return torch.cat([self.ends(states, mask), masked_max(states, mask)], dim=-1)


class LSTMAggregator(RecurrentAggregator):
    """Long short-term memory over the segments (Hochreiter and Schmidhuber, 1997)."""

    cell = nn.LSTM


class GRUAggregator(RecurrentAggregator):
    """Gated recurrent units over the segments (Cho et al., 2014): a quarter fewer weights."""

    cell = nn.GRU


class TransformerAggregator(nn.Module):
    """Transformer layers over the segments, then the mean of what they give.

    After Pappagari et al., "Hierarchical Transformers for Long Document Classification" (2019),
    there called ToBERT. The number of each segment in its whole document is added as sines and
    cosines, which exist for any number of segments.
    """

    def __init__(self, width: int, config: LongTextConfig) -> None:
        super().__init__()
        hidden, dropout = config.aggregator_hidden, config.dropout
        self.narrow = nn.Linear(width, hidden)
        self.layers = nn.ModuleList(
            TransformerLayer(
                SelfAttention(hidden, config.aggregator_heads, dropout), hidden, dropout
            )
            for _ in range(config.aggregator_layers)
        )
        self.normalization = nn.LayerNorm(hidden)
        self.output_size = hidden

    def forward(self, vectors: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Return `[docs, aggregator_hidden]`."""
        narrowed = self.narrow(vectors)
        places = sinusoids(positions[..., 0], narrowed.shape[-1])
        states = narrowed + places.to(narrowed.dtype)
        allowed = attendable(mask)
        for layer in self.layers:
            states = layer(states, allowed)
        return masked_mean(self.normalization(states), mask)


class ConcatAggregator(nn.Module):
    """The first `max_segments` vectors side by side, zeros where a document has fewer."""

    def __init__(self, width: int, config: LongTextConfig) -> None:
        super().__init__()
        assert config.max_segments is not None, "LongTextConfig asks for max_segments"
        self.segments = config.max_segments
        self.output_size = width * self.segments

    def forward(self, vectors: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Return `[docs, max_segments * width]`."""
        real = vectors * mask.to(vectors.dtype).unsqueeze(-1)
        # Always padded and then cut: no question about the number of segments enters the graph.
        padded = nn.functional.pad(real, (0, 0, 0, self.segments))
        return padded[:, : self.segments].flatten(1)


def split_parts(
    vectors: Tensor, mask: Tensor, positions: Tensor
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Take the two texts of each pair apart.

    Args:
        vectors: float `[docs, segments, width]`, of each document the first text's segments before
            the second's.
        mask: `[docs, segments]`.
        positions: float `[docs, segments, 4]`.

    Returns:
        For the first and for the second text, vectors of the same shape whose real segments come
        first, their mask and their positions. No sorting, which not every device can do: the
        second text is moved to the front by the number of the first one's segments.
    """
    second = (positions[..., 3] > 0.5).to(vectors.dtype) * mask.to(vectors.dtype)
    first = mask.to(vectors.dtype) - second
    steps = torch.arange(vectors.shape[1], device=vectors.device).unsqueeze(0)
    offset = first.sum(dim=1, keepdim=True).to(torch.int64)
    count = second.sum(dim=1, keepdim=True).to(torch.int64)
    order = (steps + offset).clamp_max(vectors.shape[1] - 1)
    behind = (steps < count).to(vectors.dtype)
    moved = gather_rows(vectors, order) * behind.unsqueeze(-1)
    return [
        (vectors * first.unsqueeze(-1), first, positions),
        (moved, behind, gather_rows(positions, order)),
    ]


AGGREGATORS: dict[str, type[nn.Module]] = {
    "mean": MeanAggregator,
    "max": MaxAggregator,
    "attention": AttentionAggregator,
    "lstm": LSTMAggregator,
    "gru": GRUAggregator,
    "transformer": TransformerAggregator,
    "concat": ConcatAggregator,
}
