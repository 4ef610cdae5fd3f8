"""Ways to cut and read documents, what each covers, and what it costs in the encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from longform.config import SCRATCH_ENCODERS, RunConfig, SegmentSettings
from longform.errors import InputError
from longform.reporting import Reporter
from longform.text.segmenter import Segmenter
from longform.text.selection import select_segments
from longform.text.tokenization import TextTokenizer
from longform.types import Integers

_LENGTHS = (128, 256, 512)
_WIDTH, _LAYERS = 384, 12
_SELECTING = ("selection", "head_tokens", "tail_tokens", "selected_tokens", "max_segments")
_WHOLE = {"segment_length", "overlap"}
"""Settings of plans that read everything."""


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """What an encoder costs: its hidden width, layers, and width between the two."""

    name: str
    width: int
    layers: int
    inner: int
    positions: int | None = None

    def flops(self, length: int) -> float:
        """Return the floating-point operations of one segment: products and attention."""
        product = 2 * length * (4 * self.width**2 + 2 * self.width * self.inner)
        return self.layers * (product + 4 * length**2 * self.width)


REFERENCE_ENCODER = EncoderShape(
    f"an encoder of {_LAYERS} layers of width {_WIDTH}", _WIDTH, _LAYERS, 4 * _WIDTH
)
"""What costs are stated for where no encoder is given."""


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """A way to cut and read the documents, and what it means for them.

    Attributes:
        name: For people.
        settings: Settings -> values.
        segments: Mean number of segments read of a document.
        coverage: Share of all tokens that is read.
        whole: Share of the documents that is read whole.
        padding: Share of the places in the segments that hold no token of a text.
        gigaflops: Mean cost of a document in the encoder, 10^9 operations.
        relative_cost: Times the cost of the cheapest plan that reads everything.
        is_configured: Whether it is the plan of the settings given.
    """

    name: str
    settings: dict[str, Any]
    segments: float
    coverage: float
    whole: float
    padding: float
    gigaflops: float
    relative_cost: float = 1.0
    is_configured: bool = False


def read_encoder_shape(folder: Path) -> EncoderShape:
    """Read an encoder's size from its `config.json`; the reference encoder where it does not say.

    Raises:
        InputError: The file is there and is no JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        return REFERENCE_ENCODER
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        width, layers = int(content["hidden_size"]), int(content["num_hidden_layers"])
        inner = int(content.get("intermediate_size", 4 * width))
        positions = content.get("max_position_embeddings")
    except KeyError:
        return REFERENCE_ENCODER
    except (ValueError, TypeError, OSError) as error:
        raise InputError(
            "The encoder's config.json must be readable.",
            found=f"{path}: {error}",
            fix="Copy the whole model folder again.",
        ) from error
    return EncoderShape(
        f"{folder.name} ({layers} layers of width {width})", width, layers, inner, positions
    )


