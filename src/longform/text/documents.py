"""Documents to segments: one text, or the two texts of a pair side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from longform.errors import InputError
from longform.text.segmenter import Segmenter
from longform.types import Document, SegmentedDocument

PART = 3
"""The column of the positions that tells the first text of a pair, 0, from the second, 1."""


def segment_documents(
    segmenter: Segmenter, documents: Sequence[Document], *, pairs: bool
) -> Iterator[SegmentedDocument]:
    """Segment documents, holding only a bounded part of them in memory.

    Args:
        segmenter: Cuts each text by itself.
        documents: The documents.
        pairs: Whether the model reads two texts; then each document must have both.

    Yields:
        One result per document, in order. Of a pair, the segments of the first text come before
        those of the second, each with offsets and places in its own text.

    Raises:
        InputError: A text that the model wants is missing or has no token, or a second text is
            given to a model of single texts.
    """
    for document in documents:
        check_pair(document, pairs=pairs)
    if not pairs:
        segmented = segmenter.iterate([document.text for document in documents])
        for document, result in zip(documents, segmented, strict=True):
            _require_segments(document, result, "")
            yield result
        return
    # Both texts go through one iterator, so that they share the tokenizer's batches.
    texts = chain.from_iterable((item.text, item.text_pair or "") for item in documents)
    halves = segmenter.iterate(list(texts))
    for document, first, second in zip(documents, halves, halves, strict=True):
        _require_segments(document, first, "the first text of ")
        _require_segments(document, second, "the second text of ")
        yield join_pair(first, second)


def join_pair(first: SegmentedDocument, second: SegmentedDocument) -> SegmentedDocument:
    """Put the segments of a pair's texts into one document; the second are of part 1."""
    positions = np.concatenate([first.positions, second.positions])
    positions[len(first.positions) :, PART] = 1.0
    ours, theirs = first.coverage, second.coverage
    coverage = replace(
        ours,
        tokens_total=ours.tokens_total + theirs.tokens_total,
        tokens_used=ours.tokens_used + theirs.tokens_used,
        segments_total=ours.segments_total + theirs.segments_total,
        segments_used=ours.segments_used + theirs.segments_used,
        truncated=ours.truncated or theirs.truncated,
        reason=ours.reason or theirs.reason,
        tokens_unknown=ours.tokens_unknown + theirs.tokens_unknown,
    )
    return SegmentedDocument(first.segments + second.segments, positions, coverage)


def check_pair(document: Document, *, pairs: bool) -> None:
    """Refuse a document with fewer or more texts than the model reads.

    Raises:
        InputError: The model reads two texts and there is one, or the other way round.
    """
    if pairs == (document.text_pair is not None):
        return
    if pairs:
        raise InputError(
            "This model judges two texts together.",
            found=f"document '{document.id}' has one",
            fix="Give the second: --text-pair-column for a file, text_pair in a request.",
        )
    raise InputError(
        "This model judges one text at a time.",
        found=f"document '{document.id}' has a second one",
        fix="Leave text_pair out, or train with text_pair_column.",
    )


def _require_segments(document: Document, segmented: SegmentedDocument, part: str) -> None:
    if not segmented.segments:
        raise InputError(
            "A text must hold at least one character that can be read.",
            found=f"{part}document '{document.id}' is empty or white space",
            fix="Leave it out, or give its text.",
        )
