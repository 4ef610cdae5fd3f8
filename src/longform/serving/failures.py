"""Why a request gets no answer, beside what is wrong with itself."""

from __future__ import annotations

import math

from longform.errors import LongformError

_LONGEST_RETRY = 60


class OverloadedError(LongformError):
    """As much work is waiting as the service takes.

    Args:
        rule: What must hold.
        found: What was found.
        retry_after: Seconds after which a client may try again, as well as can be told.

    Attributes:
        retry_after: The same in whole seconds, from 1 to 60.
    """

    def __init__(self, rule: str, *, found: str = "", retry_after: float = 1.0) -> None:
        self.retry_after = min(max(math.ceil(retry_after), 1), _LONGEST_RETRY)
        super().__init__(rule, found=found, fix=f"Try again in {self.retry_after} s.")


class NotReadyError(LongformError):
    """The service is starting, stopping, or has failed."""


class BackendFailureError(LongformError):
    """Inference failed for a reason that the client cannot mend."""
