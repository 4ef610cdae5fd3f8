"""What can be served, said by what the service asks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from longform.backends.base import BackendInfo
from longform.bundle import BundleDescription
from longform.decision.rule import DecisionRule
from longform.inference.cache import CacheStatistics
from longform.types import Document, Prediction


class ServedBundle(Protocol):
    """What the service needs to know of a bundle."""

    @property
    def description(self) -> BundleDescription:
        """What kind of model it is."""
        ...

    @property
    def digest(self) -> str:
        """Digest of the bundle's manifest."""
        ...


class Predictor(Protocol):
    """What is served; `longform.inference.predictor.Predictor` fulfils it."""

    @property
    def bundle(self) -> ServedBundle:
        """The bundle that the answers come from."""
        ...

    @property
    def rule(self) -> DecisionRule:
        """How labels are decided, and which there are."""
        ...

    @property
    def backend_info(self) -> BackendInfo:
        """What the model runs on."""
        ...

    @property
    def cache_statistics(self) -> CacheStatistics | None:
        """What the cache of segment vectors did so far; None without one."""
        ...

    def predict(self, texts: Sequence[Document], *, evidence: bool = False) -> list[Prediction]:
        """Answer each document, in order."""
        ...

    def warm_up(self) -> None:
        """Run every shape once, so that the first request is not slower than the others."""
        ...

    def check_golden(self) -> float | None:
        """Refuse, by raising, a device that does not give the answers stored in the bundle."""
        ...

    def close(self) -> None:
        """Free what the backend holds."""
        ...
