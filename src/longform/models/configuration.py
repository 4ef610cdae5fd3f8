"""The configuration of a `LongTextClassifier`, in Hugging Face form."""

from __future__ import annotations

from typing import Any, Literal

from transformers import PretrainedConfig

from longform.config import Aggregation, TokenPooling


class LongTextConfig(PretrainedConfig):
    """Everything that decides the shape of a model.

    Args:
        encoder: `bag`, or the `model_type` of a Hugging Face encoder.
        encoder_config: For a Hugging Face encoder, its own configuration as a mapping.
        vocabulary_size: Token ids that `bag` knows.
        bag_dimension: Width of the embeddings of `bag`.
        bag_buckets: Hash buckets for the token pairs of `bag`.
        bag_token_dropout: Share of tokens and pairs left out of a training step of `bag`.
        token_pooling: Token vectors to a segment vector, `cls` or `mean`.
        aggregator: Segment vectors to a document vector.
        aggregator_hidden: Width of the aggregator, of each direction for `lstm`.
        aggregator_layers: Layers of the aggregator `lstm`.
        lstm_bidirectional: Whether it also reads the segments from the last to the first.
        binary_logits: With two labels, 1 learns one logit and gives the first label 0.
        text_pair: Whether the head compares the segments of two texts.
        dropout: Share of features dropped before the aggregator and before the classifier.
        segment_length: Tokens of a segment; stored so that a loaded model knows its limit.
        **kwargs: Fields of `PretrainedConfig`, such as `id2label` and `problem_type`.
    """

    model_type = "longform"

    def __init__(  # noqa: PLR0913 - transformers builds configurations from keywords
        self,
        encoder: str = "bag",
        encoder_config: dict[str, Any] | None = None,
        vocabulary_size: int = 20_000,
        bag_dimension: int = 128,
        bag_buckets: int = 65_521,
        bag_token_dropout: float = 0.3,
        token_pooling: TokenPooling = "mean",
        aggregator: Aggregation = "attention",
        aggregator_hidden: int = 256,
        aggregator_layers: int = 1,
        lstm_bidirectional: bool = True,
        binary_logits: Literal[1, 2] = 2,
        text_pair: bool = False,
        dropout: float = 0.1,
        segment_length: int = 128,
        **kwargs: Any,
    ) -> None:
        self.encoder = encoder
        self.encoder_config = encoder_config
        self.vocabulary_size = vocabulary_size
        self.bag_dimension = bag_dimension
        self.bag_buckets = bag_buckets
        self.bag_token_dropout = bag_token_dropout
        self.token_pooling = token_pooling
        self.aggregator = aggregator
        self.aggregator_hidden = aggregator_hidden
        self.aggregator_layers = aggregator_layers
        self.lstm_bidirectional = lstm_bidirectional
        self.binary_logits = binary_logits
        self.text_pair = text_pair
        self.dropout = dropout
        self.segment_length = segment_length
        super().__init__(**kwargs)

    @property
    def vector_size(self) -> int:
        """Width of a segment vector."""
        if self.encoder_config is None:
            return self.bag_dimension
        return int(self.encoder_config["hidden_size"])
