"""Encoders: a segment's tokens to one vector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from longform.models.configuration import LongTextConfig

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
    """

    def __init__(self, config: LongTextConfig) -> None:
        super().__init__()
        self.buckets = config.bag_buckets
        self.token_dropout = config.bag_token_dropout
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
        return _mean_embedding(self.tokens, input_ids, token_weight) + _mean_embedding(
            self.pairs, pair_ids, pair_weight
        )

    def _weight(self, mask: Tensor) -> Tensor:
        weight = mask.to(self.tokens.weight.dtype)
        if self.training and self.token_dropout > 0:
            return weight * (torch.rand_like(weight) >= self.token_dropout)
        return weight


class PretrainedEncoder(nn.Module):
    """A Hugging Face encoder with its token vectors pooled over the attention mask.

    Args:
        config: `encoder_config` and `token_pooling` are read.
        model: The loaded encoder; None builds one without weights, to be filled by
            `from_pretrained`.
    """

    def __init__(self, config: LongTextConfig, model: nn.Module | None = None) -> None:
        super().__init__()
        self.pooling = config.token_pooling
        self.model = model if model is not None else build_encoder(config)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode segments.

        Args:
            input_ids: int64 `[segments, tokens]`.
            attention_mask: int64 `[segments, tokens]`.

        Returns:
            float `[segments, hidden_size]`.
        """
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        hidden = output.last_hidden_state
        if self.pooling == "cls":
            return hidden[:, 0]
        return _weighted_mean(hidden, attention_mask.to(hidden.dtype))


def build_encoder(config: LongTextConfig) -> nn.Module:
    """Build the Hugging Face encoder of a configuration, with random weights."""
    values = dict(config.encoder_config or {})
    encoder_config = AutoConfig.for_model(values.pop("model_type"), **values)
    return AutoModel.from_config(encoder_config, **pooler_arguments(encoder_config.model_type))


def pooler_arguments(model_type: str) -> dict[str, Any]:
    """Return the arguments that leave out a pooler, which no pooling of ours reads."""
    with_pooler = {"bert", "roberta", "xlm-roberta", "ernie", "electra", "camembert"}
    return {"add_pooling_layer": False} if model_type in with_pooler - {"electra"} else {}


def _mean_embedding(table: nn.Embedding, ids: Tensor, weight: Tensor) -> Tensor:
    """Average the embeddings of those of `ids [n, t]` whose `weight [n, t]` is 1 and not 0."""
    if torch.compiler.is_exporting():
        # ONNX has no fused gather and sum.
        return _weighted_mean(table(ids), weight)
    # Fused, and only over what counts: about ten times the speed in training, since the gathered
    # vectors are never written.
    counted = weight > 0
    counts = counted.sum(dim=1)
    total = nn.functional.embedding_bag(
        ids[counted], table.weight, counts.cumsum(dim=0) - counts, mode="sum"
    )
    return total / counts.unsqueeze(1).clamp_min(1).to(total.dtype)


def _weighted_mean(vectors: Tensor, weight: Tensor) -> Tensor:
    """Average `vectors [n, t, d]` with `weight [n, t]`; zeros where all weights are zero."""
    # A batched matrix product reads the vectors once; multiply-then-sum would write them again.
    total = torch.bmm(weight.unsqueeze(1), vectors).squeeze(1)
    return total / weight.sum(dim=1, keepdim=True).clamp_min(1.0)
