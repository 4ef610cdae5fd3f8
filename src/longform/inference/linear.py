"""The scorer of linear models: a document is one segment, and its vector is its logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from longform.backends.base import BackendInfo
from longform.bundle import GOLDEN_FILE, Bundle
from longform.config import LinearSettings
from longform.decision.evidence import (
    DEFAULT_OPTIONS,
    MAX_PARTS,
    EvidenceOptions,
    Found,
    Stretch,
    explained_row,
    measure,
)
from longform.decision.rule import DecisionRule
from longform.errors import InputError
from longform.inference.golden import check_golden
from longform.inference.linear_model import WEIGHTS_FILE, Features, LinearModel, LinearWeights
from longform.inference.scorer import EncodedSegments, Reading, Scorer
from longform.text.cleaning import CleanedText, Cleaner
from longform.text.documents import check_pair
from longform.text.features import FeatureReader
from longform.text.ngrams import Tokens
from longform.text.sentences import sentence_boundaries
from longform.types import (
    POSITION_FEATURES,
    Coverage,
    Document,
    Explanation,
    Floats,
    Integers,
    Segment,
    SegmentedDocument,
    TokenContribution,
    TokenSplit,
)

RUNTIME = "numpy"
_MOST_SENTENCES = 1_000


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSegment(Segment):
    """A whole document, as a linear model reads it.

    `token_ids` holds the rows of its features.

    Attributes:
        values: float32 `[features]`.
    """

    values: Floats = field(default_factory=lambda: np.zeros(0, dtype=np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class SplitText:
    """What the tokens of a text add to the logits.

    Attributes:
        cleaned: The text that was read.
        tokens: With places in the cleaned text.
        contributions: float32 `[tokens, classes]`.
    """

    cleaned: CleanedText
    tokens: Tokens
    contributions: Floats

    def group(self, most: int) -> list[tuple[int, int, Floats]]:
        """Return start, end and contribution of at most `most` stretches of whole sentences."""
        boundaries = np.array(sentence_boundaries(self.cleaned.text), dtype=np.int64)
        count = min(len(boundaries) - 1, most)
        edges = boundaries[np.linspace(0, len(boundaries) - 1, count + 1).astype(np.int64)]
        cuts = np.searchsorted(self.tokens.starts, edges)
        parts = []
        for start, end, first, last in zip(edges, edges[1:], cuts, cuts[1:], strict=False):
            if last > first:
                span = self.cleaned.original_span(int(start), int(end))
                parts.append((*span, self.contributions[first:last].sum(axis=0)))
        return parts

    def spans(self) -> Integers:
        """Return where the tokens stand in the text as given, int64 `[tokens, 2]`."""
        return self.cleaned.original_spans(self.tokens.starts, self.tokens.ends)


class LinearScorer(Scorer):
    """A linear model and what cleans its texts.

    Args:
        model: The weights.
        cleaner: As in training.
        golden: The bundle's file of known answers; None where there is none.
    """

    def __init__(self, model: LinearModel, cleaner: Cleaner, golden: Path | None = None) -> None:
        self.model = model
        self.cleaner = cleaner
        self.golden = golden
        self._texts = model.reader.texts

    @classmethod
    def open(cls, bundle: Bundle) -> LinearScorer:
        """Open the linear model of a bundle."""
        description = bundle.description
        settings = LinearSettings.model_validate(
            {
                name: value
                for name, value in description.knobs.model.items()
                if name in LinearSettings.model_fields
            }
        )
        reader = make_reader(settings, texts=2 if description.text_pair else 1)
        model = LinearModel(reader, LinearWeights.load(bundle.path(WEIGHTS_FILE)))
        return cls(model, Cleaner(description.knobs.segments), bundle.path(GOLDEN_FILE))

    @property
    def info(self) -> BackendInfo:
        """What the model runs on."""
        model = self.model
        return BackendInfo(RUNTIME, "cpu", model.weights.precision, model.classes, 1)

    def tokenize(self, document: Document) -> list[Tokens]:
        """Return the tokens of each text of a document, with places in the cleaned text.

        Raises:
            InputError: A text has no token, or the document not the texts that the model wants.
        """
        return tokenize_document(self.model.reader, self.cleaner, document)

    def segment(self, documents: Sequence[Document]) -> list[SegmentedDocument]:
        """Look for the features of documents; see `Scorer.segment`."""
        return [self._segment(document) for document in documents]

    def encode_segments(self, segments: Sequence[Segment]) -> EncodedSegments:
        """Add up what the features of each document weigh, float32 `[docs, classes]`."""
        rows = np.empty((len(segments), self.model.classes), dtype=np.float32)
        tokens = 0
        for row, segment in zip(rows, segments, strict=True):
            assert isinstance(segment, FeatureSegment)
            row[:] = self.model.contributions(Features(segment.token_ids, segment.values))
            tokens += len(segment.token_ids)
        return EncodedSegments(rows, tokens, tokens)

    def score_readings(self, vectors: list[Floats], positions: list[Floats]) -> Floats:
        """Add the bias; see `Scorer.score_readings`."""
        del positions
        logits: Floats = np.stack([rows.sum(axis=0) for rows in vectors]) + self.model.weights.bias
        return logits

    def evidence(
        self,
        document: Document,
        reading: Reading,
        rule: DecisionRule,
        options: EvidenceOptions = DEFAULT_OPTIONS,
    ) -> Found:
        """Split the answer over the sentences of a document, exactly.

        What the n-grams of a part add to the logits is taken from them: no other part changes, so
        that the parts of the logits add up to the whole. Refined are the parts to sentences,
        `_MOST_SENTENCES` of each text at most.
        """
        most = _MOST_SENTENCES if options.refine else MAX_PARTS
        stretches, added = [], []
        for part, tokens in enumerate(self.split(document)):
            for start, end, contribution in tokens.group(most):
                stretches.append(Stretch(0, start, end, part))
                added.append(contribution)
        logits = reading.vectors.sum(axis=0) + self.model.weights.bias
        row = explained_row(logits, rule, options.label)
        if len(stretches) < 2:
            return (), None
        contributions = np.stack(added)
        found = measure(
            logits,
            logits - contributions,
            rule,
            row,
            reading.document.coverage.tokens_total,
            contributions=contributions,
            stretches=stretches,
        )
        base = float(self.model.weights.bias[row])
        return found, Explanation("exact", rule.labels[row], float(logits[row]), base)

    def token_split(
        self, document: Document, reading: Reading, rule: DecisionRule, label: str
    ) -> TokenSplit:
        """Split the logit over characters or words; see `Scorer.token_split`."""
        direction = np.zeros(len(rule.labels), dtype=np.float32)
        direction[rule.labels.index(label)] = 1.0
        return self.split_along(document, direction)

    def split_along(self, document: Document, direction: Floats) -> TokenSplit:
        """Split the product of the logits with a direction, float `[classes]`, over the tokens."""
        found = []
        total = base = float(self.model.weights.bias @ direction)
        for part, text in enumerate(self.split(document)):
            terms = text.contributions @ direction
            total += float(terms.sum())
            for (start, end), added in zip(text.spans().tolist(), terms.tolist(), strict=True):
                found.append(TokenContribution(start, end, added, part))
        return TokenSplit("exact", tuple(found), total, base)

    def split(self, document: Document) -> list[SplitText]:
        """Split the logits over the tokens of each text of a document; see `SplitText`."""
        cleaned = [self.cleaner.clean(text) for text in _texts(document)]
        tokens = [self.model.reader.tokenize(text.text) for text in cleaned]
        parts = self.model.token_contributions(tokens)
        return [SplitText(*each) for each in zip(cleaned, tokens, parts, strict=True)]

    def warm_up(self) -> None:
        """Score a word: tables of characters are made at the first."""
        self.score([Document("warm-up", "长文", text_pair="长文" if self._texts == 2 else None)])

    def check_golden(self) -> float:
        """Compare with the bundle's known answers; see `Scorer.check_golden`."""
        assert self.golden is not None
        return check_golden(self.golden, self)

    def _segment(self, document: Document) -> SegmentedDocument:
        tokens = self.tokenize(document)
        features = self.model.features(tokens)
        count = sum(map(len, tokens))
        segment = FeatureSegment(0, len(document.text), features.rows, count, features.values)
        positions = np.zeros((1, POSITION_FEATURES), dtype=np.float32)
        positions[0, 2] = 1.0
        return SegmentedDocument((segment,), positions, Coverage(count, count, 1, 1))


