"""Memory of a training step: planned before, and made do with when it runs out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from longform.config import LOOK_UP_ENCODERS, RunConfig
from longform.models import LongTextClassifier
from longform.reporting import Reporter
from longform.training.gradient_cache import (
    KEEP_ALL,
    LARGER,
    LARGER_LOOKED_UP,
    PiecewiseEncoding,
)
from longform.training.guard import TrainingError
from longform.training.memory import (
    SHARE,
    free_bytes,
    is_out_of_memory,
    release_cached,
    saved_bytes_per_token,
)

Result = TypeVar("Result")
_PROBED_SEGMENTS = 4


class MemoryRecovery:
    """Encodes in pieces that fit, smaller ones when they do not, and says so.

    What is given up, in this order: activations that are kept, the size of a piece, the activations
    within a piece. Never a document, and never a token.

    Args:
        model: A `LongTextClassifier`, or a head alone, of which nothing can be divided.
        config: `two_pass`, `micro_batch_tokens`, `gradient_checkpointing` and `rdrop_alpha` are
            read.
        device: Where it trains.
        reporter: Told what fits, and what did not.
    """

    def __init__(
        self, model: nn.Module, config: RunConfig, device: torch.device, reporter: Reporter
    ) -> None:
        self._model = model
        self._device = device
        self._reporter = reporter
        self._two_pass = config.two_pass
        self._divided = config.fsdp
        # R-Drop keeps the activations of two passes until it compares them.
        self._passes = 2 if config.rdrop_alpha > 0 else 1
        self._longest = 1
        self._checkpoints_layers = False
        self.encoding: PiecewiseEncoding | None = None
        if isinstance(model, LongTextClassifier):
            self.encoding = PiecewiseEncoding(
                config.micro_batch_tokens,
                0 if config.two_pass else KEEP_ALL,
                LARGER_LOOKED_UP if config.encoder in LOOK_UP_ENCODERS else LARGER,
            )
            model.encode_segments = self.encoding
            if config.gradient_checkpointing:
                self._checkpoint_layers()

    def plan(
        self,
        documents: Any,
        largest: Sequence[Sequence[int]],
        precision: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        """Decide how much of a batch may keep its activations, by what is free.

        Args:
            documents: The training dataset, with `sizes`.
            largest: Numbers of the documents of the largest batches.
            precision: Context in which the encoder computes.
        """
        if self.encoding is None or not isinstance(self._model, LongTextClassifier):
            return
        self._longest = int(documents.sizes[:, 1].max())
        if self._two_pass is not None or self._divided:
            return
        most = max(int(documents.sizes[list(batch)].prod(axis=1).sum()) for batch in largest)
        ids = torch.zeros((_PROBED_SEGMENTS, self._longest), dtype=torch.int64, device=self._device)
        self._model.train()
        with precision():
            each = self._passes * saved_bytes_per_token(
                self._model.encode, self._model.encoder, (ids, torch.ones_like(ids))
            )
        neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if self._device.type == "cpu" else 1
        budget = SHARE * free_bytes(self._device) / neighbours
        fits = int(budget / max(each, 1e-9))
        self.encoding.kept_tokens = KEEP_ALL if most <= fits else fits
        if most > fits:
            self._reporter.say(
                f"Memory: a token takes {each / 1024:,.0f} KB in training and {fits:,} tokens fit; "
                f"of the largest batch, {most:,} tokens, the rest is encoded twice (two_pass)."
            )

    def gradients(self, step: Callable[[], Result], restartable: bool) -> Result:
        """Run forward and backward pass, again in smaller pieces where memory runs out.

        Args:
            step: Adds the gradients of a batch to those that are there.
            restartable: Whether the processes can wait while this one begins again.

        Raises:
            TrainingError: Nothing is left to divide.
        """
        if not restartable:
            return step()
        parameters = [value for value in self._model.parameters() if value.requires_grad]
        # Set aside, so that a step which fails half-way leaves no part of its gradients in them.
        earlier = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None

        def begin_again() -> None:
            for parameter in parameters:
                parameter.grad = None

        result = self.run(step, begin_again)
        for parameter, gradient in zip(parameters, earlier, strict=True):
            if gradient is None:
                continue
            if parameter.grad is not None:
                gradient += parameter.grad
            parameter.grad = gradient
        return result

    def run(
        self, step: Callable[[], Result], begin_again: Callable[[], None] = lambda: None
    ) -> Result:
        """Run a step, again in smaller pieces where memory runs out.

        Raises:
            TrainingError: Nothing is left to divide.
        """
        state = _random_state(self._device)
        while True:
            try:
                return step()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                failure = " ".join(str(error).split())[:200]
            # Here, outside of the handler, the failed step's tensors are gone with its traceback.
            begin_again()
            release_cached(self._device)
            self._divide(failure)
            _set_random_state(self._device, state)

    def _divide(self, failure: str) -> None:
        if self.encoding is not None and self.encoding.shrink(self._longest):
            self._reporter.say(
                f"Memory ran out ({failure}). Segments are now encoded twice, in pieces of "
                f"{self.encoding.micro_batch_tokens:,} tokens; the same documents are read again."
            )
        elif self.encoding is not None and not self._checkpoints_layers:
            self._checkpoint_layers()
            self._reporter.say(
                f"Memory ran out ({failure}). Only the inputs of each layer are kept now "
                "(gradient_checkpointing); the same documents are read again."
            )
        else:
            raise TrainingError(
                "A training step must fit the memory.",
                found=failure,
                fix="Lower segment_length or per_device_train_batch_size, or take a smaller "
                "encoder; the same command continues from the last checkpoint.",
            )

    def _checkpoint_layers(self) -> None:
        self._checkpoints_layers = True
        inner = getattr(getattr(self._model, "encoder", None), "model", None)
        if inner is not None and getattr(inner, "supports_gradient_checkpointing", False):
            inner.gradient_checkpointing_enable({"use_reentrant": False})


def _random_state(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type != "cpu":
        states.append(getattr(torch, device.type).get_rng_state(device))
    return states


def _set_random_state(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type != "cpu":
        getattr(torch, device.type).set_rng_state(states[1], device)
