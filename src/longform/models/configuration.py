"""The configuration of a `LongTextClassifier`, in Hugging Face form."""

from __future__ import annotations

from typing import Any, Literal

from transformers import AutoConfig, PretrainedConfig

from longform.config import Aggregation, TokenPooling

__all__ = ["Aggregation", "LongTextConfig", "TokenPooling"]


class LongTextConfig(PretrainedConfig):
    """Everything that decides the shape of a model.

    Args:
        encoder: `bag`, `lstm`, `linformer`, `static`, or the `model_type` of a Hugging Face
            encoder.
        encoder_config: For a Hugging Face encoder, its own configuration as a mapping.
        vocabulary_size: Token ids that an encoder trained from nothing knows.
        bag_dimension: Width of the embeddings of `bag`.
        bag_buckets: Hash buckets for the token pairs of `bag`.
        bag_token_dropout: Share of tokens and pairs left out of a training step of `bag`.
        static_dimension: Width of the token vectors of `static`.
        static_token_dropout: Share of tokens left out of a training step of `static`.
        encoder_hidden: Width of the encoders `lstm` and `linformer`.
        encoder_layers: Layers of them.
        encoder_heads: Attention heads of `linformer`.
        linformer_k: Positions that `linformer` projects keys and values to.
        token_pooling: Token vectors to a segment vector.
        aggregator: Segment vectors to a document vector.
        aggregator_hidden: Width of the aggregator, of each direction for `lstm` and `gru`.
        aggregator_layers: Layers of the aggregators `lstm`, `gru` and `transformer`.
        aggregator_heads: Attention heads of the aggregators `attention` and `transformer`.
        lstm_bidirectional: Whether `lstm` and `gru` also read from the last segment to the first.
        max_segments: Vectors that the aggregator `concat` puts side by side.
        binary_logits: With two labels, 1 learns one logit and gives the first label 0.
        text_pair: Whether the head compares the segments of two texts.
        dropout: Share of features dropped before the aggregator and before the classifier.
        segment_length: Tokens of a segment; stored so that a loaded model knows its limit.
        **kwargs: Fields of `PretrainedConfig`, such as `id2label` and `problem_type`.

    Raises:
        ValueError: Values that do not fit each other.
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
        static_dimension: int = 256,
        static_token_dropout: float = 0.3,
        encoder_hidden: int = 128,
        encoder_layers: int = 1,
        encoder_heads: int = 4,
        linformer_k: int = 256,
        token_pooling: TokenPooling = "mean",
        aggregator: Aggregation = "attention",
        aggregator_hidden: int = 256,
        aggregator_layers: int = 1,
        aggregator_heads: int = 4,
        lstm_bidirectional: bool = True,
        max_segments: int | None = None,
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
        self.static_dimension = static_dimension
        self.static_token_dropout = static_token_dropout
        self.encoder_hidden = encoder_hidden
        self.encoder_layers = encoder_layers
        self.encoder_heads = encoder_heads
        self.linformer_k = linformer_k
        self.token_pooling = token_pooling
        self.aggregator = aggregator
        self.aggregator_hidden = aggregator_hidden
        self.aggregator_layers = aggregator_layers
        self.aggregator_heads = aggregator_heads
        self.lstm_bidirectional = lstm_bidirectional
        self.max_segments = max_segments
        self.binary_logits = binary_logits
        self.text_pair = text_pair
        self.dropout = dropout
        self.segment_length = segment_length
        super().__init__(**kwargs)

        self._check()

    def _check(self) -> None:
        if self.aggregator == "concat" and self.max_segments is None:
            raise ValueError("aggregator 'concat' needs max_segments")
        checked = (
            (self.aggregator == "transformer", self.aggregator_hidden, self.aggregator_heads),
            (self.encoder == "linformer", self.encoder_hidden, self.encoder_heads),
        )
        for applies, width, heads in checked:
            if applies and width % heads:
                raise ValueError(f"width {width} is no multiple of {heads} attention heads")

    @property
    def vector_size(self) -> int:
        """Width of a segment vector."""
        if self.encoder_config is not None:
            values = dict(self.encoder_config)
            # Some types call it otherwise, and know the usual name as another of it.
            return int(AutoConfig.for_model(values.pop("model_type"), **values).hidden_size)
        widths = {"bag": self.bag_dimension, "static": self.static_dimension}
        return widths.get(self.encoder, self.encoder_hidden)
