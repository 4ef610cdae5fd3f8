"""A Trainer that knows where its time goes: waiting for data, computing, validating, saving."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import Trainer

from longform.reporting import Reporter
from longform.training.profiling import named_range

PREPARING, ENCODING = "preparing", "encoding segments"
DATA, COMPUTE = "waiting for data", "computing"
EXCHANGE, VALIDATION, SAVING = "exchanging gradients", "validation", "saving"
_PHASES = (PREPARING, ENCODING, DATA, COMPUTE, EXCHANGE, VALIDATION, SAVING)
_STEPPING = (DATA, COMPUTE, EXCHANGE)

_MUCH_WAITING = 0.2
_LEAST_WAITING = 5.0
"""Seconds of waiting below which nobody needs to hear of it."""
_LITTLE_USE = 0.7
"""Share of the time in which an accelerator should have work."""


class RunWatch:
    """Counts the documents and the seconds of a training run, without asking the device anything.

    On an accelerator the host runs ahead of the device: `waiting for data` is time in which the
    host waited, the most that the device can have lost.
    """

    def __init__(self) -> None:
        self.documents = 0
        self.seconds: dict[str, float] = {}
        self._busy = False
        self._utilization: list[float] = []
        self._can_sample = True
        self._started = 0.0
        self._mark = (0, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of a phase. What runs inside another phase belongs to that one."""
        if self._busy:
            yield
            return
        self._busy = True
        started = time.perf_counter()
        try:
            yield
        finally:
            self._busy = False
            self.add(name, time.perf_counter() - started)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Count what is left of a time, when its phases are taken out, as computing."""
        started, before = time.perf_counter(), sum(self.seconds.values())
        self._started = started - before
        self._mark = (self.documents, 0.0)
        try:
            yield
        finally:
            inside = sum(self.seconds.values()) - before
            self.add(COMPUTE, time.perf_counter() - started - inside)

    def documents_per_second(self) -> float:
        """Return the speed since the last call, validation and saving left aside."""
        aside = sum(value for name, value in self.seconds.items() if name not in _STEPPING)
        seconds = time.perf_counter() - self._started - aside
        documents, until = self._mark
        self._mark = (self.documents, seconds)
        return (self.documents - documents) / max(seconds - until, 1e-9)

    def sample_utilization(self, device: torch.device) -> float | None:
        """Ask an accelerator how busy it was; never again once it cannot tell.

        The counter is the share of the last sampling period in which any kernel ran: a busy device
        may still use little of its arithmetic.

        Returns:
            The share, or None where nothing tells.
        """
        if device.type == "cpu" or not self._can_sample:
            return None
        try:
            self._utilization.append(float(getattr(torch, device.type).utilization()) / 100)
        except (AttributeError, ImportError, RuntimeError, OSError):
            self._can_sample = False
            return None
        return self._utilization[-1]

    @property
    def utilization(self) -> float | None:
        """Mean share of the time in which the accelerator had work; None where nothing can tell."""
        return sum(self._utilization) / len(self._utilization) if self._utilization else None

    def account(self) -> dict[str, Any]:
        """Return the seconds of each phase, and the use of the accelerator where it is known."""
        known = (name for name in _PHASES if name in self.seconds)
        account: dict[str, Any] = {"time": {name: round(self.seconds[name], 2) for name in known}}
        stepping = sum(self.seconds.get(name, 0.0) for name in _STEPPING)
        if stepping > 0:
            account["documents_per_second"] = float(f"{self.documents / stepping:.4g}")
        if self.utilization is not None:
            account["utilization"] = round(self.utilization, 3)
        return account

    def warn(self, reporter: Reporter) -> None:
        """Say what kept the device from computing, if anything did."""
        waited = self.seconds.get(DATA, 0.0)
        share = waited / (sum(self.seconds.get(name, 0.0) for name in _STEPPING) or 1.0)
        if share > _MUCH_WAITING and waited > _LEAST_WAITING:
            reporter.say(
                f"Warning: {100 * share:.0f} % of the steps' time went into waiting for data, "
                "which one CPU core pads and stacks. Likely cause: documents of very different "
                "lengths in a batch (set train_batch_tokens), or other work on the CPU."
            )
        if self.utilization is not None and self.utilization < _LITTLE_USE:
            cause = (
                "it waits for data"
                if share > _MUCH_WAITING
                else "batches too small to fill it (raise per_device_train_batch_size or "
                "micro_batch_tokens)"
            )
            reporter.say(
                f"Warning: the device had work in {100 * self.utilization:.0f} % of the time only "
                f"(share of time in which any kernel ran). Likely cause: {cause}."
            )


class ObservedTrainer(Trainer):
    """A Trainer whose time is counted.

    Args:
        watch: Counts it.
        **kwargs: As `transformers.Trainer` takes them.
    """

    def __init__(self, watch: RunWatch, **kwargs: Any) -> None:
        self.watch = watch
        super().__init__(**kwargs)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as transformers does."""
        with self.watch.whole():
            return super().train(*args, **kwargs)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Collect the batches of one step, and count their documents."""
        with self.watch.phase(DATA), named_range("data"):
            samples, items = super().get_batch_samples(*args, **kwargs)
        # Shapes are known on the host: counting them waits for no device.
        documents = sum(len(batch["labels"]) for batch in samples)
        self.watch.documents += documents * self.args.world_size
        return samples, items

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Validate as transformers does."""
        with self.watch.phase(VALIDATION), named_range(VALIDATION):
            return super().evaluate(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predict as transformers does."""
        with self.watch.phase(VALIDATION):
            return super().predict(*args, **kwargs)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        with self.watch.phase(SAVING), named_range(SAVING):
            return super()._save_checkpoint(*args, **kwargs)


def peak_memory(device: torch.device) -> dict[str, int]:
    """Return the most bytes that were in use: of this process, and on its accelerator."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if device.type != "cpu":
        peak[device.type] = int(getattr(torch, device.type).max_memory_allocated())
    return peak
