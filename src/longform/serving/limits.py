"""How batches are made; imports nothing, so that the command line may name the settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How batches are made.

    Attributes:
        max_batch_tokens: Most tokens of a batch.
        max_wait_seconds: How long a batch may wait to be filled.
        max_batch_seconds: Most time of a batch while short requests come.
        max_queued_tokens: Most tokens that may wait; None for what is encoded in some seconds.
        quantum: Tokens of a request's turn.
    """

    max_batch_tokens: int = 16_384
    max_wait_seconds: float = 0.0
    max_batch_seconds: float = 0.02
    max_queued_tokens: int | None = None
    quantum: int = 512
