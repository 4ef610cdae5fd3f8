"""`linformer`: attention whose cost is linear in the length of a segment.

After Wang et al., "Linformer: Self-Attention with Linear Complexity" (2020): keys and values are
projected along the length, from n positions to k, before any score is computed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from longform.models.attention import SelfAttention, TransformerLayer
from longform.models.configuration import LongTextConfig
from longform.models.pooling import TOKEN_POOLINGS


class LinformerAttention(SelfAttention):
    """Attention to `k` learned mixtures of the positions instead of to the positions.

    The projections of keys and of values are shared by the heads (section 4 of the paper); they
    have one row for each position there can be, so the length is bounded.

    Args:
        width: Of the vectors; a multiple of `heads`.
        heads: Attention heads.
        dropout: Share of attention weights dropped.
        length: Most positions of a row.
        k: Mixtures that the positions become.
    """

    def __init__(self, width: int, heads: int, dropout: float, length: int, k: int) -> None:
        super().__init__(width, heads, dropout)
        # The paper's range: mixtures are of the size of what they mix.
        self.key_projection = nn.Parameter(torch.randn(length, k) / k**0.5)
        self.value_projection = nn.Parameter(torch.randn(length, k) / k**0.5)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return `[rows, steps, width]`; padding is mixed in nowhere, so no score is masked."""
        queries, keys, values = self.queries_keys_values(vectors).chunk(3, dim=-1)
        real = mask.to(vectors.dtype).unsqueeze(-1)
        mixed_keys = _mix(keys * real, self.key_projection)
        mixed_values = _mix(values * real, self.value_projection)
        return self.attend(self.split(queries), self.split(mixed_keys), self.split(mixed_values))


def _mix(vectors: Tensor, projection: Tensor) -> Tensor:
    """Return `[rows, k, width]` from `[rows, steps, width]` and `[length, k]`."""
    return torch.matmul(projection[: vectors.shape[1]].transpose(0, 1), vectors)


class LinformerEncoder(nn.Module):
    """A transformer encoder of segments up to `segment_length` tokens, trained from nothing.

    Args:
        config: `vocabulary_size`, `segment_length`, `encoder_hidden`, `encoder_layers`,
            `encoder_heads`, `linformer_k`, `token_pooling` and `dropout` are read.
    """

    def __init__(self, config: LongTextConfig) -> None:
        super().__init__()
        width, length = config.encoder_hidden, config.segment_length
        # More mixtures than positions would be no projection to fewer.
        k = min(config.linformer_k, length)
        self.length = length
        self.pooling = config.token_pooling
        self.tokens = nn.Embedding(config.vocabulary_size, width)
        self.positions = nn.Embedding(length, width)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(
                LinformerAttention(width, config.encoder_heads, config.dropout, length, k),
                width,
                config.dropout,
            )
            for _ in range(config.encoder_layers)
        )
        self.normalization = nn.LayerNorm(width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode segments.

        Args:
            input_ids: int64 `[segments, tokens]`, at most `segment_length` tokens.
            attention_mask: int64 `[segments, tokens]`.

        Returns:
            float `[segments, encoder_hidden]`.

        Raises:
            ValueError: The segments are longer than the model has positions for.
        """
        tokens = input_ids.shape[1]
        if not torch.compiler.is_exporting() and tokens > self.length:
            raise ValueError(f"linformer reads at most {self.length} tokens, found {tokens}")
        states = self.tokens(input_ids) + self.positions.weight[:tokens]
        states = self.dropout(states)
        for layer in self.layers:
            states = layer(states, attention_mask)
        return TOKEN_POOLINGS[self.pooling](self.normalization(states), attention_mask)
