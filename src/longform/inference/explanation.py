"""Documents with what their answers rest on, for people to read: parts, and tokens where asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from longform.bundle import WEIGHTS_FILE
from longform.decision.evidence import EvidenceOptions
from longform.errors import InputError
from longform.inference.predictor import Predictor
from longform.inference.scorer import Reading
from longform.types import Document, Prediction, TokenSplit

_ROUGH_SHARE = 0.05
"""A gap from which on people are warned: the one at which points are doubled no more."""
ATTENTION_NOTE = "weights of attention, not contributions"


@dataclass(frozen=True, slots=True)
class SegmentAttention:
    """How much a segment counts for the heads of the aggregator `attention`.

    Attributes:
        start: Character offset into the text as given.
        end: Character offset, exclusive.
        weights: One for each head; over the segments each head's sum to 1.
    """

    start: int
    end: int
    weights: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the heads."""
        return sum(self.weights) / len(self.weights)


@dataclass(frozen=True, slots=True)
class ExplainedDocument:
    """A document, its answer with evidence, and what its tokens add.

    Attributes:
        document: As it was given.
        prediction: With evidence and its explanation.
        split: The label's logit as a sum over tokens; None where it was not asked for.
        attention: How much each segment counts for each head of the aggregator. It does not tell
            what a segment adds: one may be attended to and speak against the label. None where it
            was not asked for.
    """

    document: Document
    prediction: Prediction
    split: TokenSplit | None = None
    attention: tuple[SegmentAttention, ...] | None = None

    @property
    def label(self) -> str:
        """The label that is explained."""
        explanation = self.prediction.explanation
        return self.prediction.label if explanation is None else explanation.label

    def text(self, part: int) -> str:
        """Return the first text, or the second of a pair."""
        return self.document.text if part == 0 else self.document.text_pair or ""

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` prints of it; texts are not repeated."""
        content = asdict(self.prediction)
        content["evidence"] = content["evidence"] or []
        for name in ("labels", "exit", "prediction_set"):
            if content[name] is None:
                del content[name]
        if self.split is not None:
            content["tokens"] = [asdict(token) for token in self.split.tokens]
            content["token_method"] = self.split.method
            content["token_logit"] = self.split.logit
            content["token_base"] = self.split.base
            content["token_gap"] = self.split.gap
            content["token_steps"] = self.split.steps
        if self.attention is not None:
            content["attention"] = {
                "note": ATTENTION_NOTE,
                "segments": [{**asdict(item), "mean": item.mean} for item in self.attention],
            }
        return content


def explain_documents(
    predictor: Predictor,
    documents: Sequence[Document],
    options: EvidenceOptions,
    *,
    tokens: bool = False,
    attention: bool = False,
) -> list[ExplainedDocument]:
    """Classify documents and tell what each answer rests on.

    Args:
        predictor: The model.
        documents: What to explain.
        options: What is asked for.
        tokens: Also split the logit over the tokens.
        attention: Also tell what the aggregator `attention` attends to.

    Raises:
        InputError: A document cannot be read, the label is not one of the model's, or the model
            does not have what is asked for.
        MissingExtraError: It takes torch to look into the model, which is not installed.
    """
    readings = predictor.scorer.read(documents) if documents else []
    outcomes = predictor.conclude(documents, readings, evidence=options)
    explained = []
    for document, reading, prediction in zip(documents, readings, outcomes, strict=True):
        # `read` reads on by itself, so that nothing further is asked for.
        assert isinstance(prediction, Prediction)
        label = options.label or prediction.label
        explained.append(
            ExplainedDocument(
                document,
                prediction,
                _split(predictor, document, reading, label) if tokens else None,
                _attention(predictor, reading) if attention else None,
            )
        )
    return explained


def describe_tokens(split: TokenSplit) -> str:
    """Say how a logit was split over tokens, and how far the terms are from summing to it."""
    method = {
        "exact": "exact",
        "integrated_gradients": "integrated gradients",
        "integrated_gradients_and_exact": "integrated gradients, and the exact terms of the "
        "linear model beneath",
    }[split.method]
    told = f"{split.logit:.3f}, of which {split.base:+.3f} is of no token"
    if split.method == "exact":
        return f"{method}: logit {told}"
    told = (
        f"{method} at {split.steps} points: logit {told} and {split.gap:+.3f} "
        f"({100 * split.gap_share:.1f} % of what tokens are to explain) is left unexplained"
    )
    if split.gap_share <= _ROUGH_SHARE:
        return told
    return f"{told}: take the tokens' figures as an order, not as amounts"


def _split(predictor: Predictor, document: Document, reading: Reading, label: str) -> TokenSplit:
    rule = predictor.rule
    split = predictor.scorer.token_split(document, reading, rule, label)
    if split is None:
        raise InputError(
            f"To split an answer over tokens, a bundle must have {WEIGHTS_FILE}.",
            found=f"none in {predictor.bundle.folder.name}",
            fix="Leave --tokens out: the passages are explained without it. Or explain the bundle "
            "that 'longform train' wrote.",
        )
    return split


def _attention(predictor: Predictor, reading: Reading) -> tuple[SegmentAttention, ...]:
    weights = predictor.scorer.attention(reading)
    if weights is None:
        raise InputError(
            "Only the aggregator 'attention' over one text has attention weights.",
            found=f"another model in {predictor.bundle.folder.name}, or one without {WEIGHTS_FILE}",
            fix="Leave --attention out: what passages add is told for every model.",
        )
    return tuple(
        SegmentAttention(segment.start, segment.end, tuple(row))
        for segment, row in zip(reading.document.segments, weights.tolist(), strict=True)
    )
