"""What the engine tells of its batches, and whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What one batch was.

    Attributes:
        segments: Segments in it.
        requests: Requests that they belong to.
        tokens: Tokens encoded.
        padded_tokens: The same with padding.
        fill: Tokens taken, of those that the batch might have had.
        seconds: Time on the device.
    """

    segments: int
    requests: int
    tokens: int
    padded_tokens: int
    fill: float
    seconds: float


class EngineWatcher(Protocol):
    """Who wants to know what the engine does; called on its threads."""

    def batch_done(self, report: BatchReport) -> None:
        """Take note of a batch."""

    def request_dropped(self) -> None:
        """Take note of a request whose client left before its answer."""

    def backend_failed(self) -> None:
        """A batch failed for no reason that a client can mend."""

    def device_died(self, error: BaseException) -> None:
        """A device thread has ended."""
