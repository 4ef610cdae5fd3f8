"""Attention of a pretrained encoder while it is trained: without what makes it slow there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_SHORT_SEGMENT = 256
"""Tokens up to which explicit matrix products train faster on a CPU than its fused kernel."""


@contextmanager
def training_attention(
    model: nn.Module, device: str, length: int, dropout: float | None
) -> Iterator[None]:
    """Suit the attention of a model's pretrained encoder to training, while the context lasts.

    Dropout of attention probabilities keeps devices from their fused kernels. On a CPU the backward
    pass of the fused kernel is in turn slower than explicit matrix products over short segments
    (measured in docs/results.md). The answers are the same either way.

    Args:
        model: A `LongTextClassifier`, or a head alone, which is left as it is.
        device: `cpu`, `cuda` or `npu`.
        length: Tokens of a segment.
        dropout: Share of attention probabilities dropped; None leaves it as it was pretrained.
    """
    inner: Any = getattr(getattr(model, "encoder", None), "model", None)
    if inner is None or not hasattr(inner, "set_attn_implementation"):
        yield
        return
    changed = list(_set_dropout(inner, dropout)) if dropout is not None else []
    before = inner.config._attn_implementation
    if device == "cpu" and length <= _SHORT_SEGMENT and before == "sdpa":
        inner.set_attn_implementation("eager")
    try:
        yield
    finally:
        inner.set_attn_implementation(before)
        for module, name, value in changed:
            setattr(module, name, value)


def _set_dropout(encoder: nn.Module, share: float) -> Iterator[tuple[nn.Module, str, float]]:
    """Set the dropout of attention probabilities; yields what was there, to be put back.

    transformers writes it as a `Dropout` named `dropout` of a self-attention, or as a number named
    `attention_dropout`.
    """
    for module in encoder.modules():
        if not type(module).__name__.endswith("Attention"):
            continue
        own = getattr(module, "dropout", None)
        # The output of a whole attention block has a dropout of its own, which stays.
        if isinstance(own, nn.Dropout) and hasattr(module, "query"):
            yield own, "p", own.p
            own.p = share
        numbers = getattr(module, "attention_dropout", None)
        if isinstance(numbers, float):
            yield module, "attention_dropout", numbers
            module.attention_dropout = share
