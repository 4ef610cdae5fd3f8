"""A line of models, cheap ones first: a document stops at the first that is sure enough of it.

How sure each must be is certified (`longform.decision.certificate`); one document in a hundred is
audited, and a test switches the cascade off when the certificate no longer holds
(`longform.decision.audit`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from longform.backends.base import Backend, BackendInfo, DeviceState
from longform.decision.audit import RATE
from longform.decision.certificate import Certificate
from longform.decision.evidence import DEFAULT_OPTIONS, EvidenceOptions, Found
from longform.decision.exits import NEVER, Doubles, margins
from longform.decision.rule import DecisionRule
from longform.inference.auditing import Answer, AuditedDocument, Auditor
from longform.inference.cache import CacheStatistics
from longform.inference.packing import split_by_document
from longform.inference.scorer import (
    CascadeStatistics,
    EncodedSegments,
    Further,
    Reading,
    Scorer,
    Scores,
    Verdict,
    gather_verdicts,
)
from longform.inference.staging import (
    StagedDocument,
    group_by_stage,
    stage_document,
)
from longform.types import Document, Exit, Floats, Segment, SegmentedDocument, TokenSplit


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One model of a cascade.

    Attributes:
        scorer: What reads.
        rule: The model's own, whose temperature makes its logits comparable.
    """

    scorer: Scorer
    rule: DecisionRule
    lock: threading.Lock = field(default_factory=threading.Lock)


