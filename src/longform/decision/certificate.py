"""A bound on the harm of stopping early that holds with a stated confidence, and its record.

Learn-then-Test (A. Angelopoulos, S. Bates, E. Candes, M. Jordan, L. Lei, "Learn then Test:
Calibrating Predictive Algorithms to Achieve Risk Control", 2021) with fixed-sequence testing:
thresholds are tried in an order that does not depend on the documents, from those at which nearly
nothing stops early to aggressive ones; each is a hypothesis "the risk is above epsilon", rejected
while the exact binomial p-value is at most delta. The first that is not rejected ends the
sequence, and the last rejected one is taken: with probability 1 - delta over the documents, its
risk is at most epsilon, however many were tried and whatever the models are like.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

import longform
from longform.decision.binomial import binomial_cdf
from longform.decision.exits import NEVER, Doubles, first_exits
from longform.errors import InputError
from longform.types import Booleans

LossName = Literal["disagreement", "harm"]
"""What is bounded: that an early answer is not the last step's, or that it is wrong where the last
step's would be right."""

CERTIFICATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class PathPoint:
    """One set of thresholds that was tested.

    Attributes:
        thresholds: One for each step but the last; infinite where nothing stops.
        exited: Share of the documents that stopped early.
        losses: Documents that stopped early and should not have.
        p_value: Probability of so few losses, or fewer, were the risk exactly epsilon.
        accepted: Whether it was certified.
    """

    thresholds: tuple[float, ...]
    exited: float
    losses: int
    p_value: float
    accepted: bool


@dataclass(frozen=True, slots=True)
class Certification:
    """What the test came to.

    Attributes:
        risk: The bound, epsilon.
        delta: Probability that the bound does not hold.
        documents: That it was tested on.
        points: Those tested, in order; all but the last are accepted, or all.
    """

    risk: float
    delta: float
    documents: int
    points: tuple[PathPoint, ...]

    @property
    def accepted(self) -> PathPoint | None:
        """The most aggressive certified thresholds; None where nothing was certified."""
        certified = [point for point in self.points if point.accepted]
        return certified[-1] if certified else None

    @property
    def documents_needed(self) -> int:
        """Fewest documents with which anything can be certified; see `fewest_documents`."""
        return fewest_documents(self.risk, self.delta)


def fewest_documents(risk: float, delta: float) -> int:
    """Return the smallest n with `(1 - risk) ** n <= delta`: without a single loss, so many do.

    Raises:
        InputError: `risk` or `delta` does not lie between 0 and 1.
    """
    for name, value in (("risk", risk), ("1 - confidence", delta)):
        if not 0.0 < value < 1.0:
            raise InputError(
                f"The {name} of a certificate lies between 0 and 1, ends excluded.",
                found=f"{value:g}",
                fix="Give --risk 0.01 and --confidence 0.95, for example.",
            )
    estimate = math.ceil(math.log(delta) / math.log1p(-risk))
    # Either neighbour may be the one, where the quotient is next to a whole number.
    return next(n for n in range(max(estimate - 1, 1), estimate + 2) if (1 - risk) ** n <= delta)


def certify(
    confidence: Doubles, losses: Booleans, path: Doubles, risk: float, delta: float
) -> Certification:
    """Test thresholds in the order given and stop at the first that is not certified.

    Args:
        confidence: float64 `[steps, docs]`, of all steps but the last.
        losses: bool `[steps, docs]`, what stopping at the step would cost: True is a loss.
        path: float64 `[points, steps]`, thresholds from safe to aggressive. They must not have
            been chosen with these documents.
        risk: The bound on the share of documents that stop early with a loss.
        delta: Probability, over the documents, of certifying what has a greater risk.

    Raises:
        InputError: `risk` or `delta` does not lie between 0 and 1.
    """
    fewest_documents(risk, delta)
    documents = confidence.shape[1]
    padded = np.vstack([losses, np.zeros((1, documents), dtype=np.bool_)])
    columns = np.arange(documents)
    points: list[PathPoint] = []
    known: dict[int, float] = {}
    for thresholds in path:
        stops = first_exits(confidence, thresholds)
        count = int(padded[stops, columns].sum())
        if count not in known:
            known[count] = binomial_cdf(count, documents, risk)
        accepted = known[count] <= delta
        exited = float((stops < len(thresholds)).mean()) if documents else 0.0
        points.append(
            PathPoint(
                tuple(float(value) for value in thresholds), exited, count, known[count], accepted
            )
        )
        if not accepted:
            break
    return Certification(risk, delta, documents, tuple(points))


