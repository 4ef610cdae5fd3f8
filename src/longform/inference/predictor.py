"""Texts in, predictions out: the three-line interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from longform.backends.base import Backend, BackendInfo, DeviceState
from longform.bundle import Bundle, load_bundle
from longform.decision.evidence import DEFAULT_OPTIONS, EvidenceOptions
from longform.decision.rule import Decision, DecisionRule
from longform.inference.cache import CacheSettings, CacheStatistics
from longform.inference.opening import open_scorer
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
from longform.reporting import Reporter
from longform.types import (
    Coverage,
    Document,
    Floats,
    LabelScore,
    Prediction,
    Segment,
    SegmentedDocument,
)

_WINDOW_CHARACTERS = 400_000
"""Characters scored together in bulk work: enough to fill batches, little enough to hold."""


class Predictor:
    """A bundle ready to answer. Use it as a context manager, or call `close`.

    Args:
        bundle: A verified bundle.
        scorer: What reads the documents.
    """

    def __init__(self, bundle: Bundle, scorer: Scorer) -> None:
        self.bundle = bundle
        self.scorer = scorer
        description = bundle.description
        self.labels: tuple[str, ...] = description.labels
        self.rule = DecisionRule.from_description(description)

    @property
    def backend_info(self) -> BackendInfo:
        """What the model runs on."""
        return self.scorer.info

    @property
    def devices(self) -> int:
        """Batches that may be encoded at once, each called from a thread of its own."""
        return self.scorer.devices

    @property
    def is_available(self) -> bool:
        """Whether a device takes batches now."""
        return self.scorer.is_available

    @property
    def device_states(self) -> list[DeviceState]:
        """The devices in processes of their own."""
        return self.scorer.device_states

    @property
    def cache_statistics(self) -> CacheStatistics | None:
        """What the cache of segment vectors did so far; None without one."""
        return self.scorer.cache_statistics

    @property
    def cascade_statistics(self) -> CascadeStatistics | None:
        """What stopped early so far; None of a model that is no cascade."""
        return self.scorer.cascade_statistics

    def predict(
        self, texts: Sequence[str | Document], *, evidence: bool | EvidenceOptions = False
    ) -> list[Prediction]:
        """Classify texts.

        Args:
            texts: Texts or documents. A text's id is its place in the list.
            evidence: Also tell how much the answer rests on each part of the text, and in
                which way.

        Returns:
            One prediction per text, in order.

        Raises:
            InputError: A text is empty; the message names it.
        """
        documents = as_documents(texts)
        if not documents:
            return []
        if evidence:
            outcomes = self.conclude(documents, self.scorer.read(documents), evidence=evidence)
            # `read` reads on by itself, so that nothing further is asked for.
            return [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
        return self.decide(documents, self.scorer.score(documents))

    def decide(
        self, documents: Sequence[Document], scores: Scores, *, raw_scores: bool = False
    ) -> list[Prediction]:
        """Turn scores into predictions.

        Args:
            documents: What was scored.
            scores: Their logits and coverage.
            raw_scores: Give logits as scores. Labels are decided by probabilities either way.
        """
        tokens = np.array([item.tokens_total for item in scores.coverage], dtype=np.int64)
        decision = self.rule.judge(scores.logits, tokens)
        shown = scores.logits if raw_scores else decision.probabilities
        predictions = [
            self._prediction(document.id, row, shown[row], decision, coverage)
            for row, (document, coverage) in enumerate(zip(documents, scores.coverage, strict=True))
        ]
        if scores.exits is None:
            return predictions
        return [
            replace(prediction, exit=where)
            for prediction, where in zip(predictions, scores.exits, strict=True)
        ]

    def segment(self, documents: Sequence[Document]) -> list[SegmentedDocument]:
        """Cut documents into segments; see `Scorer.segment`."""
        return self.scorer.segment(documents)

    def encode_segments(self, segments: Sequence[Segment]) -> EncodedSegments:
        """Encode segments of any documents; see `Scorer.encode_segments`."""
        return self.scorer.encode_segments(segments)

    def conclude(
        self,
        documents: Sequence[Document],
        readings: Sequence[Reading],
        *,
        evidence: bool | EvidenceOptions = False,
        raw_scores: bool = False,
    ) -> list[Prediction | Further]:
        """Answer documents whose segments have been encoded, as a whole or in part.

        Args:
            documents: The documents.
            readings: What was read of each.
            evidence: Also tell how much the answer rests on each part of the text, and in
                which way.
            raw_scores: Give logits as scores.

        Returns:
            One prediction for each document, or what has to be read before there is one.
        """
        concluded = self.scorer.conclude(readings)
        outcomes: dict[int, Prediction | Further] = {
            row: item for row, item in enumerate(concluded) if isinstance(item, Further)
        }
        verdicts = {row: item for row, item in enumerate(concluded) if isinstance(item, Verdict)}
        if verdicts:
            scores = gather_verdicts(list(verdicts.values()))
            decided = [documents[row] for row in verdicts]
            answers = self.decide(decided, scores, raw_scores=raw_scores)
            for row, answer in zip(verdicts, answers, strict=True):
                outcomes[row] = answer
                if evidence:
                    options = DEFAULT_OPTIONS if evidence is True else evidence
                    outcomes[row] = self._explained(answer, documents[row], readings[row], options)
        return [outcomes[row] for row in range(len(readings))]

    def _explained(
        self, answer: Prediction, document: Document, reading: Reading, options: EvidenceOptions
    ) -> Prediction:
        # The label that is named is not always the likeliest: mistakes may have costs.
        asked = replace(options, label=options.label or answer.label)
        rule = self.rule.at_length(answer.coverage.tokens_total)
        parts, explanation = self.scorer.evidence(document, reading, rule, asked)
        return replace(answer, evidence=parts, explanation=explanation)

    def pending_audits(self) -> list[Document]:
        """Hand out documents to be read once more at leisure; see `Scorer.pending_audits`."""
        return self.scorer.pending_audits()

    def iterate_scores(
        self, documents: Iterable[Document]
    ) -> Iterator[tuple[list[Document], Scores]]:
        """Score any number of documents window by window, in order.

        The next window is segmented while this one is encoded.
        """
        groups = windows(documents)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="segment") as ahead:
            window = next(groups, None)
            pending = ahead.submit(self.scorer.segment, window) if window is not None else None
            while window is not None and pending is not None:
                segmented = pending.result()
                following = next(groups, None)
                if following is not None:
                    pending = ahead.submit(self.scorer.segment, following)
                yield window, self.scorer.score_segmented(segmented)
                window = following

    def warm_up(self) -> None:
        """Run the largest segment once, so that the first answer is as fast as the others."""
        self.scorer.warm_up()

    def check_golden(self) -> float:
        """Compare this machine's answers with those stored in the bundle.

        Returns:
            The largest logit difference.

        Raises:
            ParityError: It is beyond the tolerance of the backend's precision.
        """
        return self.scorer.check_golden()

    def close(self) -> None:
        """Free the backend, and the cache's file."""
        self.scorer.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _prediction(
        self, identity: str, row: int, shown: Floats, decision: Decision, coverage: Coverage
    ) -> Prediction:
        order = (-shown).argsort(kind="stable")
        scores = {index: LabelScore(self.labels[index], float(shown[index])) for index in order}
        # Of labels that score the same, the first; what mistakes cost may name another.
        best = order[0] if self.rule.costs is None else int(decision.best[row])
        chosen, members = decision.chosen, decision.members
        return Prediction(
            identity,
            scores[best].label,
            scores[best].score,
            tuple(scores.values()),
            coverage,
            labels=None
            if chosen is None
            else tuple(score for index, score in scores.items() if chosen[row, index]),
            calibrated=self.rule.calibrated,
            abstained=bool(decision.abstained[row]),
            prediction_set=None
            if members is None
            else tuple(self.labels[index] for index in order if members[row, index]),
        )


