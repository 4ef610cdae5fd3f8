"""Which of a document's segments are read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from longform.config import SegmentSettings
from longform.types import Floats, TokenIds


def select_segments(
    lengths: Sequence[int],
    settings: SegmentSettings,
    contents: Sequence[TokenIds] | None = None,
) -> tuple[list[int], str | None]:
    """Choose segments by the settings' `selection` and `max_segments`.

    `head` and `tail` take whole segments from either end while their lengths fit the token
    budget, and at least one; `salient` and `random` take them in the order of their rank.

    Args:
        lengths: Tokens of each segment in reading order, special tokens included.
        settings: Where the selection and its budgets are.
        contents: int32 `[tokens]` of each segment, which `salient` and `random` rank by; None
            ranks in reading order, for those who only count.

    Returns:
        The chosen indices in reading order, and what left segments out: `selection`,
        `max_segments` or None.
    """
    count = len(lengths)
    chosen = set(range(count))
    if settings.selection in {"head", "head_tail"}:
        chosen = set(range(_fitting(lengths, settings.head_tokens)))
    if settings.selection in {"tail", "head_tail"}:
        taken = _fitting(lengths[::-1], settings.tail_tokens)
        tail = set(range(count - taken, count))
        chosen = tail if settings.selection == "tail" else chosen | tail
    if settings.selection in {"salient", "random"}:
        rank = _rank(settings, contents) if contents else list(range(count))
        taken = _fitting([lengths[index] for index in rank], settings.selected_tokens)
        chosen = set(rank[:taken])
    reason = "selection" if len(chosen) < count else None
    ordered = sorted(chosen)
    if settings.max_segments is not None and len(ordered) > settings.max_segments:
        return ordered[: settings.max_segments], "max_segments"
    return ordered, reason


def salience(contents: Sequence[TokenIds]) -> Floats:
    """Return how much each segment tells of its document, float32 `[segments]`.

    TF-IDF with the segments for documents ("TF-ISF", Larocca Neto et al., "Document Clustering and
    Text Summarization", 2000): a token weighs the more the more often the document has it, and the
    fewer segments do. A segment has the mean weight of its different tokens. No other document is
    needed, so that training and serving agree.
    """
    if not contents:
        return np.zeros(0, dtype=np.float32)
    tokens, places = np.unique(np.concatenate(contents), return_inverse=True)
    owners = np.repeat(np.arange(len(contents)), [len(part) for part in contents])
    pairs = np.unique(np.stack([owners, places], axis=1), axis=0)
    frequency = np.bincount(places, minlength=len(tokens))
    segments = np.bincount(pairs[:, 1], minlength=len(tokens))
    weights = (1.0 + np.log(frequency)) * np.log(len(contents) / segments)
    sums = np.bincount(pairs[:, 0], weights=weights[pairs[:, 1]], minlength=len(contents))
    different = np.bincount(pairs[:, 0], minlength=len(contents))
    return np.asarray(sums / np.maximum(different, 1), dtype=np.float32)


def _rank(settings: SegmentSettings, contents: Sequence[TokenIds]) -> list[int]:
    """Return the indices of segments, those to be read first first."""
    if settings.selection == "salient":
        ranked: list[int] = np.argsort(-salience(contents), kind="stable").tolist()
        return ranked
    # Drawn by the content: a document is read in the same way whenever it comes.
    digest = hashlib.blake2b(b"".join(part.tobytes() for part in contents), digest_size=8)
    drawn: list[int] = (
        np.random.default_rng(int.from_bytes(digest.digest(), "little"))
        .permutation(len(contents))
        .tolist()
    )
    return drawn


def _fitting(lengths: Sequence[int], budget: int) -> int:
    """Return how many leading segments fit the budget, at least one where there is one."""
    total = 0
    for index, length in enumerate(lengths):
        total += length
        if total > budget:
            return max(index, 1)
    return len(lengths)
