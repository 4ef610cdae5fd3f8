"""Head pruning: attention heads that matter least are taken out of an encoder, matrices and all.

Importance is the gradient at a gate on each head, after Michel et al., "Are Sixteen Heads Really
Better than One?" (2019): how much the loss changes, to first order, when the head falls silent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from longform.errors import InputError
from longform.models.pruned import PREFIX, PRUNABLE, attentions, heads_per_layer, whole_type
from longform.types import Floats

_PROBES = 4
"""Random directions in which the answer to an unlabelled segment may move."""
_TEMPERATURE = 0.1
"""Of the softmax over cosines to the classes' mean vectors."""


@dataclass(frozen=True, slots=True)
class LabelledSegments:
    """Segments of a few documents.

    Attributes:
        input_ids: int64 `[segments, tokens]`.
        attention_mask: int64 `[segments, tokens]`.
        classes: int64 `[segments]`, the class of each one's document; None without labels.
    """

    input_ids: Tensor
    attention_mask: Tensor
    classes: Tensor | None = None


def check_prunable(encoder: Any) -> None:
    """Refuse encoders whose heads cannot be taken out.

    Raises:
        InputError: The encoder is of no kind that can be pruned.
    """
    if whole_type(encoder.config.model_type) not in PRUNABLE:
        raise InputError(
            f"Heads can be pruned of the kinds {', '.join(PRUNABLE)}.",
            found=f"an encoder of the kind '{encoder.config.model_type}'",
            fix="Leave --heads out; vocabulary and layers can be pruned all the same.",
        )


