"""Transformer layers of our own, for what has no pretrained weights. Masks are always boolean."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention


class SelfAttention(nn.Module):
    """Softmax attention over the real steps of each row.

    Args:
        width: Of the vectors; a multiple of `heads`.
        heads: Attention heads.
        dropout: Share of attention weights dropped.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return `[rows, steps, width]` from vectors and a bool mask `[rows, steps]`."""
        projected = self.queries_keys_values(vectors).chunk(3, dim=-1)
        queries, keys, values = (self.split(part) for part in projected)
        return self.attend(queries, keys, values, mask[:, None, None, :])

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Return `[rows, steps, width]` from `[rows, heads, steps, width / heads]` each."""
        dropout = self.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, dropout_p=dropout
        )
        return self.output(mixed.transpose(1, 2).flatten(2))

    def split(self, vectors: Tensor) -> Tensor:
        """Return `[rows, heads, steps, width / heads]` from `[rows, steps, width]`."""
        return vectors.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Attention and a wider layer, each normalised before and added to what it read.

    The order of Xiong et al., "On Layer Normalization in the Transformer Architecture" (2020),
    which trains from nothing without a long warm-up.

    Args:
        attention: Of vectors and mask.
        width: Of the vectors.
        dropout: Share of features dropped from what is added.
    """

    def __init__(self, attention: nn.Module, width: int, dropout: float) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.LayerNorm(width)
        self.wide_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return `[rows, steps, width]`, the same shape as `vectors`."""
        vectors = vectors + self.dropout(self.attention(self.attention_norm(vectors), mask))
        wide = gelu(self.widen(self.wide_norm(vectors)))
        return vectors + self.dropout(self.narrow(wide))


def attendable(mask: Tensor) -> Tensor:
    """Return a bool mask in which rows without a real step let their first one be read.

    A softmax over nothing is NaN; what such rows give is masked by whoever reads them.
    """
    real = mask.to(torch.bool)
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return real | (first & ~real.any(dim=1, keepdim=True))
