"""What each token adds to a logit, through the encoder and the head of the whole document.

Integrated gradients (Sundararajan et al., "Axiomatic Attribution for Deep Networks", 2017): all
token embeddings of the document move together along a straight line, from a baseline to what they
are, and the gradient of the logit is averaged along it. Their terms sum to the logit less that of
the baseline, but for the error of averaging at a few points.

Each point takes two passes, so that memory does not grow with the document but for one vector a
segment: the first encodes the segments and takes the gradient at their vectors; the second encodes
each batch once more and lets its part of that gradient flow on to the embeddings (the scheme of
Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from longform.models.aggregators import AttentionAggregator
from longform.models.bag import BagEncoder
from longform.models.classifier import LongTextClassifier
from longform.models.pretrained import PretrainedEncoder
from longform.models.static import StaticEncoder

STEPS = 8
"""Points at which the gradient is taken at first."""
MOST_STEPS = 32
"""Points at which it is taken at last, 56 in all: they are doubled until the gap is small."""
GAP_SHARE = 0.05
"""What the terms may miss, as a share of what they are to sum to."""
_LEAST_GAP = 0.01
"""Logits that are no gap: of a document that is worth nothing, every share is large."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenBatch:
    """Segments of one document that are encoded together.

    Attributes:
        rows: int64 `[n]`, which of the document's segments they are.
        input_ids: int64 `[n, tokens]`.
        attention_mask: int64 `[n, tokens]`.
        text_mask: bool `[n, tokens]`, True for tokens of the text: special tokens, a prefix and
            padding stay as they are, and have no part.
    """

    rows: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    text_mask: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Attributions:
    """The terms of a document.

    Attributes:
        tokens: float64 `[n, tokens]` of each batch, zeros for what is not of the text.
        logit: Of the document.
        base: Logit of the baseline.
        steps: Points at which the gradient was taken.
    """

    tokens: list[Tensor]
    logit: float
    base: float
    steps: int

    @property
    def is_close(self) -> bool:
        """Whether the terms miss no more than `GAP_SHARE` of what they are to sum to."""
        whole = self.logit - self.base
        gap = whole - sum(float(terms.sum()) for terms in self.tokens)
        return abs(gap) <= max(GAP_SHARE * abs(whole), _LEAST_GAP)


@dataclass(slots=True, eq=False)
class _Table:
    """A table of embeddings whose rows are moved towards the baseline as they are looked up."""

    module: nn.Module
    baseline: Tensor
    is_pairs: bool
    reached: Tensor = field(default_factory=lambda: torch.empty(0))
    direction: Tensor = field(default_factory=lambda: torch.empty(0))


