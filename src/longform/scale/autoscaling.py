"""How many replicas the waiting tokens ask for: the policy that Ray Serve's controller calls."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

QUEUED_TOKENS = "queued_tokens"
"""Under which each replica tells the tokens that it still has to encode."""

logger = logging.getLogger("ray.serve")


class ScalingContext(Protocol):
    """What is read of Ray Serve's `AutoscalingContext`."""

    @property
    def aggregated_metrics(self) -> Mapping[str, Mapping[Any, float]] | None:
        """What the replicas told, averaged over the window: metric -> replica -> value."""
        ...

    @property
    def target_num_replicas(self) -> int:
        """As many as were wanted so far."""
        ...


class QueuedTokensPolicy:
    """Wants so many replicas that each has `target_queued_tokens` to encode.

    Tokens tell the work that waits; requests do not, when one holds a sentence and the next a
    book. Bounds and delays are applied to the answer by Ray Serve. Tokens of a request stay with
    the replica that took it: new replicas take the requests to come.

    Args:
        target_queued_tokens: Of one replica; its pace times the seconds that a request may wait.
    """

    def __init__(self, target_queued_tokens: int) -> None:
        self._target = target_queued_tokens
        self._has_warned = False

    def __call__(self, context: ScalingContext) -> tuple[float, dict[str, Any]]:
        """Return the replicas that are wanted, and what is to be remembered: nothing."""
        told = (context.aggregated_metrics or {}).get(QUEUED_TOKENS)
        if told:
            self._has_warned = False
            return sum(told.values()) / self._target, {}
        # Another measure in its place would scale on what nobody asked for.
        if not self._has_warned:
            logger.warning(
                "No replica has told its queued tokens yet: their number stays at %d.",
                context.target_num_replicas,
            )
            self._has_warned = True
        return context.target_num_replicas, {}