@contextlib.contextmanager
def gated_heads(encoder: Any, gates: Sequence[Tensor]) -> Iterator[None]:
    """Multiply what each head says by a gate, as long as the block lasts.

    Args:
        encoder: A BERT-like encoder.
        gates: For each layer, float `[heads]`, or `[segments, heads]`.
    """

    def gate(values: Tensor, size: int) -> Any:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            # The features of a head stand side by side.
            wide = values.repeat_interleave(size, dim=-1)
            return (arguments[0] * (wide.unsqueeze(-2) if wide.ndim == 2 else wide),)

        return hook

    handles = [
        attention.output.dense.register_forward_pre_hook(
            gate(values, attention.self.attention_head_size)
        )
        for attention, values in zip(attentions(encoder), gates, strict=True)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def head_importance(
    encoder: Any, batches: Iterable[LabelledSegments], centroids: Tensor | None = None
) -> list[Floats]:
    """Measure how much each head matters to the mean vector of a segment's tokens.

    With labels, the loss is the cross-entropy of a softmax over the cosines to the classes' mean
    vectors (Snell et al., "Prototypical Networks", 2017): it needs no trained head. Without, it is
    the length by which the vector's direction moves, estimated by random probes.

    Args:
        encoder: A BERT-like encoder, in evaluation mode.
        batches: Segments.
        centroids: float `[classes, width]`, rows of length 1; None without labels.

    Returns:
        For each layer, float32 `[heads]`; each layer's figures together have length 1, since the
        gradients of layers differ in size for reasons that are not importance.
    """
    check_prunable(encoder)
    generator = torch.Generator().manual_seed(0)
    counts = heads_per_layer(encoder)
    totals = [np.zeros(count) for count in counts]
    for batch in batches:
        rows = len(batch.input_ids)
        gates = [torch.ones(rows, count, requires_grad=True) for count in counts]
        with gated_heads(encoder, gates):
            vectors = segment_vectors(encoder, batch)
        for loss in _losses(vectors, batch.classes, centroids, generator):
            gradients = torch.autograd.grad(loss, gates, retain_graph=True)
            for total, gradient in zip(totals, gradients, strict=True):
                total += gradient.abs().sum(dim=0).double().numpy()
    lengths = [max(float(np.linalg.norm(total)), 1e-30) for total in totals]
    return [
        (total / length).astype(np.float32) for total, length in zip(totals, lengths, strict=True)
    ]


def class_centroids(encoder: Any, batches: Iterable[LabelledSegments], classes: int) -> Tensor:
    """Return the mean vector of each class's segments, float `[classes, width]`, of length 1."""
    total: Tensor | None = None
    with torch.inference_mode():
        for batch in batches:
            if batch.classes is None:
                raise ValueError("centroids are of labelled segments")
            vectors = segment_vectors(encoder, batch)
            total = vectors.new_zeros(classes, vectors.shape[1]) if total is None else total
            total.index_add_(0, batch.classes, vectors)
    if total is None:
        raise ValueError("no batch to take centroids of")
    return nn.functional.normalize(total, dim=1).clone()


def segment_vectors(encoder: Any, batch: LabelledSegments) -> Tensor:
    """Return the mean vectors of segments, float `[segments, width]`, of length 1."""
    hidden = encoder(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask
    ).last_hidden_state
    weight = batch.attention_mask.to(hidden.dtype).unsqueeze(-1)
    return nn.functional.normalize((hidden * weight).sum(dim=1), dim=1)


def _losses(
    vectors: Tensor, classes: Tensor | None, centroids: Tensor | None, generator: torch.Generator
) -> Iterator[Tensor]:
    if classes is not None and centroids is not None:
        logits = vectors @ centroids.T / _TEMPERATURE
        yield nn.functional.cross_entropy(logits, classes, reduction="sum")
        return
    for _ in range(_PROBES):
        yield (vectors * torch.randn(vectors.shape, generator=generator)).sum()


def choose_heads(importance: Sequence[Floats], keep: float) -> list[list[int]]:
    """Return the heads to keep in each layer.

    Args:
        importance: For each layer, float `[heads]`.
        keep: Below 1, the share of all heads that stays, the most important ones wherever they
            are, at least one a layer; from 1 on, how many stay in each layer.

    Raises:
        InputError: Not a share, nor a number that every layer has.
    """
    counts = [len(layer) for layer in importance]
    if not 0 < keep <= min(counts) or (keep >= 1 and keep != int(keep)):
        raise InputError(
            "The heads to keep are a share between 0 and 1, or a whole number for each layer.",
            found=f"{keep:g}, of layers of {min(counts)} to {max(counts)} heads",
            fix="Give --heads such as 0.5, or how many heads each layer keeps.",
        )
    orders = [np.argsort(-np.asarray(layer), kind="stable") for layer in importance]
    if keep >= 1:
        return [sorted(order[: int(keep)].tolist()) for order in orders]
    # The best of each layer comes first, so that none is left without.
    best = {(row, int(order[0])) for row, order in enumerate(orders)}
    ranked = sorted(
        (-float(value), row, head)
        for row, layer in enumerate(importance)
        for head, value in enumerate(layer)
        if (row, head) not in best
    )
    others = max(0, round(keep * sum(counts)) - len(best))
    chosen = best | {(row, head) for _, row, head in ranked[:others]}
    return [sorted(head for layer, head in chosen if layer == row) for row in range(len(counts))]


def keep_heads(encoder: Any, kept: Sequence[Sequence[int]]) -> Any:
    """Return an encoder of these heads alone; it gives what the whole one gives with others gated.

    Args:
        encoder: A BERT-like encoder; it is left as it is.
        kept: For each layer, numbers of heads from 0, rising, at least one.

    Raises:
        InputError: The encoder is of no kind that can be pruned.
    """
    check_prunable(encoder)
    config = encoder.config
    values = config.to_dict()
    values |= {"heads_per_layer": [len(heads) for heads in kept], "architectures": None}
    del values["model_type"]
    pruned_config = AutoConfig.for_model(PREFIX + whole_type(config.model_type), **values)
    state = encoder.state_dict()
    size = next(attentions(encoder)).self.attention_head_size
    for row, heads in enumerate(kept):
        rows = torch.cat([torch.arange(head * size, (head + 1) * size) for head in heads])
        attention = f"encoder.layer.{row}.attention"
        for name in ("query", "key", "value"):
            for part in ("weight", "bias"):
                key = f"{attention}.self.{name}.{part}"
                state[key] = state[key][rows]
        key = f"{attention}.output.dense.weight"
        state[key] = state[key][:, rows].contiguous()
    pruned = AutoModel.from_config(pruned_config)
    pruned.load_state_dict({name: state[name] for name in pruned.state_dict()})
    return pruned.to(encoder.dtype).eval()
