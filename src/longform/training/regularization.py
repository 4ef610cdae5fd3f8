"""R-Drop and adversarial training: two ways to make answers steady, each for a second pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from longform.models import LongTextClassifier
from longform.models.encoders import PretrainedEncoder
from longform.training.losses import LossFunction

Result = TypeVar("Result")


def consistent_loss(
    loss: LossFunction, alpha: float, logits: tuple[Tensor, Tensor], labels: Tensor
) -> Tensor:
    """Return the R-Drop loss of each document, float32 `[docs]`.

    After Liang et al., "R-Drop: Regularized Dropout for Neural Networks" (2021), with the mean of
    the two losses as in their code, so that the scale is that of one pass. To be summed and divided
    as `LossFunction` does.

    Args:
        loss: Of one pass.
        alpha: How much the divergence counts.
        logits: Of two passes with other dropout, each float `[docs, classes]`.
        labels: As the loss takes them.
    """
    first, second = logits
    both = loss.per_document(first, labels) + loss.per_document(second, labels)
    several = loss.several_labels
    return both / 2 + alpha * symmetric_divergence(first, second, several_labels=several)


def symmetric_divergence(first: Tensor, second: Tensor, *, several_labels: bool) -> Tensor:
    """Return the mean of both Kullback-Leibler divergences of two answers, float32 `[docs]`.

    Args:
        first: float `[docs, classes]`, logits.
        second: float `[docs, classes]`.
        several_labels: Each class is an answer of its own, yes or no; their divergences are summed.
    """
    first, second = (_log_probabilities(item.float(), several_labels) for item in (first, second))
    # KL(p, q) + KL(q, p), written as one sum.
    difference = (first.exp() - second.exp()) * (first - second)
    return difference.flatten(1).sum(dim=1) / 2


def _log_probabilities(logits: Tensor, several_labels: bool) -> Tensor:
    """Return `[docs, classes]`, or `[docs, classes, 2]` where each class is yes or no."""
    if several_labels:
        return torch.stack([functional.logsigmoid(logits), functional.logsigmoid(-logits)], dim=-1)
    return functional.log_softmax(logits, dim=-1)


class Adversary:
    """Moves the token embeddings in the direction that hurts most: the fast gradient method.

    After Miyato et al., "Adversarial Training Methods for Semi-Supervised Text Classification"
    (2017), with the move applied to the embedding table, `epsilon * g / ||g||` over all of it.

    A step is one forward and backward pass `watching` and a second one `attacking`, whose gradients
    are added to those of the first. Both belong to the same micro-batch: gradients
    that were accumulated before neither turn the direction nor are lost. A table that is not
    trained, as with LoRA, is moved all the same and gets no gradient.

    Args:
        tables: Weights of the embeddings.
        epsilon: Length of the move, over all tables.
    """

    def __init__(self, tables: Sequence[Tensor], epsilon: float) -> None:
        self._tables = list(tables)
        self._epsilon = epsilon
        self._directions: list[Tensor | None] = []

    def step(self, compute: Callable[[], Result]) -> Result:
        """Run both passes of a step.

        Args:
            compute: Runs one forward and backward pass.

        Returns:
            What the first pass gave.
        """
        with self.watching():
            result = compute()
        with self.attacking():
            compute()
        return result

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Learn the direction from the gradients of one pass."""
        trained = [table.requires_grad for table in self._tables]
        earlier = [table.grad for table in self._tables]
        for table in self._tables:
            table.requires_grad_(True)
            table.grad = None
        try:
            yield
            self._directions = self._towards_loss()
        finally:
            for table, was_trained, before in zip(self._tables, trained, earlier, strict=True):
                table.requires_grad_(was_trained)
                if not was_trained:
                    table.grad = None
                elif before is not None:
                    table.grad = before if table.grad is None else before.add_(table.grad)

    @contextmanager
    def attacking(self) -> Iterator[None]:
        """Move the tables, and put back exactly what was there."""
        kept = [table.detach().clone() for table in self._tables]
        try:
            with torch.no_grad():
                for table, direction in zip(self._tables, self._directions, strict=True):
                    if direction is not None:
                        table.add_(direction)
            self._directions = []
            yield
        finally:
            with torch.no_grad():
                for table, values in zip(self._tables, kept, strict=True):
                    table.copy_(values)

    def _towards_loss(self) -> list[Tensor | None]:
        gradients = [table.grad for table in self._tables]
        present = [gradient.float() for gradient in gradients if gradient is not None]
        length = torch.stack([item.norm() for item in present]).norm() if present else None
        # A pass without gradient, or one that overflowed in fp16, has no direction.
        if length is None or not bool(length > 0) or not bool(length.isfinite()):
            return [None] * len(gradients)
        scale = self._epsilon / length
        return [None if item is None else (item * scale).to(item.dtype) for item in gradients]


def token_embeddings(model: LongTextClassifier) -> list[Tensor]:
    """Return the weights that turn token ids into vectors; for `bag`, those of token pairs too."""
    encoder: nn.Module = model.encoder
    if isinstance(encoder, PretrainedEncoder):
        # transformers knows which of its tables is that of the tokens.
        encoder = cast(PreTrainedModel, encoder.model).get_input_embeddings()
    return [item.weight for item in encoder.modules() if isinstance(item, nn.Embedding)]
