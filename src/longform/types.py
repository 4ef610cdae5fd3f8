"""The values that pass between the rooms of the house: numpy and plain Python only, axes stated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.int32]
Integers = NDArray[np.int64]
Floats = NDArray[np.float32]
Booleans = NDArray[np.bool_]

Targets = Integers | Booleans
"""What documents are labelled, or given: int64 `[docs]`, the class of each, where a document has
one label; bool `[docs, classes]`, whether it has each label, where it may have several."""

POSITION_FEATURES = 4
"""Numbers that tell a head where a segment stands: index, relative start, relative end, part."""

LENGTH_BUCKETS = (512, 2_048, 4_096)
"""Upper ends, in tokens, of the length buckets; the last bucket is open."""

UNKNOWN_SHARE = 0.2
"""Share of unknown tokens above which an answer comes with a warning."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text with an identity and, in training and evaluation, what it was labelled.

    Attributes:
        id: Of the document, as the file names it, else its row number.
        text: The text as given.
        label: The label name, where a document has exactly one.
        labels: The label names, where it may have any number, none included; then `label` is None.
        text_pair: The second text, where the label is about two texts.
        fields: Further columns that were asked for, such as a group or a date, as strings.
    """

    id: str
    text: str
    label: str | None = None
    labels: tuple[str, ...] | None = None
    text_pair: str | None = None
    # Not compared, so that documents stay hashable.
    fields: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def characters(self) -> int:
        """Of the text, or of both."""
        return len(self.text) + len(self.text_pair or "")


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A piece of a document that fits the encoder.

    Attributes:
        start: Character offset into the text as given.
        end: Character offset, exclusive: `text[start:end]` is the segment.
        token_ids: int32 `[tokens]`, as the encoder reads them: prefix and special tokens included.
        new_tokens: Tokens of the text that no earlier segment holds: all but prefix, special
            tokens and overlap.
    """

    start: int
    end: int
    token_ids: TokenIds
    new_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a document was read. Tokens are those of the text: no prefix, no special tokens.

    Attributes:
        reason: What left tokens out (`selection`, `max_segments`, `deadline`, or `streaming` of an
            answer before the last); None when nothing was left out.
        tokens_unknown: Tokens, of all, that stand for something the vocabulary does not have.
    """

    tokens_total: int
    tokens_used: int
    segments_total: int
    segments_used: int
    truncated: bool = False
    reason: str | None = None
    tokens_unknown: int = 0

    def of_part(self, segments: Sequence[Segment], reason: str) -> Coverage:
        """Return the coverage of a document of which only some segments are read, and why."""
        return replace(
            self,
            tokens_used=sum(segment.new_tokens for segment in segments),
            segments_used=len(segments),
            truncated=True,
            reason=reason,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields that the HTTP interface has, under its names."""
        fields = asdict(self)
        del fields["tokens_unknown"]
        return fields


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedDocument:
    """The segments of one document that are read, in reading order.

    Attributes:
        segments: The selected segments.
        positions: float32 `[segments, 4]`: index, relative start and relative end in the *whole*
            document, and part (0 or 1, for text pairs), so that a selection keeps true places.
        coverage: How much of the document the segments hold.
        stop: Why nothing more of it will be read, whatever the model would ask for: `deadline` or
            `streaming`; None lets the model ask.
    """

    segments: tuple[Segment, ...]
    positions: Floats
    coverage: Coverage
    stop: str | None = None

    @property
    def tokens(self) -> int:
        """Tokens that the encoder reads, prefix and special tokens of every segment included."""
        return sum(len(segment.token_ids) for segment in self.segments)

    def stopped(self, reason: str) -> SegmentedDocument:
        """Return the document as it is, with the reason why nothing more of it will be read."""
        return replace(self, stop=reason)

    def first(self, count: int, reason: str) -> SegmentedDocument:
        """Return the document as if only its first segments had been selected.

        Args:
            count: Segments to keep.
            reason: Why, for the coverage.
        """
        kept = self.segments[:count]
        coverage = self.coverage.of_part(kept, reason)
        positions = self.positions[:count]
        return replace(self, segments=kept, positions=positions, coverage=coverage, stop=reason)


