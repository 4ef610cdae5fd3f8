"""Two-pass training: segments encoded piece by piece, so that memory does not grow with documents.

The first pass encodes a piece without keeping what its gradients need; when the gradient at the
segment vectors has arrived, the piece is encoded once more, with the same dropout, and its gradient
flows on at once. So only one piece's activations are there at a time, and the gradients are those
of one pass. After Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup" (2021), applied to the segments of a document. Replay of the random state and of the
precision is that of `torch.utils.checkpoint`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from longform.inference.packing import pack_segments

Encode = Callable[[Tensor, Tensor], Tensor]

KEEP_ALL = math.inf
LARGER = 4
LARGER_LOOKED_UP = 256
"""The same for encoders that look vectors up and sum them as they go: what they keep is small,
and the gradient of their tables is most of their work."""


class PiecewiseEncoding:
    """Encodes the segments of a batch in pieces of bounded size.

    Args:
        micro_batch_tokens: Most padded tokens of a piece; a longer segment makes its own.
        kept_tokens: Padded tokens of a batch whose activations may be kept for the gradients; the
            pieces beyond them are encoded twice. `KEEP_ALL` encodes nothing twice.
        larger: How many times the size of a piece where all activations stay.
    """

    def __init__(
        self, micro_batch_tokens: int, kept_tokens: float = KEEP_ALL, larger: int = LARGER
    ) -> None:
        self.micro_batch_tokens = micro_batch_tokens
        self.kept_tokens = kept_tokens
        self._larger = larger

    def __call__(self, encode: Encode, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode segments.

        Args:
            encode: int64 `[segments, tokens]` twice -> float `[segments, width]`.
            input_ids: int64 `[segments, tokens]`, padded at the end.
            attention_mask: int64 `[segments, tokens]`.

        Returns:
            float `[segments, width]`, in the order given.
        """
        lengths = attention_mask.sum(dim=1).clamp_min(1).tolist()
        # Where all activations stay, small pieces save nothing, and each costs the embeddings a
        # gradient of their whole table.
        keeps_all = self.kept_tokens == KEEP_ALL and torch.is_grad_enabled()
        budget = self.micro_batch_tokens * (self._larger if keeps_all else 1)
        pieces = list(pack_segments(lengths, budget))
        kept = 0
        vectors = []
        for piece in pieces:
            longest = int(lengths[piece[0]])
            rows = torch.tensor(piece, device=input_ids.device)
            ids = input_ids[rows, :longest]
            mask = attention_mask[rows, :longest]
            kept += len(piece) * longest
            if torch.is_grad_enabled() and kept > self.kept_tokens:
                vectors.append(_encode_twice(encode, ids, mask))
            else:
                vectors.append(encode(ids, mask))
        order = torch.tensor([row for piece in pieces for row in piece], device=input_ids.device)
        return torch.cat(vectors)[torch.argsort(order)]

    def shrink(self, least_tokens: int) -> bool:
        """Halve what is encoded at once and keep nothing, after memory ran out.

        Args:
            least_tokens: Tokens of the longest segment, below which nothing can be divided.

        Returns:
            Whether there was something left to halve.
        """
        if self.micro_batch_tokens <= least_tokens and self.kept_tokens == 0:
            return False
        self.kept_tokens = 0
        self.micro_batch_tokens = max(self.micro_batch_tokens // 2, least_tokens)
        return True


def _encode_twice(encode: Encode, ids: Tensor, mask: Tensor) -> Tensor:
    def encode_behind(_: Tensor, *batch: Tensor) -> Tensor:
        return encode(*batch)

    # Token ids have no gradient, and one input must, for the second pass to be made. It is a
    # backward pass of its own ("reentrant"): the gradients of the weights are added up piece by
    # piece where they belong, not kept beside them until the last piece.
    gate = torch.zeros(0, requires_grad=True)
    vectors: Any = checkpoint(encode_behind, gate, ids, mask, use_reentrant=True)
    assert isinstance(vectors, Tensor)
    return vectors
