"""What can be served, said by what the service asks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from longform.backends.base import BackendInfo, DeviceState
from longform.bundle import BundleDescription
from longform.decision.evidence import EvidenceOptions
from longform.decision.rule import DecisionRule
from longform.inference.cache import CacheStatistics
from longform.inference.scorer import CascadeStatistics, EncodedSegments, Further, Reading
from longform.types import Document, Prediction, Segment, SegmentedDocument


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

    @property
    def cascade_statistics(self) -> CascadeStatistics | None:
        """What stopped early so far; None of a model that is no cascade."""
        ...

    @property
    def devices(self) -> int:
        """Batches that may run at once, each called from a thread of its own."""
        ...

    @property
    def is_available(self) -> bool:
        """Whether a device takes batches now; one in this process always does."""
        ...

    @property
    def device_states(self) -> list[DeviceState]:
        """The devices in processes of their own."""
        ...

    def segment(self, documents: Sequence[Document]) -> Sequence[SegmentedDocument]:
        """Cut documents into segments, of which each has one at least.

        Raises:
            InputError: A document cannot be read.
        """
        ...

    def encode_segments(self, segments: Sequence[Segment]) -> EncodedSegments:
        """Encode segments of any documents."""
        ...

    def conclude(
        self,
        documents: Sequence[Document],
        readings: Sequence[Reading],
        *,
        evidence: bool | EvidenceOptions = False,
        raw_scores: bool = False,
    ) -> Sequence[Prediction | Further]:
        """Answer documents, in order, from what was read of them, or ask for more of them."""
        ...

    def pending_audits(self) -> list[Document]:
        """Hand out documents to be read once more at leisure; their answers go to nobody."""
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
