"""What a student minimises: the loss of the labels and the distance to a teacher's answers.

After Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015). Knows nothing
of bundles: the teacher's answers come as numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from longform.config import DistillationSettings
from longform.training.losses import LossFunction
from longform.types import Floats, Targets

UNLABELLED = -1
"""Class number, or flag of every class, of a document without a label."""


@dataclass(frozen=True, slots=True)
class TargetColumns:
    """What stands where in a row of targets: the labels, then the teacher's answers.

    They travel through collator, Trainer and devices as the `labels` of a batch, so that every way
    to train hands them to the loss unchanged.

    Attributes:
        classes: Of the model.
        is_multi_label: Whether a document may have any number of labels.
        vector_size: Width of the teacher's document vectors, 0 without them.
    """

    classes: int
    is_multi_label: bool
    vector_size: int = 0

    @property
    def labels(self) -> int:
        """Columns that the labels take: one class number, or a flag for each class."""
        return self.classes if self.is_multi_label else 1

    @property
    def total(self) -> int:
        """All columns."""
        return self.labels + self.classes + self.vector_size

    def join(self, labels: Targets, logits: Floats, vectors: Floats | None = None) -> Floats:
        """Return targets float32 `[docs, total]`.

        Args:
            labels: int64 `[labelled]`, or bool `[labelled, classes]`, of the documents that have
                labels; they come first.
            logits: float32 `[docs, classes]`, the teacher's.
            vectors: float32 `[docs, vector_size]`, the teacher's.
        """
        targets = np.full((len(logits), self.total), UNLABELLED, dtype=np.float32)
        targets[: len(labels), : self.labels] = labels.reshape(len(labels), self.labels)
        targets[:, self.labels : self.labels + self.classes] = logits
        if vectors is not None:
            targets[:, self.labels + self.classes :] = vectors
        return targets

    def hold(self, targets: Tensor) -> bool:
        """Tell targets from mere labels, as validation documents have them."""
        return targets.ndim == 2 and targets.shape[-1] == self.total

    def split(self, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return labels as losses take them, the teacher's logits, and its vectors."""
        labels, logits, vectors = targets.split([self.labels, self.classes, self.vector_size], -1)
        return (labels if self.is_multi_label else labels.squeeze(-1).long()), logits, vectors


class DistillationLoss(LossFunction):
    """`hard_share` of the labels' loss and the rest of the divergence from the teacher, times T^2.

    The divergence is Kullback-Leibler's of the teacher's answer from the student's, both softened
    by the temperature T; of several labels, the sum of the binary ones. T^2 keeps its gradients in
    proportion to those of the labels' loss. A document without a label has the second term alone.

    Args:
        hard: The loss of the labels.
        columns: What the targets hold.
        settings: Temperature and weights.
        hint: Draws the student's vectors to the teacher's; None leaves them alone.
    """

    def __init__(
        self,
        hard: LossFunction,
        columns: TargetColumns,
        settings: DistillationSettings,
        hint: VectorHint | None = None,
    ) -> None:
        super().__init__()
        self.several_labels = hard.several_labels
        self._hard = hard
        self._columns = columns
        self._settings = settings
        self._hint = hint

    def mean(self, losses: Tensor, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        """Return the loss of a batch from those of its documents, float `[docs]`."""
        mean = super().mean(losses, labels, num_items_in_batch)
        if not self._columns.hold(labels):
            return mean
        # All columns were counted, of which the teacher's are no items of their own.
        return mean * (self._columns.total / self._columns.labels)

    def per_document(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each document, float32 `[docs]`.

        Args:
            logits: float `[docs, classes]`.
            labels: float `[docs, columns]`, or mere labels.
        """
        if not self._columns.hold(labels):
            return self._hard.per_document(logits, labels)
        own, teacher, vectors = self._columns.split(labels)
        settings = self._settings
        squared = settings.temperature**2
        diverge = binary_divergence if self._columns.is_multi_label else divergence
        soft = squared * diverge(logits.float(), teacher, settings.temperature)
        loss = (1 - settings.hard_share) * soft
        known = own != UNLABELLED if own.ndim == 1 else own[:, 0] != UNLABELLED
        if bool(known.any()):
            hard = self._hard.per_document(logits[known], own[known])
            loss = loss.index_add(0, known.nonzero().squeeze(-1), settings.hard_share * hard)
        if self._hint is not None:
            loss = loss + settings.hidden_weight * self._hint.per_document(vectors)
        return loss


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return KL(teacher || student) of softened class probabilities, `[docs]`.

    Args:
        student: Logits, float32 `[docs, classes]`.
        teacher: The same.
        temperature: Divides both.
    """
    return functional.kl_div(
        functional.log_softmax(student / temperature, dim=-1),
        functional.log_softmax(teacher / temperature, dim=-1),
        reduction="none",
        log_target=True,
    ).sum(dim=-1)


def binary_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return KL(teacher || student) of each class having its label or not, summed, `[docs]`.

    Args:
        student: Logits, float32 `[docs, classes]`.
        teacher: The same.
        temperature: Divides both.
    """
    loss = torch.zeros_like(student)
    for side in (1, -1):
        ours = functional.logsigmoid(side * student / temperature)
        theirs = functional.logsigmoid(side * teacher / temperature)
        loss = loss + theirs.exp() * (theirs - ours)
    return loss.sum(dim=-1)


class VectorHint(nn.Module):
    """Draws a student's mean segment vectors to the teacher's through a learnt projection.

    The mean over a document's segments is compared, and not segment by segment, because teacher and
    student may cut a text differently (after Romero et al., "FitNets", 2015). It lives in the
    student's head while it trains, where optimiser and checkpoints find it.

    Args:
        width: Of the student's segment vectors.
        target_width: Of the teacher's.
    """

    NAME = "distillation_hint"

    def __init__(self, width: int, target_width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, target_width)
        self._projected: Tensor | None = None

    def attach(self, head: nn.Module) -> None:
        """Become a part of the student's head and see what it reads."""
        head.add_module(self.NAME, self)
        self._handle = head.register_forward_pre_hook(self._read)

    def detach(self, head: nn.Module) -> None:
        """Leave the head as it is exported."""
        self._handle.remove()
        self._projected = None
        delattr(head, self.NAME)

    def per_document(self, vectors: Tensor) -> Tensor:
        """Return the mean squared difference from the teacher's vectors, float32 `[docs]`.

        Args:
            vectors: float32 `[docs, target_width]`, each feature standardised over the training
                documents, so that 1 is the loss of knowing nothing.

        Raises:
            RuntimeError: The head has not just read these documents.
        """
        projected = self._projected
        if projected is None or len(projected) != len(vectors):
            raise RuntimeError("the loss of vectors needs the head's last batch")
        return (projected.float() - vectors).square().mean(dim=-1)

    def _read(self, head: nn.Module, arguments: tuple[Any, ...]) -> None:
        if not head.training:
            return
        vectors, mask = arguments[:2]
        real = mask.to(vectors.dtype).unsqueeze(-1)
        mean = (vectors * real).sum(dim=1) / real.sum(dim=1).clamp_min(1)
        self._projected = self.projection(mean)
