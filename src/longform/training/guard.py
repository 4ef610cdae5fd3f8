"""Losses and gradients that are not finite: the step is left out, and the documents are named."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from longform.errors import LongformError
from longform.reporting import Reporter

_NAMED = 8
_LEAST_LOSS_SCALE = 1.0


class TrainingError(LongformError):
    """Training cannot go on; what was kept of it is said."""


class FiniteGuard:
    """Looks at every optimiser step before it is taken.

    A step with a loss or gradient that is not finite would put NaN into every weight. It is left
    out, so that the weights stay those of the last good step. One number is read from the device
    for each optimiser step, none for each batch.

    Args:
        document_ids: Of the training documents, by their numbers.
        most_skipped: Steps in a row that may be left out.
        reporter: Told what was left out, and why.
    """

    def __init__(self, document_ids: Sequence[str], most_skipped: int, reporter: Reporter) -> None:
        self._ids = document_ids
        self._most_skipped = most_skipped
        self._reporter = reporter
        self._pending: list[tuple[Tensor, Tensor]] = []
        self.skipped_in_a_row = 0
        self.skipped = 0

    def record(self, indices: Tensor, losses: Tensor) -> None:
        """Note a batch of the coming step: int64 `[docs]`, and the loss of each, float `[docs]`."""
        self._pending.append((indices.detach(), losses.detach()))

    def forget(self) -> None:
        """Forget the batches of a step that another guard watches."""
        self._pending = []

    def inspect(self, norm: Tensor | float, model: nn.Module, step: int) -> None:
        """Leave the coming step out if its gradient is not finite.

        Args:
            norm: Of the whole gradient, the same on every process.
            model: Whose gradients are dropped.
            step: Number of the optimiser step, from 1.

        Raises:
            TrainingError: Too many steps in a row had to be left out.
        """
        pending, self._pending = self._pending, []
        if bool(torch.isfinite(torch.as_tensor(norm))):
            self.skipped_in_a_row = 0
            return
        for parameter in model.parameters():
            parameter.grad = None
        self.skipped += 1
        self.skipped_in_a_row += 1
        cause = self._describe(pending)
        self._reporter.say(f"Step {step:,} is left out: {cause}. The weights stay as they were.")
        if self.skipped_in_a_row >= self._most_skipped:
            raise TrainingError(
                "The loss and its gradient must be finite.",
                found=f"{self.skipped_in_a_row} steps in a row that are not, up to step {step:,}: "
                f"{cause}",
                fix="The last good state is kept in the checkpoints and continued by the same "
                "command. Look at these documents, lower learning_rate, or set bf16=false.",
            )

    def _describe(self, pending: Sequence[tuple[Tensor, Tensor]]) -> str:
        bad: list[str] = []
        read: list[str] = []
        for indices, losses in pending:
            for index, loss in zip(indices.tolist(), losses.float().tolist(), strict=True):
                read.append(self._ids[index])
                if not torch.isfinite(torch.tensor(loss)):
                    bad.append(self._ids[index])
        bad, read = gather_object(bad), gather_object(read)
        if bad:
            return f"the loss of {_names(bad)} is not finite"
        return f"all losses are finite, but the gradient of {_names(read)} is not"


class LossScaleGuard:
    """Watches the scale of fp16 losses, whose overflows are normal until they do not end.

    Args:
        most_skipped: Steps in a row that may be left out at the lowest scale.
    """

    def __init__(self, most_skipped: int) -> None:
        self._most_skipped = most_skipped
        self.skipped_in_a_row = 0

    def inspect(self, scale: float, skipped: bool) -> None:
        """Look at the scale after an optimiser step.

        Raises:
            TrainingError: No step is taken any more, however low the scale.
        """
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0
        if scale <= _LEAST_LOSS_SCALE and self.skipped_in_a_row >= self._most_skipped:
            raise TrainingError(
                "In fp16 the loss must be small enough for its gradients at some scale.",
                found=f"a loss scale of {scale:g} and {self.skipped_in_a_row} steps in a row left "
                "out",
                fix="Set bf16=true where the device has it, or fp16=false; else lower "
                "learning_rate.",
            )


def _names(ids: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(ids))
    shown = ", ".join(f"'{name}'" for name in distinct[:_NAMED])
    rest = f" and {len(distinct) - _NAMED:,} more" if len(distinct) > _NAMED else ""
    return f"{'document' if len(distinct) == 1 else 'documents'} {shown}{rest}"
