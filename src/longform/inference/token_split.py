"""What each token adds to a neural model's logit, with places in the texts as given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from longform.backends.attributions import TextBatch, TorchAttributions
from longform.backends.contributions import OnnxContributions
from longform.bundle import CONTRIBUTIONS_FILE, WEIGHTS_FILE, Bundle
from longform.inference.packing import collate_segments, pack_segments
from longform.text.segmenter import Segmenter
from longform.types import (
    Document,
    Floats,
    Integers,
    SegmentedDocument,
    TokenContribution,
    TokenSplit,
)

_BATCH_TOKENS = 4_096
"""Padded tokens of a batch: what gradients need of one is kept at a time."""

Terms = dict[tuple[int, int, int], float]
"""What the tokens of a document add, by part, start and end."""


@dataclass(frozen=True, slots=True, eq=False)
class Explainers:
    """What can look into a neural model.

    Attributes:
        segments: Splits the head's logits over the segments; None where they are no sum.
        gradients: The trained model itself; None where the bundle does not have it.
    """

    segments: OnnxContributions | None = None
    gradients: TorchAttributions | None = None


def open_explainers(bundle: Bundle) -> Explainers:
    """Find what a bundle has to look into its model; nothing is loaded before it is asked."""
    segments = gradients = None
    if bundle.has(CONTRIBUTIONS_FILE):
        segments = OnnxContributions(bundle.path(CONTRIBUTIONS_FILE))
    if bundle.has(WEIGHTS_FILE):
        gradients = TorchAttributions(bundle.folder)
    return Explainers(segments, gradients)


def direction_of(row: int, classes: int, *, one_logit: bool) -> Floats:
    """Return what the logits are multiplied with to give the one of a label, float32 `[classes]`.

    Of a binary model with one logit, the first label has the logit 0 whatever the text: there it
    is the label's logit less the other's.
    """
    direction = np.zeros(classes, dtype=np.float32)
    if one_logit:
        direction[1 - row] = -1.0
    direction[row] = 1.0
    return direction


def split_neural(
    gradients: TorchAttributions,
    segmenter: Segmenter,
    document: Document,
    segmented: SegmentedDocument,
    direction: Floats,
) -> TokenSplit:
    """Split the logit of an encoder and a head over the tokens that were read.

    Args:
        gradients: The trained model.
        segmenter: What cut the document.
        document: As it was given.
        segmented: The segments that were read.
        direction: float32 `[classes]`, see `direction_of`.

    Returns:
        Tokens in reading order. One that is in several segments has the sum of what it adds in
        each, and characters that are several tokens are one.
    """
    lengths = [len(segment.token_ids) for segment in segmented.segments]
    before, after = segmenter.framing
    batches = []
    for rows in pack_segments(lengths, _BATCH_TOKENS):
        chosen = [segmented.segments[row] for row in rows]
        batch = collate_segments(chosen, segmenter.tokenizer.pad_id)
        steps = np.arange(batch.input_ids.shape[1])
        ends = np.array([lengths[row] - after for row in rows])[:, np.newaxis]
        batches.append(TextBatch(np.array(rows), batch, (steps >= before) & (steps < ends)))
    found = gradients.tokens(batches, segmented.positions, direction)
    spans = _spans(segmenter, document, segmented)
    terms: Terms = {}
    for item, values in zip(batches, found.terms, strict=True):
        for row, mask, own in zip(item.rows.tolist(), item.text_mask, values, strict=True):
            part = int(segmented.positions[row, 3])
            for (start, end), value in zip(spans[row].tolist(), own[mask].tolist(), strict=True):
                key = (part, start, end)
                terms[key] = terms.get(key, 0.0) + value
    return TokenSplit("integrated_gradients", in_order(terms), found.logit, found.base, found.steps)


def add_exact(split: TokenSplit, beneath: TokenSplit) -> TokenSplit:
    """Add the terms of the linear model beneath to those of the neural one.

    The two read different tokens: what a token of the linear model adds is shared by the neural
    ones at its characters, in proportion, and stands for itself where there is none.
    """
    terms: Terms = {
        (token.part, token.start, token.end): token.contribution for token in split.tokens
    }
    keys = list(terms)
    for part in {token.part for token in beneath.tokens}:
        exact = [token for token in beneath.tokens if token.part == part]
        owners = np.full(max(token.end for token in exact), -1, dtype=np.int64)
        for number, (own_part, start, end) in enumerate(keys):
            if own_part == part:
                owners[start:end] = number
        for token in exact:
            owned = [number for number in owners[token.start : token.end].tolist() if number >= 0]
            found = [keys[number] for number in owned] or [(part, token.start, token.end)]
            for key in found:
                terms[key] = terms.get(key, 0.0) + token.contribution / len(found)
    return TokenSplit(
        "integrated_gradients_and_exact",
        in_order(terms),
        split.logit + beneath.logit,
        split.base + beneath.base,
        split.steps,
    )


def in_order(terms: Terms) -> tuple[TokenContribution, ...]:
    """Return tokens in reading order."""
    return tuple(
        TokenContribution(start, end, value, part)
        for (part, start, end), value in sorted(terms.items())
    )


def _spans(
    segmenter: Segmenter, document: Document, segmented: SegmentedDocument
) -> list[Integers]:
    """Return start and end of the tokens of each segment, int64 `[tokens, 2]`."""
    found: list[Integers] = []
    for part, text in enumerate((document.text, document.text_pair)):
        own = segmented.positions[segmented.positions[:, 3] == part]
        if text is not None and len(own):
            found += segmenter.token_spans(text, own[:, 0].astype(np.int64).tolist())
    return found
