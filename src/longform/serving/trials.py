"""A version on trial: which requests it gets, what it is measured by, when it is taken back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

TrialKind = Literal["canary", "shadow"]


@dataclass(frozen=True, slots=True)
class TrialRules:
    """When a canary is taken back without being asked.

    Attributes:
        most_errors: Share of failed requests that is too much.
        least_agreement: Share of documents labelled as by the current version that is too little.
        least_requests: Requests before either is judged.
    """

    most_errors: float = 0.02
    least_agreement: float = 0.9
    least_requests: int = 50


class Trial:
    """The counts of one version on trial.

    Args:
        kind: `canary` answers its share of the requests; `shadow` is asked and never answers.
        version: The version.
        share: Of the requests, from 0 to 1.
        rules: When it is taken back.
    """

    def __init__(self, kind: TrialKind, version: str, share: float, rules: TrialRules) -> None:
        self.kind: TrialKind = kind
        self.version = version
        self.share = share
        self.rules = rules
        self.requests = self.errors = self.compared = self.agreed = 0
        self.ended_because: str | None = None
        self._seen = 0.0
        self._lock = threading.Lock()

    def takes_next(self) -> bool:
        """Tell whether a canary gets the next request: evenly, so that the share is exact."""
        return self.kind == "canary" and self._is_next()

    def shadows_next(self) -> bool:
        """Tell whether a shadow is asked beside the next request."""
        return self.kind == "shadow" and self._is_next()

    def note_request(self, *, failed: bool) -> None:
        """Count a request to the version on trial."""
        with self._lock:
            self.requests += 1
            self.errors += failed

    def note_labels(self, ours: Sequence[str], theirs: Sequence[str]) -> None:
        """Count documents that both versions labelled."""
        with self._lock:
            self.compared += len(ours)
            self.agreed += sum(one == other for one, other in zip(ours, theirs, strict=True))

    @property
    def agreement(self) -> float | None:
        """Share of documents with the same label; None before any."""
        return self.agreed / self.compared if self.compared else None

    def reason_to_end(self) -> str | None:
        """Say why a canary must be taken back; None when it need not."""
        if self.kind != "canary":
            return None
        rules = self.rules
        if (
            self.requests >= rules.least_requests
            and self.errors > rules.most_errors * self.requests
        ):
            return f"{self.errors} of {self.requests} requests failed"
        agreement = self.agreement
        if (
            agreement is not None
            and self.compared >= rules.least_requests
            and agreement < rules.least_agreement
        ):
            return f"{100 * agreement:.1f} % of {self.compared} documents have the same label"
        return None

    def _is_next(self) -> bool:
        with self._lock:
            self._seen += self.share
            if self._seen < 1 - 1e-9:
                return False
            self._seen -= 1
            return True
