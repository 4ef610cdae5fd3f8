"""Documents to segments: sentences first, then tokens, then packing.

A document becomes a stream of tokens with *cuts*, the places where a segment may begin or end.
With `segmenter: sentence` these are the sentence ends, and every token boundary inside a sentence
that fits no segment; with `segmenter: fixed` they are all token boundaries. Packing takes as many
tokens as fit up to the last cut. That is all there is: selections and overlaps are choices of cuts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from longform.config import SegmentSettings
from longform.errors import ConfigError
from longform.text.cleaning import CleanedText, Cleaner
from longform.text.pipeline import map_ahead
from longform.text.selection import select_segments
from longform.text.sentences import sentence_boundaries
from longform.text.tokenization import TextTokenizer
from longform.types import (
    POSITION_FEATURES,
    Coverage,
    Integers,
    Segment,
    SegmentedDocument,
    TokenIds,
)

SEGMENTER_VERSION = 1
"""Raised when the same text and settings would give other segments; stored in every bundle."""

_BATCH_CHARACTERS = 1_000_000
"""Characters handed to the tokenizer at once. Fewer cost it time, since its memory is then freed
and taken piece by piece; more cost memory, some hundred bytes for each token of two batches."""
_FIRST_BATCH_SHARE = 0.125
"""The first batch is smaller, each next one twice as large: the tokenizer begins at once."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A text ready to be tokenised.

    Attributes:
        characters: Of the text as given.
        cleaned: What is read of it.
        boundaries: Of the sentences of the cleaned text.
    """

    characters: int
    cleaned: CleanedText
    boundaries: list[int]


@dataclass(frozen=True, slots=True)
class _Group:
    """Texts whose sentences are tokenised together."""

    sources: list[_Source]
    sentences: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Tokens:
    """The tokens of a group's sentences.

    Attributes:
        token_ids: int32 `[tokens]`.
        lengths: int64 `[sentences]`, tokens of each.
        spans: Characters of each token, for the sentences that may be cut inside.
    """

    token_ids: TokenIds
    lengths: Integers
    spans: dict[int, list[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class _TokenStream:
    """A tokenised document and where it may be cut.

    Attributes:
        token_ids: int32 `[tokens]`.
        cuts: Token indices, strictly increasing from 0 to the number of tokens.
        starts: Character offset, in the text as given, of a segment that begins at the cut.
        ends: Character offset, exclusive, of a segment that ends at the cut.
    """

    token_ids: TokenIds
    cuts: list[int]
    starts: list[int]
    ends: list[int]


class Segmenter:
    """Cleans texts and cuts them into segments that fit the encoder, losing nothing.

    Args:
        tokenizer: The encoder's tokenizer.
        settings: How to clean, how to cut and what to read.

    Raises:
        ConfigError: The segment length leaves no room for text beside prefix and special tokens.
        MissingExtraError: A cleaning step needs a library that is not installed.
    """

    def __init__(self, tokenizer: TextTokenizer, settings: SegmentSettings) -> None:
        self.tokenizer = tokenizer
        self.settings = settings
        self.cleaner = Cleaner(settings)
        before, after = tokenizer.frame(settings.segment_prefix)
        self._before = np.array(before, dtype=np.int32)
        self._after = np.array(after, dtype=np.int32)
        unknown = tokenizer.unknown_id
        self._unknown = -1 if unknown is None else unknown
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

    def iterate(self, texts: Iterable[str]) -> Iterator[SegmentedDocument]:
        """Yield what `segment_batch` returns, holding only a bounded part of it in memory.

        The texts are taken, cleaned and packed in the caller's thread while others tokenise.
        """
        groups = self._groups(texts)
        for group, tokens in map_ahead(lambda group: (group, self._tokenize(group)), groups):
            yield from self._documents(group, tokens)

    def token_spans(self, text: str, indices: Iterable[int]) -> list[Integers]:
        """Return where the tokens of segments stand in the text as given.

        Args:
            text: A text that was segmented before.
            indices: Numbers of segments, the first column of `SegmentedDocument.positions`.

        Returns:
            Start and end of each token, int64 `[tokens, 2]` for each segment. Those of `framing`
            stand nowhere and are left out.
        """
        (group,) = self._groups([text])
        (source,) = group.sources
        tokens = self._tokenize(group)
        stream = self._stream(tokens.token_ids, tokens.lengths, source, tokens.spans)
        ranges = list(self._ranges(stream.cuts))
        inside = self.tokenizer.offsets(group.sentences)
        spans = np.array(
            [
                (begin + start, begin + end)
                for begin, found in zip(source.boundaries, inside, strict=False)
                for start, end in found
            ],
            dtype=np.int64,
        )
        spans = source.cleaned.original_spans(spans[:, 0], spans[:, 1])
        bounds = [ranges[index] for index in indices]
        return [spans[stream.cuts[begin] : stream.cuts[end]] for begin, end in bounds]

    @property
    def framing(self) -> tuple[int, int]:
        """How many tokens of each segment stand before and after those of its text."""
        return len(self._before), len(self._after)

    def _groups(self, texts: Iterable[str]) -> Iterator[_Group]:
        group, characters = _Group([], []), 0
        enough = _FIRST_BATCH_SHARE * _BATCH_CHARACTERS
        for text in texts:
            cleaned = self.cleaner.clean(text)
            boundaries = sentence_boundaries(cleaned.text)
            group.sources.append(_Source(len(text), cleaned, boundaries))
            content = cleaned.text
            group.sentences.extend([content[start:end] for start, end in pairwise(boundaries)])
            characters += len(content)
            if characters >= enough:
                yield group
                group, characters = _Group([], []), 0
                enough = min(2 * enough, _BATCH_CHARACTERS)
        if group.sources:
            yield group

    def _tokenize(self, group: _Group) -> _Tokens:
        parts = [self.tokenizer.encode_joined(part) for part in _batches(group.sentences)]
        token_ids = np.concatenate([ids for ids, _ in parts])
        lengths = np.concatenate([counts for _, counts in parts])
        most = 1 if self.settings.segmenter == "fixed" else self.capacity
        splittable = np.flatnonzero(lengths > most).tolist()
        spans = self.tokenizer.offsets([group.sentences[index] for index in splittable])
        return _Tokens(token_ids, lengths, dict(zip(splittable, spans, strict=True)))

    def _documents(self, group: _Group, tokens: _Tokens) -> Iterator[SegmentedDocument]:
        first = first_token = 0
        for source in group.sources:
            last = first + len(source.boundaries) - 1
            lengths = tokens.lengths[first:last]
            token_ids = tokens.token_ids[first_token : first_token + int(lengths.sum())]
            inside = {}
            if tokens.spans:
                inside = {
                    i - first: tokens.spans[i] for i in range(first, last) if i in tokens.spans
                }
            stream = self._stream(token_ids, lengths, source, inside)
            first, first_token = last, first_token + len(token_ids)
            yield self._pack(stream, source.characters)

    def _stream(
        self,
        token_ids: TokenIds,
        lengths: Integers,
        source: _Source,
        spans: dict[int, list[tuple[int, int]]],
    ) -> _TokenStream:
        """Find the cuts of one document; `spans` has the token offsets of sentences to split."""
        boundaries = np.array(source.boundaries, dtype=np.int64)
        # A sentence of white space alone goes to the segment before it, or, at the very start, to
        # the first one.
        spoken = np.flatnonzero(lengths)
        cuts = np.concatenate([[0], np.cumsum(lengths)[spoken]])
        starts = np.concatenate([boundaries[:1], boundaries[spoken[1:]], boundaries[-1:]])
        starts = starts[: len(cuts)]
        ends = starts
        if spans:
            cuts, starts, ends = self._with_cuts_inside(cuts, starts, spoken, boundaries, spans)
        if source.cleaned.is_shifted:
            starts = source.cleaned.original_starts(starts)
            # What cleaning removed before the first character belongs to the first segment.
            starts[0] = 0
            ends = source.cleaned.original_ends(ends)
        return _TokenStream(token_ids, cuts.tolist(), starts.tolist(), ends.tolist())

    def _with_cuts_inside(
        self,
        cuts: Integers,
        starts: Integers,
        spoken: Integers,
        boundaries: Integers,
        spans: dict[int, list[tuple[int, int]]],
    ) -> tuple[Integers, Integers, Integers]:
        """Return cuts, starts and ends with those inside the sentences of `spans` among them."""
        rows = [np.stack([cuts, starts, starts], axis=1)]
        for row, index in enumerate(spoken.tolist()):
            inside = list(self._cuts_inside(spans.get(index, [])))
            if inside:
                origin = (cuts[row], boundaries[index], boundaries[index])
                rows.append(np.array(inside, dtype=np.int64) + origin)
        table = np.concatenate(rows)
        # Each token is cut at most once, so that the order of the cuts is that of their tokens.
        table = table[np.argsort(table[:, 0], kind="stable")]
        return table[:, 0], table[:, 1], table[:, 2]

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
        framing = sum(self.framing)
        lengths = [stream.cuts[end] - stream.cuts[begin] + framing for begin, end in ranges]
        contents = None
        if self.settings.selection in {"salient", "random"}:
            contents = [
                stream.token_ids[stream.cuts[begin] : stream.cuts[end]] for begin, end in ranges
            ]
        chosen, reason = select_segments(lengths, self.settings, contents)
        segments = []
        positions = np.zeros((len(chosen), POSITION_FEATURES), dtype=np.float32)
        used = read_up_to = 0
        for row, index in enumerate(chosen):
            begin, end = ranges[index]
            first, last = stream.cuts[begin], stream.cuts[end]
            new_tokens = last - max(first, read_up_to)
            used += new_tokens
            read_up_to = last
            start_character, end_character = stream.starts[begin], stream.ends[end]
            ids = np.concatenate([self._before, stream.token_ids[first:last], self._after])
            segments.append(Segment(start_character, end_character, ids, new_tokens))
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
            tokens_unknown=int(np.count_nonzero(stream.token_ids == self._unknown)),
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


def _batches(sentences: list[str]) -> Iterator[list[str]]:
    """Yield the sentences in runs of about `_BATCH_CHARACTERS`; one text may have many more."""
    first = characters = 0
    for index, sentence in enumerate(sentences):
        characters += len(sentence)
        if characters >= _BATCH_CHARACTERS:
            yield sentences[first : index + 1]
            first, characters = index + 1, 0
    if first < len(sentences) or not sentences:
        yield sentences[first:]