def choose_segment_length(p90: int, encoder: str) -> int:
    """Propose a segment length.

    Documents that nearly all fit one segment get one as long as they are; longer ones get 128
    tokens for what is trained from nothing, such as `bag` whose segments are only bags, and 256
    for a pretrained encoder: attention within reach of a paragraph, at a cost a token that hardly
    differs from 128.

    Args:
        p90: Tokens that nine documents in ten stay under.
        encoder: The setting.
    """
    usual = 128 if encoder in SCRATCH_ENCODERS else 256
    return usual if p90 > usual else max(64, -(-p90 // 32) * 32)


def ninety_percent(tokens: Integers) -> int:
    """Return the length that nine documents in ten stay under."""
    return round(float(np.quantile(tokens, 0.9)))


def compare_plans(
    sample: Sequence[str],
    config: RunConfig,
    tokenizer: TextTokenizer,
    shape: EncoderShape,
    reporter: Reporter,
) -> tuple[tuple[SegmentPlan, ...], Integers]:
    """Segment documents once for each segment length, and read them by each plan.

    Args:
        sample: Texts of some documents.
        config: Whose cleaning, prefix and plan hold.
        tokenizer: Counts the tokens.
        shape: Of the encoder whose cost counts.
        reporter: Shown the progress.

    Returns:
        The plans, the shortest segments first, and the tokens of each text, int64 `[texts]`.
    """
    own = config.segment_settings()
    longest = shape.positions or max(_LENGTHS)
    wanted = sorted({*(length for length in _LENGTHS if length <= longest), own.segment_length})
    tokens = np.zeros(len(sample), dtype=np.int64)
    plans: list[SegmentPlan] = []
    total = (len(wanted) + 1) * len(sample)
    with reporter.track("Counting tokens", total) as advance:

        def try_length(length: int) -> None:
            base = _whole(own, length)
            segmenter = Segmenter(tokenizer, base)
            documents = []
            for place, document in enumerate(segmenter.iterate(sample)):
                documents.append([len(segment.token_ids) for segment in document.segments])
                tokens[place] = document.coverage.tokens_total
                advance(1)
            read = _Reading(documents, int(tokens.sum()), length - segmenter.capacity)
            plans.extend(read.measure(*plan, shape, own) for plan in _plans_of(base, own))

        for length in wanted:
            try_length(length)
        proposed = choose_segment_length(ninety_percent(tokens), config.encoder)
        if proposed not in wanted and "segment_length" not in config.model_fields_set:
            try_length(proposed)
    plans.sort(key=lambda plan: plan.settings["segment_length"])
    return _relate(plans), tokens


def _whole(own: SegmentSettings, length: int) -> SegmentSettings:
    """Return settings that read everything in segments of another length."""
    defaults = SegmentSettings()
    update = {
        "segment_length": length,
        "overlap": min(own.overlap, length // 2),
        **{key: getattr(defaults, key) for key in _SELECTING},
    }
    return own.model_copy(update=update)


def _reads_all(settings: SegmentSettings) -> bool:
    return settings.selection == "all" and settings.max_segments is None


def _plans_of(base: SegmentSettings, own: SegmentSettings) -> list[tuple[str, SegmentSettings]]:
    length = base.segment_length
    plans = [(f"all, {length} tokens a segment", base)]
    if length == _LENGTHS[0]:
        budgets = {"head_tokens": 512, "tail_tokens": 128}
        plans += [
            (name, base.model_copy(update={"selection": selection, **budgets}))
            for selection, name in (
                ("head", "head: the first 512 tokens"),
                ("head_tail", "head and tail: 512 + 128 tokens"),
            )
        ]
    is_listed = _reads_all(own) or own in [settings for _, settings in plans]
    if length == own.segment_length and not is_listed:
        plans.append(("another, as set", own))
    return plans


@dataclass(frozen=True, slots=True)
class _Reading:
    """A sample in segments of one length.

    Attributes:
        documents: Tokens of each segment of each document, special tokens included.
        tokens: Of the texts, together.
        framing: Tokens of a segment that are not of the text.
    """

    documents: list[list[int]]
    tokens: int
    framing: int

    def measure(
        self, name: str, settings: SegmentSettings, shape: EncoderShape, own: SegmentSettings
    ) -> SegmentPlan:
        read, segments, whole = 0, 0, 0
        for lengths in self.documents:
            chosen, reason = select_segments(lengths, settings)
            segments += len(chosen)
            whole += reason is None
            read += sum(lengths[index] for index in chosen) - self.framing * len(chosen)
        count = max(len(self.documents), 1)
        defaults = SegmentSettings()
        changed = {key: getattr(settings, key) for key in ("overlap", *_SELECTING)}
        return SegmentPlan(
            name=name,
            settings={
                "segment_length": settings.segment_length,
                **{k: value for k, value in changed.items() if value != getattr(defaults, k)},
            },
            segments=round(segments / count, 2),
            # An overlap reads tokens twice, which is no more than all of them.
            coverage=1.0 if whole == count else round(min(read / max(self.tokens, 1), 1.0), 4),
            whole=round(whole / count, 4),
            padding=round(1 - read / max(segments * settings.segment_length, 1), 4),
            gigaflops=round(segments * shape.flops(settings.segment_length) / count / 1e9, 3),
            is_configured=settings == own
            or (_reads_all(own) and settings == _whole(own, own.segment_length)),
        )


def _relate(plans: list[SegmentPlan]) -> tuple[SegmentPlan, ...]:
    """State costs beside the cheapest plan that reads everything, and drop idle selections."""
    cheapest = max(min(plan.gigaflops for plan in plans if plan.settings.keys() <= _WHOLE), 1e-9)
    return tuple(
        replace(plan, relative_cost=round(plan.gigaflops / cheapest, 2))
        for plan in plans
        if plan.settings.keys() <= _WHOLE or plan.coverage < 1 or plan.is_configured
    )
