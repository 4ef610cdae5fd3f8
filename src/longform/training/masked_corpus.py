"""Texts without labels to the segments that pretraining learns from and is measured on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from longform.errors import InputError
from longform.reporting import Reporter
from longform.text.segmenter import Segmenter
from longform.training.masking import WordMasker
from longform.types import Document, TokenIds

_JUDGED_SEGMENTS = 2_000
"""Held-out segments that the loss is measured on at most: more make it slower and hardly surer."""


def cut_segments(
    segmenter: Segmenter,
    masker: WordMasker,
    documents: Sequence[Document],
    reporter: Reporter,
) -> list[TokenIds]:
    """Cut documents as a classifier does, leaving out segments without a word to guess.

    Raises:
        InputError: No segment has one.
    """
    texts = [
        text
        for document in documents
        for text in (document.text, document.text_pair)
        if text is not None
    ]
    segments: list[TokenIds] = []
    with reporter.track("Segmenting", len(texts), unit="texts") as advance:
        for result in segmenter.iterate(texts):
            segments += [item.token_ids for item in result.segments]
            advance(1)
    usable = [segment for segment in segments if masker.has_words(segment)]
    if not usable:
        raise InputError(
            "Texts to learn from must hold words that the tokenizer knows.",
            found=f"none in {len(documents):,} documents",
            fix="Check the text column, and that the encoder is of the language of the texts.",
        )
    if len(usable) < len(segments):
        reporter.say(
            f"{len(segments) - len(usable):,} of {len(segments):,} segments are left out: the "
            "tokenizer knows no word of them."
        )
    return usable


def sample(segments: list[TokenIds], seed: int, reporter: Reporter) -> list[TokenIds]:
    """Draw the segments that the loss is measured on; few enough are all taken."""
    if len(segments) <= _JUDGED_SEGMENTS:
        return segments
    reporter.say(
        f"The loss is measured on {_JUDGED_SEGMENTS:,} of {len(segments):,} held-out segments, "
        "drawn by the seed."
    )
    chosen = np.random.default_rng(seed).choice(len(segments), _JUDGED_SEGMENTS, replace=False)
    return [segments[index] for index in sorted(chosen.tolist())]
