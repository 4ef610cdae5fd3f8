"""Longformer's attention in blocks: the same values as transformers', and it exports to ONNX.

After Beltagy et al., "Longformer: The Long-Document Transformer" (2020). The implementation in
transformers counts the globally attended tokens of each batch, which no exporter can follow; here
it is always the first token, the paper's setting for classification.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention


class BlockAttention(nn.Module):
    """A token sees its neighbours within half a window and the first token; that sees all.

    Memory and time are linear in the length: blocks of half a window see themselves and the
    blocks beside them.

    Args:
        original: `LongformerSelfAttention`, whose layers are kept under their names.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.heads: int = original.num_heads
        self.reach: int = original.one_sided_attn_window_size
        self.dropout: float = original.dropout
        self.query, self.key, self.value = original.query, original.key, original.value
        self.query_global = original.query_global
        self.key_global = original.key_global
        self.value_global = original.value_global

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor, **unused: Any
    ) -> tuple[Tensor]:
        """Attend.

        Args:
            hidden_states: float `[segments, tokens, width]`.
            attention_mask: bool `[segments, tokens]`, True for real tokens.
            **unused: What transformers hands to its own attention.

        Returns:
            float `[segments, tokens, width]` alone in a tuple.
        """
        local = self._local(hidden_states, attention_mask)
        whole = self._attend(
            self._split(self.query_global(hidden_states[:, :1])),
            self._split(self.key_global(hidden_states)),
            self._split(self.value_global(hidden_states)),
            # The first token is there even where a row is nothing but padding.
            _with_first(attention_mask)[:, None, None, :],
        )
        first = whole.transpose(1, 2).flatten(2)
        return (torch.cat([first, local[:, 1:]], dim=1),)

    def _local(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Let each token read its neighbours and the first token."""
        rows, tokens, _ = hidden.shape
        blocks = (tokens + self.reach - 1) // self.reach
        missing = blocks * self.reach - tokens
        queries, keys, values = (
            self._blocks(pad(layer(hidden), (0, 0, 0, missing)))
            for layer in (self.query, self.key, self.value)
        )
        # The first token is read as the global one, not once more as a neighbour.
        neighbour = mask & (torch.arange(tokens, device=mask.device) > 0)
        real = pad(neighbour, (0, missing)).unflatten(1, (-1, self.reach))
        allowed = self._band(mask.device) & _beside(real)[:, :, None, None, :]
        shape = (rows, blocks, 1, self.reach, 1)
        found = self._attend(
            queries.flatten(0, 1),
            torch.cat([_first(keys), _beside(keys, dim=3)], dim=3).flatten(0, 1),
            torch.cat([_first(values), _beside(values, dim=3)], dim=3).flatten(0, 1),
            torch.cat([allowed.new_ones(shape), allowed], dim=-1).flatten(0, 1),
        )
        joined = found.transpose(1, 2).flatten(2).unflatten(0, (rows, blocks))
        return joined.flatten(1, 2)[:, :tokens]

    def _band(self, device: torch.device) -> Tensor:
        """Return bool `[reach, 3 * reach]`: what of three blocks the middle one sees."""
        own = torch.arange(self.reach, device=device).unsqueeze(1) + self.reach
        other = torch.arange(3 * self.reach, device=device)
        return (own - other).abs() <= self.reach

    def _split(self, vectors: Tensor) -> Tensor:
        """Return `[segments, heads, tokens, width / heads]`."""
        return vectors.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _blocks(self, vectors: Tensor) -> Tensor:
        """Return `[segments, blocks, heads, reach, width / heads]`."""
        blocks = vectors.unflatten(1, (-1, self.reach))
        return blocks.unflatten(-1, (self.heads, -1)).transpose(2, 3)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, dropout_p=dropout
        )


def read_longformer(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the last hidden states, float `[segments, tokens, width]`.

    Args:
        model: A `LongformerModel` whose attention was put into blocks.
        input_ids: int64 `[segments, tokens]`.
        attention_mask: int64 `[segments, tokens]`.
    """
    hidden = model.embeddings(input_ids=input_ids)
    mask = attention_mask.to(torch.bool)
    for layer in model.encoder.layer:
        hidden = layer(hidden, attention_mask=mask)[0]
    result: Tensor = hidden
    return result


def put_into_blocks(model: Any) -> None:
    """Exchange the attention of a `LongformerModel`, keeping weights and their names."""
    for layer in model.encoder.layer:
        if not isinstance(layer.attention.self, BlockAttention):
            layer.attention.self = BlockAttention(layer.attention.self)


def _first(blocks: Tensor) -> Tensor:
    """Return the first token of a segment beside each of its blocks: `[s, b, heads, 1, d]`."""
    return blocks[:, :1, :, :1].expand(-1, blocks.shape[1], -1, -1, -1)


def _beside(blocks: Tensor, dim: int = 2) -> Tensor:
    """Join each of `[segments, blocks, ...]` with the blocks before and after it along `dim`."""
    nothing = torch.zeros_like(blocks[:, :1])
    before = torch.cat([nothing, blocks[:, :-1]], dim=1)
    after = torch.cat([blocks[:, 1:], nothing], dim=1)
    return torch.cat([before, blocks, after], dim=dim)


def _with_first(mask: Tensor) -> Tensor:
    return mask | (torch.arange(mask.shape[1], device=mask.device) == 0)
