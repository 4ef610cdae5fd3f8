"""Encoders: a segment's tokens to one vector. The door to the kinds of them."""

from __future__ import annotations

from torch import nn

from longform.models.bag import BagEncoder
from longform.models.configuration import LongTextConfig
from longform.models.linformer import LinformerEncoder
from longform.models.pretrained import PretrainedEncoder, pooler_arguments
from longform.models.recurrent import RecurrentEncoder
from longform.models.static import StaticEncoder

__all__ = [
    "SCRATCH",
    "BagEncoder",
    "LinformerEncoder",
    "PretrainedEncoder",
    "RecurrentEncoder",
    "StaticEncoder",
    "build_encoder",
    "pooler_arguments",
]

SCRATCH: dict[str, type[nn.Module]] = {
    "bag": BagEncoder,
    "lstm": RecurrentEncoder,
    "linformer": LinformerEncoder,
    "static": StaticEncoder,
}
"""Value of `LongTextConfig.encoder` -> an encoder of longform's own."""


def build_encoder(config: LongTextConfig, model: nn.Module | None = None) -> nn.Module:
    """Build the encoder that a configuration names.

    Args:
        config: Its `encoder` decides.
        model: The loaded Hugging Face encoder; None builds one without weights, to be filled by
            `from_pretrained`.
    """
    if config.encoder in SCRATCH:
        return SCRATCH[config.encoder](config)
    return PretrainedEncoder(config, model)