def load(
    folder: str | Path | Bundle,
    backend: str | Backend = "auto",
    reporter: Reporter | None = None,
    cache: CacheSettings | None = None,
) -> Predictor:
    """Verify a bundle and open it.

    Args:
        folder: A bundle, as `longform train` writes it; or one that was verified before.
        backend: `onnx`, `openvino`, `torch`, or `auto` for the fastest on this machine; or one that
            is open already.
        reporter: Told when backends are measured.
        cache: Keep the vectors of segments for texts that grow or repeat passages; None keeps none.

    Raises:
        BundleError: The bundle is damaged, altered or too new.
        InputError: The folder is no bundle, or the backend is unknown.
        MissingExtraError: The backend's library is not installed.
    """
    bundle = folder if isinstance(folder, Bundle) else load_bundle(Path(folder))
    return Predictor(bundle, open_scorer(bundle, backend, reporter, cache))


def as_documents(texts: Sequence[str | Document]) -> list[Document]:
    """Give each bare text its place as id."""
    if isinstance(texts, str):
        texts = [texts]
    return [
        text if isinstance(text, Document) else Document(str(index), text)
        for index, text in enumerate(texts)
    ]


def windows(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Yield documents in groups that are worth scoring together, in order."""
    window: list[Document] = []
    characters = 0
    for document in documents:
        window.append(document)
        characters += document.characters
        if characters >= _WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window
