"""Ctrl-C and SIGTERM while a model trains: one more checkpoint, then the end."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from longform.reporting import Reporter

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption(TrainerCallback):
    """Ends training after the step in which a signal came, with a checkpoint. A context manager.

    A second signal does what it would have done without this.

    Args:
        reporter: Told what happens.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._previous: dict[int, Any] = {}
        self.received: int | None = None
        self.stops = False
        """Whether training ends after this step; of several processes, all agree on it."""

    def __enter__(self) -> Interruption:
        # Python lets only the main thread set handlers.
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def end(self) -> None:
        """End the program as the signal asked, if one came.

        Raises:
            SystemExit: With 128 and the number of the signal.
        """
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Save and stop where a signal came."""
        if args.world_size == 1:
            self.stops = self.received is not None
        if self.stops:
            control.should_save = True
            control.should_training_stop = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()
        self._reporter.say(
            f"{signal.Signals(number).name}: training stops after this step and keeps a "
            "checkpoint; the same command continues. A second signal stops at once."
        )

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
