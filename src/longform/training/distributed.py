"""Several processes: gradients exchanged once a step, and a slow or dead process named.

torch's own wrapper exchanges gradients while they are computed, so that a process which must
compute them again, because its memory ran out, would leave the others waiting. Here each process
computes its own first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from longform.training.processes import lost_process

_BUCKET_ELEMENTS = 25_000_000


class GradientExchange:
    """Averages the gradients of all processes. Every process must create one, and call it.

    Args:
        timeout: Seconds that processes wait for the slowest.
    """

    def __init__(self, timeout: int) -> None:
        self._timeout = timedelta(seconds=timeout)
        # Only gloo can tell who is missing; it needs no device.
        self._watch = dist.new_group(backend="gloo", timeout=self._timeout)

    def __call__(self, model: nn.Module) -> None:
        """Average the gradients in place.

        Args:
            model: Whose gradients; absent ones count as zeros.

        Raises:
            TrainingError: A process is gone, or later than the timeout; it is named where the
                others know it.
        """
        self.wait()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        try:
            for bucket in _buckets(trained):
                _average(bucket)
        except RuntimeError as error:
            raise lost_process(error) from error

    def wait(self) -> None:
        """Wait for all processes.

        Raises:
            TrainingError: As when called.
        """
        try:
            dist.monitored_barrier(self._watch, timeout=self._timeout, wait_all_ranks=True)
        except RuntimeError as error:
            raise lost_process(error) from error


def anyone(wish: bool, device: torch.device) -> bool:
    """Tell whether any process has a wish. Every process must call it."""
    wishes = torch.tensor(float(wish), device=device)
    dist.all_reduce(wishes)
    return bool(wishes.item() > 0)


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    elements = 0
    for parameter in parameters:
        bucket.append(parameter)
        elements += parameter.numel()
        if elements >= _BUCKET_ELEMENTS:
            yield bucket
            bucket, elements = [], 0
    if bucket:
        yield bucket


def _average(parameters: list[nn.Parameter]) -> None:
    gradients = [
        parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        for parameter in parameters
    ]
    flat: Tensor = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    parts = flat.split([parameter.numel() for parameter in parameters])
    for parameter, gradient, part in zip(parameters, gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
        parameter.grad = gradient
