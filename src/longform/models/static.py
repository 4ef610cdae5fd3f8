"""`static`: the weighted mean of token vectors that were distilled from a pretrained encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from longform.models.configuration import LongTextConfig

_LEAST_WEIGHT = 1e-6
"""Below any weight of a token, so that only a segment without a token is divided by it."""


class StaticEncoder(nn.Module):
    """Mean of token vectors, rare tokens counting for more and special tokens for nothing.

    A table of vectors instead of layers, after Tulkens and van Dongen, "Model2Vec: Fast
    State-of-the-Art Static Embeddings" (2024), with the weights of Arora et al., "A Simple but
    Tough-to-Beat Baseline for Sentence Embeddings" (2017). What fills the table and the weights is
    `longform.training.static_vectors`.

    Args:
        config: `vocabulary_size`, `static_dimension` and `static_token_dropout` are read.

    Attributes:
        fused: Whether embeddings are summed as they are looked up, so that none is ever seen.
    """

    token_weights: Tensor
    """float `[vocabulary_size]`, at least 0; not trained."""

    def __init__(self, config: LongTextConfig) -> None:
        super().__init__()
        self.token_dropout = config.static_token_dropout
        self.fused = True
        self.tokens = nn.Embedding(config.vocabulary_size, config.static_dimension)
        self.register_buffer("token_weights", torch.ones(config.vocabulary_size))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode segments.

        Args:
            input_ids: int64 `[segments, tokens]`.
            attention_mask: int64 `[segments, tokens]`.

        Returns:
            float `[segments, static_dimension]`; zeros for a segment without a token that counts.
        """
        weight = self.token_weights[input_ids] * attention_mask.to(self.token_weights.dtype)
        if self.training and self.token_dropout > 0:
            weight = weight * (torch.rand_like(weight) >= self.token_dropout)
        total = self._weighted_sum(input_ids, weight)
        return total / weight.sum(dim=1, keepdim=True).clamp_min(_LEAST_WEIGHT)

    def _weighted_sum(self, ids: Tensor, weight: Tensor) -> Tensor:
        # ONNX has no fused gather and sum, and whoever explains wants to see each embedding.
        if torch.compiler.is_exporting() or not self.fused:
            return torch.bmm(weight.unsqueeze(1), self.tokens(ids)).squeeze(1)
        # Fused, and only over what counts: the gathered vectors are never written.
        counted = weight > 0
        counts = counted.sum(dim=1)
        return nn.functional.embedding_bag(
            ids[counted],
            self.tokens.weight,
            counts.cumsum(dim=0) - counts,
            mode="sum",
            per_sample_weights=weight[counted],
        )