class StepRecord(BaseModel):
    """One step of a cascade, as it is certified.

    Attributes:
        stage: Index of the bundle.
        depth: Share of the document's segments that is read, in the stage's reading order.
        threshold: Least confidence at which a document stops here; None: none does. The last
            step has none either.
        exited: Share of the certifying documents that stopped here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: int = Field(ge=0)
    depth: float = Field(gt=0, le=1)
    threshold: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    exited: float = Field(default=0.0, ge=0, le=1)


class StageRecord(BaseModel):
    """One bundle of a cascade.

    Attributes:
        digest: Of its manifest: it stands for every byte of weights, tokenizer and settings.
        name: What its folder was called.
        runtime: What it ran on when it was certified.
        seconds_per_document: Measured on the certifying documents, on one machine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str = Field(pattern="^[0-9a-f]{64}$")
    name: str
    kind: str
    runtime: str = ""
    seconds_per_document: float = Field(ge=0)


class PathRecord(BaseModel):
    """One tested point; see `PathPoint`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    thresholds: tuple[float | None, ...]
    exited: float
    losses: int
    p_value: float
    accepted: bool


class UnsureRecord(BaseModel):
    """How many documents the first step is unsure of, for the audit.

    Attributes:
        margin: A confidence of the first step.
        share: Upper bound on the share of documents below it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    margin: float
    share: float = Field(gt=0, le=1)


class Certificate(BaseModel):
    """The content of `certificate.json`: what was promised, on what grounds, for which weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(CERTIFICATE_VERSION, ge=1, le=CERTIFICATE_VERSION)
    longform_version: str = longform.__version__
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    loss: LossName
    risk: float = Field(gt=0, lt=1)
    delta: float = Field(gt=0, lt=1)
    documents: int = Field(ge=0)
    losses: int = Field(ge=0)
    p_value: float = Field(ge=0, le=1)
    exited: float = Field(ge=0, le=1)
    is_certified: bool
    """Whether any threshold was; otherwise no document stops early."""
    documents_needed: int
    stages: tuple[StageRecord, ...]
    steps: tuple[StepRecord, ...] = Field(min_length=1)
    path: tuple[PathRecord, ...]
    audited_share: float = Field(gt=0, lt=1)
    """Share of documents that may stop early with another answer than the last step's: `risk`, or
    where harm is bounded, an upper bound of what was seen."""
    unsure: tuple[UnsureRecord, ...] = ()
    data_digest: str = ""
    """SHA-256 of the file of certifying documents."""

    def describe(self) -> str:
        """Say in a sentence what holds."""
        what = (
            "an early answer that is not the last stage's"
            if self.loss == "disagreement"
            else "an early answer that is wrong where the last stage's is right"
        )
        if not self.is_certified:
            return (
                f"nothing: {self.documents:,} documents are too few or disagree too often; without "
                f"any disagreement {self.documents_needed:,} would be needed. No document stops "
                "early"
            )
        return (
            f"with {100 * (1 - self.delta):g} % confidence, at most {100 * self.risk:g} % of "
            f"documents get {what} ({self.losses:,} of {self.documents:,} did, while "
            f"{100 * self.exited:.1f} % stopped early)"
        )

    @property
    def thresholds(self) -> Doubles:
        """Of all steps but the last, float64 `[steps - 1]`; infinite where nothing stops."""
        return np.array([unless_never(step.threshold) for step in self.steps[:-1]])

    def differing_stage(self, digests: Sequence[str]) -> int | None:
        """Return the first stage whose digest is not the certified one; None where all are."""
        certified = [stage.digest for stage in self.stages]
        for index in range(max(len(certified), len(digests))):
            if list(certified[index : index + 1]) != list(digests[index : index + 1]):
                return index
        return None


def unless_never(threshold: float | None) -> float:
    """Return a threshold of a record as a number: infinity where nothing stops."""
    return NEVER if threshold is None else threshold


def record_path(points: Sequence[PathPoint]) -> tuple[PathRecord, ...]:
    """Return tested points as they are stored: JSON knows no infinity."""
    return tuple(
        PathRecord(
            thresholds=tuple(value if math.isfinite(value) else None for value in point.thresholds),
            exited=point.exited,
            losses=point.losses,
            p_value=point.p_value,
            accepted=point.accepted,
        )
        for point in points
    )
