"""Real segments to calibrate with, and which layers bear int8 worst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from longform.inference.packing import collate_segments
from longform.models import LongTextClassifier
from longform.text.documents import segment_documents
from longform.text.segmenter import Segmenter
from longform.types import Document, SegmentBatch

_SEGMENTS = 128
"""Enough for the range of every activation: more changed no decision in what was tried."""
_DOCUMENTS = 64


def calibration_batches(
    segmenter: Segmenter, documents: Sequence[Document], *, pairs: bool, seed: int = 0
) -> list[SegmentBatch]:
    """Draw segments of real documents, one a batch, so that no range is that of padding.

    Args:
        segmenter: The one that the model was trained with.
        documents: Not those that targets are compared on.
        pairs: Whether the model judges two texts together.
        seed: Of the draw.
    """
    sample = documents[:: max(1, len(documents) // _DOCUMENTS)]
    segments = [
        segment
        for document in segment_documents(segmenter, sample, pairs=pairs)
        for segment in document.segments
    ]
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(segments))[:_SEGMENTS]
    pad_id = segmenter.tokenizer.pad_id
    return [collate_segments([segments[index]], pad_id) for index in sorted(chosen)]


def rank_layers(model: LongTextClassifier, batches: Sequence[SegmentBatch]) -> list[str]:
    """Order the linear layers of an encoder by what rounding does to their inputs, worst first.

    With one scale for all inputs of a layer, a few large ones leave no steps for the others: the
    error of rounding to 8 bits, relative to the inputs, shows which layers that concerns.

    Args:
        model: In fp32 on the CPU.
        batches: Segments to look at.

    Returns:
        Names of modules within `model.encoder`.
    """
    peaks: dict[str, float] = {}
    for name, rows in _inputs(model, batches):
        peaks[name] = max(peaks.get(name, 0.0), float(rows.abs().max()))
    errors = dict.fromkeys(peaks, 0.0)
    for name, rows in _inputs(model, batches):
        step = max(peaks[name], 1e-12) / 127.0
        rounded = torch.round(rows / step) * step
        power = float(rows.square().mean())
        errors[name] += float((rounded - rows).square().mean()) / max(power, 1e-12)
    return sorted(errors, key=lambda name: -errors[name])


def call_order(model: LongTextClassifier, batch: SegmentBatch) -> list[str]:
    """Return the linear layers of an encoder in the order in which they are called."""
    return [name for name, _ in _inputs(model, [batch])]


def fallback_counts(layers: int) -> Iterator[int]:
    """Yield how many of the ranked layers to keep in float: none, one, two, four, up to half."""
    yield 0
    count = 1
    while count <= layers // 2:
        yield count
        count *= 2


def _inputs(
    model: LongTextClassifier, batches: Sequence[SegmentBatch]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the inputs of each linear layer, batch by batch."""
    seen: list[tuple[str, Tensor]] = []

    def keep(name: str) -> Any:
        return lambda module, arguments: seen.append((name, arguments[0]))

    hooks = [
        module.register_forward_pre_hook(keep(name))
        for name, module in model.encoder.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        for batch in batches:
            with torch.inference_mode():
                model.encode(
                    torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask)
                )
            yield from seen
            seen.clear()
    finally:
        for hook in hooks:
            hook.remove()
