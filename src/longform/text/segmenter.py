"""Documents to segments: sentences first, then tokens, then packing.

A document becomes a stream of tokens with *cuts*, the places where a segment may begin or end.
With `segmenter: sentence` these are the sentence ends, and every token boundary inside a sentence
that fits no segment; with `segmenter: fixed` they are all token boundaries. Packing takes as many
tokens as fit up to the last cut. That is all there is: selections and overlaps are choices of cuts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from longform.config import SegmentSettings
from longform.errors import ConfigError
from longform.text.selection import select_segments
from longform.text.sentences import sentence_boundaries
from longform.text.tokenization import TextTokenizer, replace_surrogates
from longform.types import POSITION_FEATURES, Coverage, Segment, SegmentedDocument, TokenIds

SEGMENTER_VERSION = 1
"""Raised when the same text and settings would give other segments; stored in every bundle."""

_BATCH_CHARACTERS = 2_000_000
"""Characters handed to the tokenizer at once: bounds memory, leaves enough to run in parallel."""


@dataclass(frozen=True, slots=True)
class _TokenStream:
    """A tokenised document and where it may be cut.

    Attributes:
        token_ids: int32 `[tokens]`.
        cuts: Token indices, strictly increasing from 0 to the number of tokens.
        starts: Character offset of a segment that begins at the cut.
        ends: Character offset, exclusive, of a segment that ends at the cut.
    """

    token_ids: TokenIds
    cuts: list[int]
    starts: list[int]
    ends: list[int]


class Segmenter:
    """Cuts texts into segments that fit the encoder, losing nothing.

    Args:
        tokenizer: The encoder's tokenizer.
        settings: How to cut and what to read.

    Raises:
        ConfigError: The segment length leaves no room for text beside prefix and special tokens.
    """

    def __init__(self, tokenizer: TextTokenizer, settings: SegmentSettings) -> None:
        self.tokenizer = tokenizer
        self.settings = settings
        before, after = tokenizer.frame(settings.segment_prefix)
        self._before = np.array(before, dtype=np.int32)
        self._after = np.array(after, dtype=np.int32)
        self.capacity = settings.segment_length - len(before) - len(after)
        if self.capacity <= settings.overlap:
            raise ConfigError(
                "segment_length must leave room for text beside the overlap, the prefix and the "
                "special tokens.",
                found=f"segment_length {settings.segment_length}, overlap {settings.overlap}, "
                f"{len(before) + len(after)} tokens of prefix and special tokens",
                fix=f"Set segment_length above {settings.overlap + len(before) + len(after)}.",
            )

    def segment(self, text: str) -> SegmentedDocument:
        """Cut one text. Equal to `segment_batch([text])[0]`."""
        return self.segment_batch([text])[0]

    def segment_batch(self, texts: Sequence[str]) -> list[SegmentedDocument]:
        """Cut many texts, tokenising all their sentences together.

        Args:
            texts: The texts as given; offsets refer to them.

        Returns:
            One result per text, the same whatever the other texts are. A text without tokens has
            no segments.
        """
        return list(self.iterate(texts))

    def iterate(self, texts: Sequence[str]) -> Iterator[SegmentedDocument]:
        """Yield what `segment_batch` returns, holding only a bounded part of it in memory."""
        group: list[str] = []
        characters = 0
        for text in texts:
            group.append(replace_surrogates(text))
            characters += len(text)
            if characters >= _BATCH_CHARACTERS:
                yield from self._segment_group(group)
                group, characters = [], 0
        if group:
            yield from self._segment_group(group)

    def _segment_group(self, texts: list[str]) -> Iterator[SegmentedDocument]:
        boundaries = [sentence_boundaries(text) for text in texts]
        sentences = [
            text[start:end]
            for text, offsets in zip(texts, boundaries, strict=True)
            for start, end in pairwise(offsets)
        ]
        token_ids = self.tokenizer.encode(sentences)
        splittable = [index for index, ids in enumerate(token_ids) if self._is_splittable(ids)]
        spans = self.tokenizer.offsets([sentences[index] for index in splittable])
        spans_of = dict(zip(splittable, spans, strict=True))
        first = 0
        for text, offsets in zip(texts, boundaries, strict=True):
            count = len(offsets) - 1
            inside = {i - first: spans_of[i] for i in range(first, first + count) if i in spans_of}
            stream = self._stream(token_ids[first : first + count], offsets, inside)
            first += count
            yield self._pack(stream, len(text))

    def _is_splittable(self, token_ids: list[int]) -> bool:
        if self.settings.segmenter == "fixed":
            return len(token_ids) > 1
        return len(token_ids) > self.capacity

    def _stream(
        self,
        token_ids: list[list[int]],
        boundaries: list[int],
        spans: dict[int, list[tuple[int, int]]],
    ) -> _TokenStream:
        """Join the sentences of one document; `spans` has the token offsets of those to split."""
        cuts, starts, ends = [0], [0], [0]
        total = 0
        for index, ids in enumerate(token_ids):
            for token, start, end in self._cuts_inside(spans.get(index, [])):
                cuts.append(total + token)
                starts.append(boundaries[index] + start)
                ends.append(boundaries[index] + end)
            total += len(ids)
            if total == cuts[-1]:
                # A sentence of white space alone: it goes to the segment before it, or, at the
                # very start, to the first one.
                if total > 0:
                    starts[-1] = ends[-1] = boundaries[index + 1]
                continue
            cuts.append(total)
            starts.append(boundaries[index + 1])
            ends.append(boundaries[index + 1])
        flat = np.fromiter(chain.from_iterable(token_ids), dtype=np.int32, count=total)
        return _TokenStream(flat, cuts, starts, ends)

    def _cuts_inside(self, spans: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
        """Yield `(token, start, end)` of the cuts inside one sentence.

        A cut never falls inside a character, unless one character alone has more tokens than a
        segment holds; then both segments hold that character.
        """
        last = 0
        for token in range(1, len(spans)):
            start, previous_end = spans[token][0], spans[token - 1][1]
            if start >= previous_end:
                yield token, start, start
                last = token
            elif token - last >= self.capacity:
                yield token, start, previous_end
                last = token

    def _pack(self, stream: _TokenStream, characters: int) -> SegmentedDocument:
        ranges = list(self._ranges(stream.cuts))
        framing = len(self._before) + len(self._after)
        lengths = [stream.cuts[end] - stream.cuts[begin] + framing for begin, end in ranges]
        chosen, reason = select_segments(lengths, self.settings)
        segments = []
        positions = np.zeros((len(chosen), POSITION_FEATURES), dtype=np.float32)
        used = read_up_to = 0
        for row, index in enumerate(chosen):
            begin, end = ranges[index]
            first, last = stream.cuts[begin], stream.cuts[end]
            used += last - max(first, read_up_to)
            read_up_to = last
            start_character, end_character = stream.starts[begin], stream.ends[end]
            ids = np.concatenate([self._before, stream.token_ids[first:last], self._after])
            segments.append(Segment(start_character, end_character, ids))
            relative = (start_character / characters, end_character / characters)
            positions[row, :3] = (index, *relative)
        # Two segments that overlap on all of a third one leave no token out.
        reason = reason if used < len(stream.token_ids) else None
        coverage = Coverage(
            tokens_total=len(stream.token_ids),
            tokens_used=used,
            segments_total=len(ranges),
            segments_used=len(chosen),
            truncated=reason is not None,
            reason=reason,
        )
        return SegmentedDocument(tuple(segments), positions, coverage)

    def _ranges(self, cuts: list[int]) -> Iterator[tuple[int, int]]:
        """Yield the segments as pairs of indices into `cuts`.

        Each segment takes the last cut within the capacity. With an overlap the next one begins
        at the earliest cut that repeats at most `overlap` tokens and still lets it reach beyond
        this one: so no segment lies within another.
        """
        last = len(cuts) - 1
        begin = 0
        while begin < last:
            end = bisect_right(cuts, cuts[begin] + self.capacity) - 1
            yield begin, end
            if end == last:
                return
            earliest = max(cuts[end] - self.settings.overlap, cuts[end + 1] - self.capacity)
            begin = max(bisect_left(cuts, earliest), begin + 1)
