"""`bag`: the mean of embeddings of tokens and of token pairs. Needs no pretrained weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from longform.models.configuration import LongTextConfig
from longform.models.pooling import masked_mean

# Multipliers of the pair hash: primes below 2^15, so that sums of products with ids below 2^15
# stay below 2^31 and the hash is the same on devices that count in int32.
_FIRST_MULTIPLIER = 31_337
_SECOND_MULTIPLIER = 27_617


class BagEncoder(nn.Module):
    """Mean of token embeddings beside the mean of hashed token-pair embeddings, in one table each.

    The pairs are neighbours in the segment: with Chinese characters as tokens they are the
    character bigrams that strong linear models rest on. After Joulin et al., "Bag of Tricks for
    Efficient Text Classification" (2017), with the two averages kept apart and summed.

    Args:
        config: `vocabulary_size`, `bag_dimension`, `bag_buckets` and `bag_token_dropout` are read.

    Attributes:
        fused: Whether embeddings are summed as they are looked up, so that none is ever seen.
    """

    def __init__(self, config: LongTextConfig) -> None:
        super().__init__()
        self.buckets = config.bag_buckets
        self.token_dropout = config.bag_token_dropout
        self.fused = True
        self.tokens = nn.Embedding(config.vocabulary_size, config.bag_dimension)
        self.pairs = nn.Embedding(config.bag_buckets, config.bag_dimension)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode segments.

        Args:
            input_ids: int64 `[segments, tokens]`.
            attention_mask: int64 `[segments, tokens]`.

        Returns:
            float `[segments, bag_dimension]`; zeros for a segment without tokens.
        """
        # The last token has no neighbour: its pair exists, so that one token is no special case,
        # and weighs nothing.
        following = nn.functional.pad(input_ids[:, 1:], (0, 1))
        hashed = input_ids * _FIRST_MULTIPLIER + following * _SECOND_MULTIPLIER
        pair_ids = torch.remainder(hashed, self.buckets)
        token_weight = self._weight(attention_mask)
        pair_weight = self._weight(nn.functional.pad(attention_mask[:, 1:], (0, 1)))
        return self._mean(self.tokens, input_ids, token_weight) + self._mean(
            self.pairs, pair_ids, pair_weight
        )

    def _mean(self, table: nn.Embedding, ids: Tensor, weight: Tensor) -> Tensor:
        # ONNX has no fused gather and sum, and whoever explains wants to see each embedding.
        if torch.compiler.is_exporting() or not self.fused:
            return masked_mean(table(ids), weight)
        return _mean_embedding(table, ids, weight)

    def _weight(self, mask: Tensor) -> Tensor:
        weight = mask.to(self.tokens.weight.dtype)
        if self.training and self.token_dropout > 0:
            return weight * (torch.rand_like(weight) >= self.token_dropout)
        return weight


def _mean_embedding(table: nn.Embedding, ids: Tensor, weight: Tensor) -> Tensor:
    """Average the embeddings of those of `ids [n, t]` whose `weight [n, t]` is 1 and not 0."""
    # Fused, and only over what counts: about ten times the speed in training, since the gathered
    # vectors are never written.
    counted = weight > 0
    counts = counted.sum(dim=1)
    total = nn.functional.embedding_bag(
        ids[counted], table.weight, counts.cumsum(dim=0) - counts, mode="sum"
    )
    return total / counts.unsqueeze(1).clamp_min(1).to(total.dtype)