def open_stacked(bundle: Bundle) -> LinearScorer | None:
    """Open the linear model beneath a neural one; None where there is none."""
    return LinearScorer.open(bundle) if bundle.has(WEIGHTS_FILE) else None


def require_runtime(bundle: Bundle, backend: object) -> None:
    """Refuse a backend that is not the only one of linear models.

    Raises:
        InputError: It is another one.
    """
    if str(backend).partition(":")[0] not in {"auto", RUNTIME}:
        raise InputError(
            f"A linear model runs on {RUNTIME}, in the process that asks it.",
            found=f"backend '{backend}' for {bundle.folder.name}",
            fix=f"Leave --backend out, or give '{RUNTIME}'.",
        )


def make_reader(settings: LinearSettings, texts: int) -> FeatureReader:
    """Return what reads texts as resolved settings say."""
    assert settings.linear_analyzer != "auto"
    return FeatureReader(
        settings.linear_analyzer,
        settings.linear_blocks,
        settings.linear_ngrams,
        settings.linear_bits,
        texts,
    )


def tokenize_document(reader: FeatureReader, cleaner: Cleaner, document: Document) -> list[Tokens]:
    """Clean and tokenise the texts of a document; see `LinearScorer.tokenize`."""
    check_pair(document, pairs=reader.texts == 2)
    found = [reader.tokenize(cleaner.clean(text).text) for text in _texts(document)]
    for tokens in found:
        if not len(tokens):
            raise InputError(
                "A text must hold at least one token of the linear model.",
                found=f"none in document '{document.id}'",
                fix="Leave it out, or give its text.",
            )
    return found


def _texts(document: Document) -> tuple[str, ...]:
    pair = document.text_pair
    return (document.text,) if pair is None else (document.text, pair)
