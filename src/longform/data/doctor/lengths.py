"""How long the documents are, and what reading them by several plans covers and costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longform.config import RunConfig
from longform.data.doctor.findings import Finding
from longform.data.doctor.plans import (
    REFERENCE_ENCODER,
    EncoderShape,
    SegmentPlan,
    compare_plans,
)
from longform.reporting import Reporter, counted
from longform.text.tokenization import TextTokenizer
from longform.text.vocabulary import train_tokenizer
from longform.types import Integers

_SAMPLED_CHARACTERS = 2_000_000
"""Characters of the documents whose tokens are counted: some four hundred long ones, which puts the
mean within a few per cent."""
_VOCABULARY_CHARACTERS = 1_000_000
_BINS = 24
_LOST = 0.02


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of a length, over documents."""

    median: int
    p90: int
    p99: int
    longest: int
    mean: float

    @classmethod
    def of(cls, lengths: Integers) -> Quantiles:
        """Summarise lengths, int64 `[documents]`, at least one."""
        middle, high, highest = np.quantile(lengths, (0.5, 0.9, 0.99)).round().astype(int).tolist()
        return cls(middle, high, highest, int(lengths.max()), round(float(lengths.mean()), 1))


@dataclass(frozen=True, slots=True)
class Histogram:
    """Documents by length. `edges` has one value more than `counts`; bins grow by a factor."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, lengths: Integers) -> Histogram:
        """Count lengths, int64 `[documents]`, at least one."""
        positive = np.maximum(lengths, 1)
        low, high = float(positive.min()), float(positive.max())
        edges = np.geomspace(low, max(high, 1.05 * low), _BINS + 1)
        edges[-1] *= 1 + 1e-9
        counts, _ = np.histogram(positive, edges)
        return cls(tuple(edges.tolist()), tuple(counts.tolist()))


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the documents are.

    Attributes:
        characters: Over all documents.
        character_histogram: Over all documents.
        tokens: Over the sample.
        token_histogram: Over the sample.
        sampled: Documents whose tokens were counted.
        documents: All documents.
        tokenizer: What counted the tokens.
        characters_per_token: Mean of the sample.
        encoder: What the costs are of.
        plans: The plans, the shortest segments first.
    """

    characters: Quantiles
    character_histogram: Histogram
    tokens: Quantiles
    token_histogram: Histogram
    sampled: int
    documents: int
    tokenizer: str
    characters_per_token: float
    encoder: str
    plans: tuple[SegmentPlan, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return asdict(self)


def examine_lengths(
    texts: Sequence[str],
    config: RunConfig,
    encoder: tuple[TextTokenizer, EncoderShape] | None,
    reporter: Reporter,
) -> tuple[Lengths, list[Finding]]:
    """Measure the documents in characters and tokens, and compare plans of reading them.

    Args:
        texts: Of all documents.
        config: Whose cleaning, prefix and plan hold.
        encoder: Tokenizer and size of the encoder; None trains the tokenizer that `bag` would have
            on a part of the texts, and takes the size of the reference encoder.
        reporter: Shown the progress.
    """
    characters = np.array([len(text) for text in texts], dtype=np.int64)
    sample = _choose_sample(texts, config.seed)
    if encoder is not None:
        tokenizer, shape = encoder
        name = f"the tokenizer of {Path(config.encoder).name}"
    else:
        tokenizer = train_tokenizer(_limited(sample), config.vocabulary_size)
        shape = REFERENCE_ENCODER
        name = "the tokenizer that 'bag' trains, here on a part of these texts"
    plans, tokens = compare_plans(sample, config, tokenizer, shape, reporter)
    total = max(int(tokens.sum()), 1)
    lengths = Lengths(
        characters=Quantiles.of(characters),
        character_histogram=Histogram.of(characters),
        tokens=Quantiles.of(tokens),
        token_histogram=Histogram.of(tokens),
        sampled=len(sample),
        documents=len(texts),
        tokenizer=name,
        characters_per_token=round(sum(map(len, sample)) / total, 3),
        encoder=shape.name,
        plans=plans,
    )
    return lengths, _describe(lengths)


def _choose_sample(texts: Sequence[str], seed: int) -> list[str]:
    order = np.random.default_rng(seed).permutation(len(texts))
    chosen, characters = [], 0
    for place in order.tolist():
        chosen.append(place)
        characters += len(texts[place])
        if characters >= _SAMPLED_CHARACTERS:
            break
    return [texts[place] for place in sorted(chosen)]


def _limited(texts: Sequence[str]) -> list[str]:
    kept, characters = [], 0
    for text in texts:
        kept.append(text[:_VOCABULARY_CHARACTERS])
        characters += len(text)
        if characters >= _VOCABULARY_CHARACTERS:
            break
    return kept


def _describe(lengths: Lengths) -> list[Finding]:
    configured = next((plan for plan in lengths.plans if plan.is_configured), None)
    if configured is None or configured.coverage > 1 - _LOST:
        return []
    lost = 1 - configured.coverage
    return [
        Finding(
            kind="unread_tokens",
            severity="warning",
            what=f"the plan of the settings ({configured.name}) leaves {100 * lost:.1f} % of the "
            f"tokens unread and reads {100 * configured.whole:.1f} % of the documents whole",
            count=round((1 - configured.whole) * lengths.documents),
            training="reads the rest, and says in every answer what was left out",
            advice=f"Read all segments ({counted(len(lengths.plans), 'plan')} are compared), "
            "unless speed matters more.",
        )
    ]