class TokenAttributor:
    """Splits logits of a model over the tokens of documents.

    Args:
        model: In evaluation mode. Its parameters take no gradients from here on.
        baseline_id: The token whose embedding stands for nothing; None takes zeros.
        steps: Points at which the gradient is taken at first, at least 1.
        most_steps: Points at which it is taken at last, doubled while the terms miss too much.
    """

    def __init__(
        self,
        model: LongTextClassifier,
        baseline_id: int | None = None,
        steps: int = STEPS,
        most_steps: int = MOST_STEPS,
    ) -> None:
        self._model = model.requires_grad_(False)
        self._tables = list(_tables(model, baseline_id))
        self._steps = steps
        self._most_steps = most_steps

    def __call__(
        self, batches: Sequence[TokenBatch], positions: Tensor, direction: Tensor
    ) -> Attributions:
        """Split one logit of a document.

        Args:
            batches: All of its segments.
            positions: float `[segments, 4]`.
            direction: float `[labels]`; what is split is the product of the logits with it.
        """

        def read(vectors: Tensor) -> Tensor:
            mask = torch.ones(1, len(vectors), device=vectors.device)
            logits = self._model.head(vectors.unsqueeze(0), mask, positions.unsqueeze(0))
            return (logits[0] * direction).sum()

        # Recurrent layers of cuDNN have gradients in training mode only.
        with torch.backends.cudnn.flags(enabled=False), self._own_tables():
            with torch.no_grad():
                logit, base = (
                    float(read(self._encode(batches, len(positions), share)))
                    for share in (1.0, 0.0)
                )
            steps = self._steps
            while True:
                tokens = self._integrate(batches, len(positions), read, steps)
                found = Attributions(tokens, logit, base, steps)
                if found.is_close or 2 * steps > self._most_steps:
                    return found
                steps *= 2

    def _integrate(
        self,
        batches: Sequence[TokenBatch],
        segments: int,
        read: Callable[[Tensor], Tensor],
        steps: int,
    ) -> list[Tensor]:
        """Return the terms of each batch by the rule of Gauss and Legendre, `[n, tokens]`."""
        found = [torch.zeros(item.text_mask.shape, dtype=torch.float64) for item in batches]
        points, weights = np.polynomial.legendre.leggauss(steps)
        for share, weight in zip((points + 1) / 2, weights / 2, strict=True):
            vectors = self._encode(batches, segments, share).requires_grad_()
            (gradient,) = torch.autograd.grad(read(vectors), vectors)
            for batch, total in zip(batches, found, strict=True):
                total += weight * self._pull_back(batch, gradient[batch.rows], share)
        return found

    def _encode(self, batches: Sequence[TokenBatch], segments: int, share: float) -> Tensor:
        """Return the segments' vectors, float `[segments, width]`, at a share of the way."""
        rows = torch.empty(
            segments, self._model.config.vector_size, device=batches[0].input_ids.device
        )
        with torch.no_grad():
            for batch in batches:
                with self._moved(batch, share):
                    rows[batch.rows] = self._model.encode(batch.input_ids, batch.attention_mask)
        return rows

    def _pull_back(self, batch: TokenBatch, gradient: Tensor, share: float) -> Tensor:
        """Return what the gradient at the vectors makes of each token, float64 `[n, tokens]`."""
        with torch.enable_grad(), self._moved(batch, share, with_gradient=True):
            vectors = self._model.encode(batch.input_ids, batch.attention_mask)
        reached = [table.reached for table in self._tables]
        slopes = torch.autograd.grad(vectors, reached, gradient)
        total = torch.zeros(batch.text_mask.shape, dtype=torch.float64)
        for table, slope in zip(self._tables, slopes, strict=True):
            terms = (slope * table.direction).sum(dim=-1).double().cpu()
            total += _share_pairs(terms, batch.text_mask.cpu()) if table.is_pairs else terms
        return total

    @contextmanager
    def _moved(
        self, batch: TokenBatch, share: float, *, with_gradient: bool = False
    ) -> Iterator[None]:
        """Let the tables give embeddings that are a share of the way from the baseline."""

        def mover(table: _Table) -> Callable[[nn.Module, object, Tensor], Tensor]:
            def move(module: nn.Module, arguments: object, output: Tensor) -> Tensor:
                moves = _pair_mask(batch.text_mask) if table.is_pairs else batch.text_mask
                table.direction = (output - table.baseline) * moves.unsqueeze(-1)
                table.reached = (output - (1.0 - share) * table.direction).detach()
                if with_gradient:
                    table.reached.requires_grad_()
                return table.reached

            return move

        hooks = [table.module.register_forward_hook(mover(table)) for table in self._tables]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def _own_tables(self) -> Iterator[None]:
        """Let encoders that fuse look-up and sum look their rows up one by one."""
        encoder = self._model.encoder
        if not isinstance(encoder, BagEncoder | StaticEncoder):
            yield
            return
        encoder.fused = False
        try:
            yield
        finally:
            encoder.fused = True


def attention_weights(model: LongTextClassifier, vectors: Tensor, positions: Tensor) -> Tensor:
    """Return how much each segment counts for each head of the aggregator `attention`.

    Args:
        model: In evaluation mode.
        vectors: float `[segments, width]` of one document.
        positions: float `[segments, 4]`.

    Returns:
        float `[segments, heads]`; each head's weights sum to 1.

    Raises:
        ValueError: The aggregator is another one.
    """
    head = model.head
    if not isinstance(head.aggregator, AttentionAggregator):
        raise ValueError("only the aggregator 'attention' has attention weights")
    mask = torch.ones(1, len(vectors), device=vectors.device)
    with torch.inference_mode():
        placed = head.placed(vectors.unsqueeze(0), mask, positions.unsqueeze(0))
        return head.aggregator.weights(placed, mask)[0]


def _tables(model: LongTextClassifier, baseline_id: int | None) -> Iterator[_Table]:
    encoder: Any = model.encoder
    is_pretrained = isinstance(encoder, PretrainedEncoder)
    tokens: Any = encoder.model.get_input_embeddings() if is_pretrained else encoder.tokens
    weight: Tensor = tokens.weight
    yield _Table(
        tokens, torch.zeros_like(weight[0]) if baseline_id is None else weight[baseline_id], False
    )
    if isinstance(encoder, BagEncoder):
        yield _Table(encoder.pairs, torch.zeros_like(encoder.pairs.weight[0]), True)


def _pair_mask(text_mask: Tensor) -> Tensor:
    """Return where a token or the one after it is of the text, bool `[n, tokens]`."""
    return text_mask | nn.functional.pad(text_mask[:, 1:], (0, 1))


def _share_pairs(terms: Tensor, text_mask: Tensor) -> Tensor:
    """Give each pair's term to its two tokens, half and half, or to the one of the text."""
    following = nn.functional.pad(text_mask[:, 1:], (0, 1))
    half = terms / (text_mask.to(terms.dtype) + following.to(terms.dtype)).clamp_min(1.0)
    first = half * text_mask
    second = nn.functional.pad((half * following)[:, :-1], (1, 0))
    return first + second