@dataclass(frozen=True, slots=True, eq=False)
class SegmentBatch:
    """Segments, possibly of many documents, padded to one length for the encoder.

    Attributes:
        input_ids: int64 `[segments, tokens]`.
        attention_mask: int64 `[segments, tokens]`, 1 for tokens and 0 for padding.
    """

    input_ids: Integers
    attention_mask: Integers


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label name with its probability."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much one stretch of a document supports a label, the predicted one if no other is asked.

    Attributes:
        segment: Index of the first segment of the stretch among those read.
        start: Character offset into the text as given.
        end: Character offset, exclusive.
        score: Probability of the label with the whole reading, less the probability without this
            stretch. Positive: the stretch speaks for the label.
        label: The label.
        part: Which text the offsets refer to: 0, or 1 for the second text of a pair.
        contribution: What the stretch adds to the label's logit, by the method of the
            `Explanation`: its part of the sum, or the fall of the logit without it.
        log_odds: The fall of ln(p / (1 - p)) without the stretch. It tells stretches apart where
            the probability is so near to 1 that no single one changes it.
    """

    segment: int
    start: int
    end: int
    score: float
    label: str
    part: int = 0
    contribution: float = 0.0
    log_odds: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class LogitSplit:
    """The logits of a document as a sum.

    Attributes:
        contributions: float32 `[segments, classes]`.
        base: float32 `[classes]`, what is of no segment.
    """

    contributions: Floats
    base: Floats

    def adds_up(self, logits: Floats, tolerance: float = 1e-3) -> bool:
        """Tell whether the sum is float32 `[classes]`, but for rounding.

        Args:
            logits: Of the same document.
            tolerance: Largest difference, over one and the size of all terms.
        """
        total = self.contributions.sum(axis=0) + self.base
        if total.shape != logits.shape:
            # A head with other labels was put into the bundle since.
            return False
        size = 1.0 + np.abs(self.contributions).sum(axis=0)
        return bool((np.abs(total - logits) <= tolerance * size).all())


@dataclass(frozen=True, slots=True)
class TokenContribution:
    """What one token adds to the logit of a label.

    Attributes:
        start: Character offset into the text as given.
        end: Character offset, exclusive.
        contribution: Its part of the sum.
        part: Which text the offsets refer to: 0, or 1 for the second text of a pair.
    """

    start: int
    end: int
    contribution: float
    part: int = 0


TokenMethod = Literal["exact", "integrated_gradients", "integrated_gradients_and_exact"]


@dataclass(frozen=True, slots=True)
class TokenSplit:
    """A logit as a sum over tokens.

    Attributes:
        method: `exact` of a linear model, which is such a sum. `integrated_gradients` of a neural
            one, through encoder and head; `integrated_gradients_and_exact` where a linear model
            is beneath it, whose own terms are added.
        tokens: In reading order.
        logit: What is split, before the temperature. Of a binary model with one logit, that of
            the label against the other.
        base: What is of no token: the bias, or the logit of a text without content.
        steps: Points at which gradients were taken; None of a sum that is exact.
    """

    method: TokenMethod
    tokens: tuple[TokenContribution, ...]
    logit: float
    base: float
    steps: int | None = None

    @property
    def gap(self) -> float:
        """What tokens and base fail to explain of the logit: the error of the method."""
        return self.logit - self.base - sum(token.contribution for token in self.tokens)

    @property
    def gap_share(self) -> float:
        """The size of the gap as a share of what tokens are to explain, `logit` less `base`."""
        whole = abs(self.logit - self.base)
        return abs(self.gap) / whole if whole else 0.0


EvidenceMethod = Literal["exact", "leave_one_out"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the figures of a document's evidence mean.

    Attributes:
        method: `exact`: the contributions and `base` sum to the logit, since the model adds up
            over the stretches. `leave_one_out`: each contribution is a difference of two logits,
            and nothing sums.
        label: The label that is explained.
        logit: Its logit, before the temperature.
        base: The part of the logit that is of no stretch; None with `leave_one_out`.
    """

    method: EvidenceMethod
    label: str
    logit: float
    base: float | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """Where a cascade stopped reading a document.

    Attributes:
        stage: Index of the model that answered, the cheapest is 0.
        segment: Segments that it had read.
        reason: `confident` of an early answer, `last_stage` of one by the full model, or
            `deadline`.
    """

    stage: int
    segment: int
    reason: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one document.

    Attributes:
        id: The document's id.
        label: The label with the highest score, or the cheapest one where the bundle knows what
            mistakes cost.
        score: Its probability.
        scores: All labels, highest score first.
        coverage: How much of the document the answer rests on.
        evidence: Present when it was asked for.
        labels: Where a document may have several labels: those whose score reaches their
            threshold, highest score first, possibly none. Otherwise None.
        exit: Of a cascade: which of its models answered, and why.
        calibrated: Whether the scores were fitted on documents that the model had not seen.
        abstained: Whether the model is too unsure for its answer to be used: `label` is its best
            guess, and a person should look.
        prediction_set: Labels, highest score first, among which the true one is with the
            probability that the bundle states; where a document may have several labels, all true
            ones. None where the bundle has no such sets.
        explanation: What the figures of `evidence` mean; None where there is none.
    """

    id: str
    label: str
    score: float
    scores: tuple[LabelScore, ...]
    coverage: Coverage
    evidence: tuple[Evidence, ...] | None = None
    labels: tuple[LabelScore, ...] | None = None
    exit: Exit | None = None
    calibrated: bool = False
    abstained: bool = False
    prediction_set: tuple[str, ...] | None = None
    explanation: Explanation | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the answer doubtful, whatever its score; empty for most documents."""
        unknown = self.coverage.tokens_unknown / max(self.coverage.tokens_total, 1)
        if unknown <= UNKNOWN_SHARE:
            return ()
        return (
            f"{100 * unknown:.0f} % of the tokens are unknown to the model's vocabulary: another "
            "language or script than it was trained on, or a damaged text",
        )
