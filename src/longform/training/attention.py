"""A pretrained encoder while it is trained: dropout as it is set, attention that is fast there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from longform.config import RunConfig

_SHORT_SEGMENT = 256
"""Tokens up to which explicit matrix products train faster on a CPU than its fused kernel."""


@contextmanager
def suited_encoder(model: nn.Module, device: str, config: RunConfig) -> Iterator[None]:
    """Suit a model's pretrained encoder to training, while the context lasts.

    Dropout of attention probabilities keeps devices from their fused kernels. On a CPU the backward
    pass of the fused kernel is in turn slower than explicit matrix products over short segments
    (measured in docs/results.md). The answers are the same either way.

    Args:
        model: A `LongTextClassifier`, or a head alone, which is left as it is.
        device: `cpu`, `cuda` or `npu`.
        config: `segment_length`, `attention_dropout` and `encoder_dropout` are read.
    """
    inner: Any = getattr(getattr(model, "encoder", None), "model", None)
    if inner is None or not hasattr(inner, "set_attn_implementation"):
        yield
        return
    changed = list(_set_dropout(inner, config.attention_dropout, config.encoder_dropout))
    before = inner.config._attn_implementation
    if device == "cpu" and config.segment_length <= _SHORT_SEGMENT and before == "sdpa":
        inner.set_attn_implementation("eager")
    try:
        yield
    finally:
        inner.set_attn_implementation(before)
        for module, name, value in changed:
            setattr(module, name, value)


def _set_dropout(
    encoder: nn.Module, attention: float | None, others: float | None
) -> Iterator[tuple[nn.Module, str, float]]:
    """Set the shares that are dropped; yields what was there, to be put back.

    transformers writes the dropout of attention probabilities as a `Dropout` named `dropout` of a
    self-attention, or as a number named `attention_dropout`.
    """
    of_attention: set[int] = set()
    for module in encoder.modules():
        if not type(module).__name__.endswith("Attention"):
            continue
        own = getattr(module, "dropout", None)
        # The output of a whole attention block has a dropout of its own, which is another matter.
        if isinstance(own, nn.Dropout) and hasattr(module, "query"):
            of_attention.add(id(own))
        number = getattr(module, "attention_dropout", None)
        if isinstance(number, float) and attention is not None:
            yield module, "attention_dropout", number
            setattr(module, "attention_dropout", attention)  # noqa: B010 - a plain number
    for module in encoder.modules():
        share = attention if id(module) in of_attention else others
        if isinstance(module, nn.Dropout) and share is not None:
            yield module, "p", module.p
            module.p = share