class CascadeScorer(Scorer):
    """Asks each stage in turn, until one is sure enough.

    Args:
        stages: Cheap ones first. The last one's answers count.
        certificate: Steps and thresholds, and what the audit holds them to.
        audit_rate: Share of documents that is audited.
        seed: Of the draw of audited documents; None draws anew in each process.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        certificate: Certificate,
        *,
        audit_rate: float = RATE,
        seed: int | None = None,
    ) -> None:
        self.stages = tuple(stages)
        self.certificate = certificate
        self.auditor = Auditor(certificate, audit_rate, seed)
        self.devices = self.stages[-1].scorer.devices
        self._last = len(certificate.steps) - 1
        self._thresholds: Doubles = np.append(certificate.thresholds, -np.inf)
        self._is_cheap = [stage.scorer.encoder_backend is None for stage in self.stages]
        self._widths = [stage.scorer.vector_width for stage in self.stages]

    @property
    def info(self) -> BackendInfo:
        """What the stages run on; device and precision are those of the last one."""
        infos = [stage.scorer.info for stage in self.stages]
        names = dict.fromkeys(info.name for info in infos)
        return replace(infos[-1], name="+".join(names), vector_size=max(self._widths))

    @property
    def encoder_backend(self) -> Backend | None:
        """The runtime of the last stage."""
        return self.stages[-1].scorer.encoder_backend

    @property
    def is_available(self) -> bool:
        """Whether every stage has a device that takes batches now."""
        return all(stage.scorer.is_available for stage in self.stages)

    @property
    def device_states(self) -> list[DeviceState]:
        """The devices in processes of their own."""
        return [state for stage in self.stages for state in stage.scorer.device_states]

    @property
    def cache_statistics(self) -> CacheStatistics | None:
        """What the last stage's cache of segment vectors did so far."""
        return self.stages[-1].scorer.cache_statistics

    @property
    def is_active(self) -> bool:
        """Whether documents may stop early: something is certified, and the audit is content."""
        return self.auditor.is_active

    @property
    def cascade_statistics(self) -> CascadeStatistics:
        """What stopped where so far, and what the audit found."""
        return self.auditor.statistics

    def segment(self, documents: Sequence[Document]) -> list[SegmentedDocument]:
        """Cut documents for the first step, audited ones for the last; see `Scorer.segment`."""
        first = self._next_step(-1)
        steps = [
            self._last if isinstance(document, AuditedDocument) else first for document in documents
        ]
        return list(self._cut(documents, steps))

    def encode_segments(self, segments: Sequence[Segment]) -> EncodedSegments:
        """Encode segments of any stages; rows of narrower vectors are filled up with zeros."""
        rows = np.zeros((len(segments), max(self._widths)), dtype=np.float32)
        tokens = padded_tokens = cached = 0
        for stage, group in group_by_stage(segments).items():
            places = [place for place, _ in group]
            with self._using(stage) as scorer:
                encoded = scorer.encode_segments([segment for _, segment in group])
            rows[places, : encoded.vectors.shape[1]] = encoded.vectors
            tokens += len(places) if self._is_cheap[stage] else encoded.tokens
            padded_tokens += len(places) if self._is_cheap[stage] else encoded.padded_tokens
            cached += encoded.cached
        return EncodedSegments(rows, tokens, padded_tokens, cached)

    def score_readings(self, vectors: list[Floats], positions: list[Floats]) -> Floats:
        """Score what the last stage has read."""
        width = self._widths[-1]
        return self.stages[-1].scorer.score_readings([row[:, :width] for row in vectors], positions)

    def conclude(self, readings: Sequence[Reading]) -> list[Verdict | Further]:
        """Answer documents that the step is sure enough of; send the others to the next step."""
        outcomes: dict[int, Verdict | Further] = {}
        onward: list[tuple[int, StagedDocument]] = []
        for row, (logits, margin) in self._score(readings).items():
            document = _staged(readings[row].document)
            if document.margin is None:
                document = replace(document, margin=margin)
            if document.verdict is not None:
                outcomes[row] = document.verdict
            elif self._must_read_on(document, margin):
                onward.append((row, document))
            else:
                outcomes[row] = self._answer(document, logits)
        outcomes.update(self._read_on(onward))
        return [outcomes[row] for row in range(len(readings))]

    def score_segmented(self, documents: Sequence[SegmentedDocument]) -> Scores:
        """Score documents that were cut before, those still open at each step together."""
        started = time.perf_counter()
        verdicts = [verdict for _, verdict in self._read_to_the_end(documents)]
        self._audit_now()
        scores = gather_verdicts(verdicts)
        return replace(scores, infer_seconds=time.perf_counter() - started)

    def read(self, documents: Sequence[Document]) -> list[Reading]:
        """Read each document as far as its answer takes."""
        return [reading for reading, _ in self._read_to_the_end(self.segment(documents))]

    def evidence(
        self,
        document: Document,
        reading: Reading,
        rule: DecisionRule,
        options: EvidenceOptions = DEFAULT_OPTIONS,
    ) -> Found:
        """Let the stage that answered tell what its answer rests on."""
        with self._answering(reading) as (stage, plain):
            return stage.scorer.evidence(document, plain, stage.rule, options)

    def token_split(
        self, document: Document, reading: Reading, rule: DecisionRule, label: str
    ) -> TokenSplit | None:
        """Let the stage that answered split its logit; see `Scorer.token_split`."""
        with self._answering(reading) as (stage, plain):
            return stage.scorer.token_split(document, plain, stage.rule, label)

    def attention(self, reading: Reading) -> Floats | None:
        """Ask the stage that answered; see `Scorer.attention`."""
        with self._answering(reading) as (stage, plain):
            return stage.scorer.attention(plain)

    def pending_audits(self) -> list[Document]:
        """Hand out documents that stopped early, to be put to the last stage at leisure."""
        return self.auditor.take()

    def warm_up(self) -> None:
        """Warm up every stage."""
        for stage in self.stages:
            stage.scorer.warm_up()

    def check_golden(self) -> float:
        """Let every stage check its own known answers; return the largest difference."""
        return max(stage.scorer.check_golden() for stage in self.stages)

    def close(self) -> None:
        """Close every stage."""
        for stage in self.stages:
            stage.scorer.close()

    # Steps

    def _next_step(self, step: int) -> int:
        """Return the next step at which a document may stop; the last one at the latest."""
        if not self.is_active:
            return self._last
        reachable = np.flatnonzero(self._thresholds[step + 1 :] < NEVER)
        return step + 1 + int(reachable[0])

    def _must_read_on(self, document: StagedDocument, margin: float) -> bool:
        if document.stop is not None or document.step == self._last:
            return False
        return not self.is_active or margin < self._thresholds[document.step]

    def _cut(self, documents: Sequence[Document], steps: Sequence[int]) -> Iterator[StagedDocument]:
        """Cut documents for a step each, those of one stage in one call."""
        records = [self.certificate.steps[step] for step in steps]
        cut: dict[int, SegmentedDocument] = {}
        for stage in dict.fromkeys(record.stage for record in records):
            rows = [row for row, record in enumerate(records) if record.stage == stage]
            found = self.stages[stage].scorer.segment([documents[row] for row in rows])
            cut.update(zip(rows, found, strict=True))
        for row, (document, step, record) in enumerate(zip(documents, steps, records, strict=True)):
            is_cheap = self._is_cheap[record.stage]
            yield stage_document(document, cut[row], step, record, is_cheap=is_cheap)

    def _read_on(
        self, onward: Sequence[tuple[int, StagedDocument]]
    ) -> Iterator[tuple[int, Further]]:
        """Prepare the next step of documents; what their stage has read already is kept."""
        fresh: list[tuple[int, StagedDocument, int]] = []
        for row, document in onward:
            step = self._next_step(document.step)
            record = self.certificate.steps[step]
            if record.stage != document.stage:
                fresh.append((row, document, step))
                continue
            deeper = stage_document(document.document, document.whole, step, record)
            kept = len(document.segments)
            yield row, Further(replace(deeper, margin=document.margin), kept)
        cut = self._cut([item.document for _, item, _ in fresh], [step for _, _, step in fresh])
        for (row, before, _), following in zip(fresh, cut, strict=True):
            yield row, Further(replace(following, margin=before.margin))

    def _score(self, readings: Sequence[Reading]) -> dict[int, tuple[Floats, float]]:
        """Return logits and margin of each reading, by the stage that read it."""
        by_stage: dict[int, list[int]] = {}
        for row, reading in enumerate(readings):
            by_stage.setdefault(_staged(reading.document).stage, []).append(row)
        scored: dict[int, tuple[Floats, float]] = {}
        for stage, rows in by_stage.items():
            plain = [
                _staged(readings[row].document).in_text_order(
                    readings[row].vectors, self._widths[stage]
                )
                for row in rows
            ]
            with self._using(stage) as scorer:
                logits = scorer.score_readings(
                    [vectors for _, vectors in plain],
                    [document.positions for document, _ in plain],
                )
            sure = margins(logits, self.stages[stage].rule)
            # Every stage speaks in the units of the last one, whose temperature is applied to all.
            unit = self.stages[-1].rule.temperature / self.stages[stage].rule.temperature
            for row, own, margin in zip(rows, logits, sure, strict=True):
                scored[row] = (own * np.float32(unit), float(margin))
        return scored

    def _answer(self, document: StagedDocument, logits: Floats) -> Verdict:
        is_last = document.step == self._last
        reason = document.stop or ("last_stage" if is_last else "confident")
        where = Exit(document.stage, len(document.segments), reason)
        verdict = Verdict(logits, document.coverage, where if reason != "streaming" else None)
        if isinstance(document.document, AuditedDocument):
            self.auditor.note_audit(document.document, self._decided(logits))
        elif document.stop is None:
            assert document.margin is not None
            early = None if is_last else self._decided(logits)
            self.auditor.note_answer(document.document, document.stage, document.margin, early)
        return verdict

    def _read_to_the_end(
        self, documents: Sequence[SegmentedDocument]
    ) -> list[tuple[Reading, Verdict]]:
        """Encode and conclude until every document has its answer."""
        ended: dict[int, tuple[Reading, Verdict]] = {}
        open_ = {row: Further(document) for row, document in enumerate(documents)}
        read: dict[int, Floats] = {}
        while open_:
            following = [
                replace(item.document, segments=item.document.segments[item.kept :])
                for item in open_.values()
            ]
            segments = [segment for document in following for segment in document.segments]
            fresh = split_by_document(self.encode_segments(segments).vectors, following)
            for (row, item), vectors in zip(open_.items(), fresh, strict=True):
                read[row] = (
                    np.concatenate([read[row][: item.kept], vectors]) if item.kept else vectors
                )
            readings = [Reading(item.document, read[row]) for row, item in open_.items()]
            outcomes = dict(zip(open_, self.conclude(readings), strict=True))
            for (row, outcome), reading in zip(outcomes.items(), readings, strict=True):
                if isinstance(outcome, Verdict):
                    decided = replace(_staged(reading.document), verdict=outcome)
                    ended[row] = (Reading(decided, reading.vectors), outcome)
            open_ = {row: item for row, item in outcomes.items() if isinstance(item, Further)}
        return [ended[row] for row in range(len(documents))]

    @contextlib.contextmanager
    def _using(self, stage: int) -> Iterator[Scorer]:
        """Give the scorer of a stage; one at a time where it has fewer devices than the last."""
        scorer = self.stages[stage].scorer
        if scorer.devices >= self.devices:
            yield scorer
            return
        with self.stages[stage].lock:
            yield scorer

    @contextlib.contextmanager
    def _answering(self, reading: Reading) -> Iterator[tuple[Stage, Reading]]:
        """Give the stage that answered, and what it had read as it would have by itself."""
        staged = _staged(reading.document)
        plain, vectors = staged.in_text_order(reading.vectors, self._widths[staged.stage])
        with self._using(staged.stage):
            yield self.stages[staged.stage], Reading(plain, vectors)

    def _audit_now(self) -> None:
        waiting = self.pending_audits()
        if waiting:
            self._read_to_the_end(self.segment(waiting))

    def _decided(self, logits: Floats) -> Answer:
        decided = self.stages[-1].rule.decide(logits[np.newaxis])[0]
        return tuple(int(value) for value in np.atleast_1d(decided))


def _staged(document: SegmentedDocument) -> StagedDocument:
    assert isinstance(document, StagedDocument)
    return document
