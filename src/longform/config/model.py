"""What reads the segments, and what joins them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

TokenPooling = Literal["cls", "mean", "max", "last"]
Aggregation = Literal["mean", "max", "attention", "lstm", "gru", "transformer", "concat"]

STATIC = "static"
"""Value of `encoder` that asks for token vectors distilled from the encoder of `static_from`."""
SCRATCH_ENCODERS = ("bag", "lstm", "linformer", STATIC)
"""Values of `encoder` that name an encoder of longform's own, of which no folder is loaded."""
LOOK_UP_ENCODERS = ("bag", STATIC)
"""Those of them that look vectors up and take their mean, and compute nothing else."""


PRESETS: dict[str, dict[str, Any]] = {
    "bert_split_lstm": {
        "encoder": "bert-base-chinese",
        "token_pooling": "cls",
        "aggregator": "lstm",
        "aggregator_hidden": 256,
        "aggregator_layers": 1,
        "lstm_bidirectional": True,
    },
}
"""Name of a known architecture -> its settings."""


class ModelSettings(BaseModel):
    """What reads the segments and what joins them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    preset: Literal["bert_split_lstm"] | None = None
    """Settings of a known architecture, which those that are given win over. `bert_split_lstm`:
    the `[CLS]` vector of each segment by `bert-base-chinese`, a bidirectional LSTM of width 256
    over them."""
    encoder: str = "bag"
    """`linear` fits a linear model over n-grams, without any encoder; `bag`, `lstm` and
    `linformer` are trained from nothing; `static` looks up token vectors that are distilled from
    the encoder of `static_from`; otherwise a folder or name of a Hugging Face encoder or decoder,
    or a bundle whose encoder to start from."""
    token_pooling: TokenPooling | None = None
    """Token vectors -> segment vector: the first one, the mean, the maximum of each feature, or the
    last one. None: `last` for a decoder, `max` for `lstm`, `mean` otherwise. Ignored by `bag`,
    whose tokens are averaged; of `static`, how the encoder that it is distilled from pools."""
    aggregator: Aggregation = "attention"
    """Segment vectors -> document vector. `concat` wants `max_segments`."""
    aggregator_hidden: int = Field(256, ge=1)
    """Width of the aggregator; of each direction for `lstm` and `gru`."""
    aggregator_layers: int = Field(1, ge=1)
    """Layers of `lstm`, `gru` and `transformer`."""
    aggregator_heads: int = Field(4, ge=1)
    """Attention heads of `attention` and `transformer`."""
    lstm_bidirectional: bool = True
    """`lstm` and `gru` read the segments in both directions."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of features dropped in training before the aggregator and before the classifier."""
    frozen: bool = False
    """Leave a pretrained encoder, or the token vectors of `static`, as they are and train on cached
    segment vectors."""
    quantization_aware: bool = False
    """Fine-tune a pretrained encoder with weights and inputs rounded as int8 arithmetic rounds
    them, and export it in int8 as well, as `onnx:int8`."""
    binary_logits: Literal[1, 2] = 2
    """With two classes: 2 gives each its own logit (softmax); 1 learns one logit (sigmoid), the
    other class having 0."""
    vocabulary_size: int = Field(20_000, ge=300)
    """Most tokens of the tokenizer that an encoder trained from nothing learns from the corpus."""
    bag_dimension: int = Field(128, ge=1)
    """Width of the embeddings of `bag`."""
    bag_buckets: int = Field(65_521, ge=2)
    """Hash buckets for the token pairs of `bag`."""
    bag_token_dropout: float = Field(0.3, ge=0, lt=1)
    """Share of tokens and token pairs that `bag` leaves out of each training step."""
    static_from: str | None = None
    """Folder of the pretrained encoder, or the bundle, whose tokenizer `static` takes and whose
    vectors of single tokens it starts from."""
    static_dimension: int = Field(256, ge=1)
    """Width of the token vectors of `static`: so many principal components are kept of the
    encoder's."""
    static_token_dropout: float = Field(0.3, ge=0, lt=1)
    """Share of tokens that `static` leaves out of each training step."""
    encoder_hidden: int = Field(128, ge=2, multiple_of=2)
    """Width of the encoders `lstm` and `linformer`."""
    encoder_layers: int = Field(1, ge=1)
    """Layers of the encoders `lstm` and `linformer`."""
    encoder_heads: int = Field(4, ge=1)
    """Attention heads of the encoder `linformer`."""
    linformer_k: int = Field(256, ge=1)
    """Positions that `linformer` projects the keys and values of a segment to, along its length."""
    lora: bool = False
    """Train low-rank updates of a pretrained encoder's projections, and the head, instead of all
    weights; the updates are merged into the weights at export."""
    lora_r: int = Field(16, ge=1)
    """Rank of the updates."""
    lora_alpha: float = Field(32.0, gt=0)
    """The updates count `lora_alpha / lora_r` times."""
    lora_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of features dropped before the updates."""
    lora_target_modules: tuple[str, ...] | None = None
    """Names of the linear layers that are updated; None: query and value projections."""

    @model_validator(mode="before")
    @classmethod
    def _preset_lies_under_what_is_given(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        # An unknown name is refused with the other faults, by its field.
        return {**PRESETS.get(str(values.get("preset")), {}), **values}

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> ModelSettings:
        if self.aggregator == "transformer" and self.aggregator_hidden % self.aggregator_heads:
            raise ValueError(
                "aggregator_hidden must be a multiple of aggregator_heads for the aggregator "
                f"'transformer', found {self.aggregator_hidden} and {self.aggregator_heads}"
            )
        if self.encoder == "linformer" and self.encoder_hidden % self.encoder_heads:
            raise ValueError(
                "encoder_hidden must be a multiple of encoder_heads for the encoder 'linformer', "
                f"found {self.encoder_hidden} and {self.encoder_heads}"
            )
        return self
