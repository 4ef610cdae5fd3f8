"""What training minimises: one factory for every kind of label and every way to weigh it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from longform.config import ProblemType, TrainingSettings
from longform.types import Floats

_LEAST_DOUBT = 1e-6
"""Below it the focal factor stays as it is: the slope of `doubt ** gamma` at 0 is infinite for a
gamma below 1."""


class LossFunction(ABC):
    """A loss in the form that `transformers.Trainer` calls.

    Losses are summed and divided by a number of items, never by a sum of weights: only then do
    accumulated gradients, the last incomplete group included, and those of several processes
    equal the gradients of one large batch. Balanced class weights average to 1 over the training
    documents, so the scale is that of the unweighted loss.

    Args:
        gamma: Of the focal loss; 0 leaves the cross-entropy as it is (Lin et al., 2017).
        label_smoothing: Share of the probability that is spread over the other answers
            (Szegedy et al., 2016).
        class_weights: float32 `[classes]`; None weighs all alike.

    Attributes:
        several_labels: Whether each class is an answer of its own.
    """

    several_labels = False

    def __init__(
        self,
        gamma: float = 0.0,
        label_smoothing: float = 0.0,
        class_weights: Floats | None = None,
    ) -> None:
        self.gamma = gamma
        self.label_smoothing = label_smoothing
        self.class_weights = (
            None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        )

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            outputs: Of the model, with `logits` float `[docs, classes]`.
            labels: As `per_document` takes them.
            num_items_in_batch: Elements of `labels` in the whole accumulation group, on all
                processes, as the Trainer counts them; None takes the batch for all there is.
        """
        return self.mean(self.per_document(outputs.logits, labels), labels, num_items_in_batch)

    def mean(self, losses: Tensor, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        """Return the loss of a batch from those of its documents, float `[docs]`."""
        count = labels.numel() if num_items_in_batch is None else num_items_in_batch
        return losses.sum() / count

    @abstractmethod
    def per_document(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each document, float32 `[docs]`."""

    def _weights(self, logits: Tensor) -> Tensor | None:
        return None if self.class_weights is None else self.class_weights.to(logits.device)

    def _focus(self, loss: Tensor, log_probability: Tensor) -> Tensor:
        """Let what is already answered right count for less.

        Args:
            loss: Of any shape.
            log_probability: Of the right answer, of the same shape.
        """
        if self.gamma == 0:
            return loss
        doubt = -torch.expm1(log_probability)
        return doubt.clamp_min(_LEAST_DOUBT) ** self.gamma * loss


class SingleLabelLoss(LossFunction):
    """Cross-entropy over the classes, each document weighed by the weight of its class."""

    def per_document(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each document, float32 `[docs]`.

        Args:
            logits: float `[docs, classes]`.
            labels: int64 `[docs]`, class numbers.
        """
        logits = logits.float()
        loss = functional.cross_entropy(
            logits, labels, label_smoothing=self.label_smoothing, reduction="none"
        )
        if self.gamma != 0:
            own = functional.log_softmax(logits, dim=-1).gather(-1, labels.unsqueeze(-1))
            loss = self._focus(loss, own.squeeze(-1))
        weights = self._weights(logits)
        return loss if weights is None else loss * weights[labels]


class MultiLabelLoss(LossFunction):
    """Binary cross-entropy of each class; a class weight multiplies its positive documents.

    Label smoothing moves each answer towards 1/2. The loss of a batch is the mean over documents
    and classes.
    """

    several_labels = True

    def per_document(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each document, float32 `[docs]`, summed over the classes.

        Args:
            logits: float `[docs, classes]`.
            labels: float `[docs, classes]`, 1 where a document has the label and 0 elsewhere.
        """
        logits = logits.float()
        targets = labels.float()
        smoothed = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        loss = functional.binary_cross_entropy_with_logits(
            logits, smoothed, pos_weight=self._weights(logits), reduction="none"
        )
        right = torch.where(targets > 0.5, logits, -logits)
        return self._focus(loss, functional.logsigmoid(right)).sum(dim=-1)


_LOSSES: dict[ProblemType, type[LossFunction]] = {
    "single_label_classification": SingleLabelLoss,
    "multi_label_classification": MultiLabelLoss,
}


def build_loss(
    settings: TrainingSettings,
    problem_type: ProblemType = "single_label_classification",
    class_weights: Floats | None = None,
) -> LossFunction:
    """Return the loss that the settings ask for.

    Args:
        settings: `focal_gamma` and `label_smoothing_factor` are read.
        problem_type: One label a document, or any number.
        class_weights: float32 `[classes]`, from `data.sampling.class_weights`; None weighs all
            alike.
    """
    return _LOSSES[problem_type](
        settings.focal_gamma, settings.label_smoothing_factor, class_weights
    )
