"""Golden documents: known inputs with the logits that the reference gave.

They travel in the bundle and hold no user text: random token ids over several shapes, and a few
synthetic texts that also guard the segmenter.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from longform.errors import BundleError, ParityError
from longform.text.documents import join_pair
from longform.types import POSITION_FEATURES, Coverage, Document, Floats, Segment, SegmentedDocument

if TYPE_CHECKING:
    from longform.inference.neural import NeuralScorer
    from longform.inference.scorer import Scorer

LOGIT_TOLERANCE = {"fp32": 1e-3, "bf16": 0.25, "fp16": 0.1, "int8": 2.0}
"""Largest logit difference to the fp32 reference that each precision may show. Random tokens are
harder on int8 than texts; what it does to real documents is for the parity gate to judge."""


def logit_tolerance(precision: str) -> float:
    """Return the tolerance of a precision, whatever way it is made (`int8-static` is an int8)."""
    return LOGIT_TOLERANCE[precision.partition("-")[0]]


_SHAPES = ((1, 1), (1, 8), (3, 17), (9, 64), (2, 1_000_000))
"""Segments and tokens of the golden documents; tokens are capped at the segment length."""

_TEXTS = (
    "本院认为，双方签订的合同合法有效，被告应当依约支付货款。" * 12,
    "第一条 为了规范管理，制定本办法。“特别说明”：以下各项均须遵守！\n" * 9
    + "The second part is written in English. It has 3.14 reasons to be here.",
    "短文。",
)


_NO_LOGITS: Floats = np.zeros(0, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class GoldenDocument:
    """One input, either a text or the token ids of its segments, with the reference's logits.

    For a model of pairs, `text_pair` is the second text and `first_segments` tells how many of the
    segments are those of the first.
    """

    text: str | None
    segments: list[list[int]] | None
    logits: Floats
    text_pair: str | None = None
    first_segments: int | None = None

    def as_json(self) -> str:
        """Return one line of `golden.jsonl`."""
        logits = [float(value) for value in self.logits]
        fields: dict[str, Any] = {
            "text": self.text,
            "text_pair": self.text_pair,
            "segments": self.segments,
            "first_segments": self.first_segments,
        }
        content = {name: value for name, value in fields.items() if value is not None}
        return json.dumps({**content, "logits": logits}, ensure_ascii=False)


def make_golden(reference: NeuralScorer, seed: int = 0) -> list[GoldenDocument]:
    """Let the reference answer the golden inputs.

    Args:
        reference: The trained model in fp32.
        seed: Of the random token ids.
    """
    return [*_golden_tokens(reference, seed), *golden_texts(reference, pairs=reference.pairs)]


def golden_texts(reference: Scorer, *, pairs: bool) -> list[GoldenDocument]:
    """Let the reference answer the synthetic texts.

    Args:
        reference: Any model.
        pairs: Whether it judges two texts together.
    """
    golden = []
    for text, other in zip(_TEXTS, (*_TEXTS[1:], _TEXTS[0]), strict=True):
        item = GoldenDocument(text, None, _NO_LOGITS, text_pair=other if pairs else None)
        golden.append(replace(item, logits=_score_text(reference, item)))
    return golden


def _golden_tokens(reference: NeuralScorer, seed: int) -> list[GoldenDocument]:
    generator = np.random.default_rng(seed)
    tokenizer = reference.segmenter.tokenizer
    limit = reference.segmenter.settings.segment_length
    golden = []
    for segments, tokens in _SHAPES:
        ids = generator.integers(0, tokenizer.vocabulary_size, (segments, min(tokens, limit)))
        # Of a pair, the longer part comes first; a document of one segment has no second.
        first = (segments + 1) // 2 if reference.pairs else None
        item = GoldenDocument(None, ids.tolist(), _NO_LOGITS, first_segments=first)
        golden.append(replace(item, logits=_score(reference, item)))
    return golden


def write_golden(path: Path, golden: list[GoldenDocument]) -> None:
    """Write `golden.jsonl`."""
    path.write_text("".join(item.as_json() + "\n" for item in golden), encoding="utf-8")


def read_golden(path: Path) -> list[GoldenDocument]:
    """Read `golden.jsonl`.

    Raises:
        BundleError: A line is not what `write_golden` writes.
    """
    golden = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            item = json.loads(line)
            logits = np.array(item["logits"], dtype=np.float32)
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(
                "Each line of golden.jsonl must hold an input and its logits.",
                found=f"line {number}: {error}",
                fix="Train or export the bundle again.",
            ) from error
        golden.append(
            GoldenDocument(
                item.get("text"),
                item.get("segments"),
                logits,
                item.get("text_pair"),
                item.get("first_segments"),
            )
        )
    return golden


def check_golden(path: Path, scorer: Scorer) -> float:
    """Compare a scorer with the golden answers.

    Returns:
        The largest logit difference.

    Raises:
        ParityError: It is beyond the tolerance of the backend's precision.
    """
    worst = 0.0
    for item in read_golden(path):
        logits = _score(scorer, item)
        # Not `max`, which would let a NaN go by.
        worst = float(np.maximum(worst, np.abs(logits - item.logits).max()))
    info = scorer.info
    tolerance = logit_tolerance(info.precision)
    if not worst <= tolerance:
        raise ParityError(
            f"The backend {info} must give the golden answers within {tolerance}.",
            found=f"a logit difference of {worst:.4g}",
            fix="Use another --backend on this machine.",
        )
    return worst


def _score_text(scorer: Scorer, item: GoldenDocument) -> Floats:
    assert item.text is not None
    document = Document("golden", item.text, text_pair=item.text_pair)
    logits: Floats = scorer.score([document]).logits[0]
    return logits


def _score(scorer: Scorer, item: GoldenDocument) -> Floats:
    if item.text is not None:
        return _score_text(scorer, item)
    rows = item.segments or []
    first = len(rows) if item.first_segments is None else item.first_segments
    document_of_ids = _lay_out(rows[:first])
    if first < len(rows):
        document_of_ids = join_pair(document_of_ids, _lay_out(rows[first:]))
    logits: Floats = scorer.score_segmented([document_of_ids]).logits[0]
    return logits


def _lay_out(rows: list[list[int]]) -> SegmentedDocument:
    segments = tuple(Segment(0, 0, np.array(row, dtype=np.int32)) for row in rows)
    positions = np.zeros((len(rows), POSITION_FEATURES), dtype=np.float32)
    positions[:, 0] = np.arange(len(rows))
    positions[:, 1] = np.arange(len(rows)) / len(rows)
    positions[:, 2] = np.arange(1, len(rows) + 1) / len(rows)
    return SegmentedDocument(segments, positions, Coverage(0, 0, len(rows), len(rows)))
