"""Cleaning of a text before it is cut: the same steps in training and serving.

Each step is a function from a text to its edited form, or to None where it finds nothing to do,
which is the common case and costs one scan. Every step knows which characters of the text it was
given became which, and so the places in the cleaned text can be found in the text as given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from longform.config import CleaningStep, SegmentSettings
from longform.text.alignment import Alignment, Edited
from longform.text.characters import (
    Simplifier,
    SymbolRemover,
    normalize_nfkc,
    normalize_width,
    replace_controls,
)
from longform.text.layout_noise import join_numbers, remove_boilerplate, shorten_runs
from longform.text.markup import remove_addresses, remove_html
from longform.text.tokenization import replace_surrogates
from longform.types import Integers

_Step = Callable[[str], Edited | None]

_PLAIN_STEPS: Mapping[CleaningStep, _Step] = {
    "html": remove_html,
    "urls": remove_addresses,
    "unicode_nfkc": normalize_nfkc,
    "width": normalize_width,
    "control_characters": replace_controls,
    "numbers": join_numbers,
    "repeated_punctuation": shorten_runs,
    "boilerplate": remove_boilerplate,
}


@dataclass(frozen=True, slots=True, eq=False)
class CleanedText:
    """A cleaned text that remembers where its characters come from.

    Attributes:
        text: The cleaned text.
        changes: For each step that did something, how many characters it replaced or removed.
    """

    text: str
    changes: Mapping[CleaningStep, int]
    _alignments: tuple[Alignment, ...] = ()

    @property
    def is_shifted(self) -> bool:
        """Whether any character stands at another place than in the text as given."""
        return bool(self._alignments)

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Return where the characters `text[start:end]` stand in the text as given.

        Args:
            start: Character offset into the cleaned text.
            end: Character offset, exclusive.

        Returns:
            The smallest span that holds them: what was removed at its ends is not part of it.
        """
        ((first, last),) = self.original_spans(np.array([start]), np.array([end])).tolist()
        return first, last

    def original_spans(self, starts: Integers, ends: Integers) -> Integers:
        """Do what `original_span` does for many at once: int64 `[spans]` twice to `[spans, 2]`."""
        first = self.original_starts(starts)
        last = ends
        for alignment in reversed(self._alignments):
            last = alignment.tight_ends(last)
        return np.stack([first, np.maximum(first, last)], axis=1)

    def original_starts(self, offsets: Integers) -> Integers:
        """Return where pieces of the text as given begin.

        Pieces that follow each other without a gap in the cleaned text do so in the text as
        given: what was removed between two belongs to the first. A cut within what replaced a
        character puts the whole character into both.

        Args:
            offsets: int64, character offsets into the cleaned text at which pieces begin.
        """
        for alignment in reversed(self._alignments):
            offsets = alignment.cut_starts(offsets)
        return offsets

    def original_ends(self, offsets: Integers) -> Integers:
        """Return where pieces of the text as given end; see `original_starts`.

        Args:
            offsets: int64, character offsets into the cleaned text at which pieces end.
        """
        for alignment in reversed(self._alignments):
            offsets = alignment.cut_ends(offsets)
        return offsets


class Cleaner:
    """Carries out the cleaning steps of the settings, in the order of `CleaningStep`.

    Args:
        settings: Where `cleaning` and `keep_symbols` are.

    Raises:
        MissingExtraError: A step needs a library that is not installed.
    """

    def __init__(self, settings: SegmentSettings) -> None:
        self._steps = [(name, _make_step(name, settings)) for name in settings.cleaning]

    def clean(self, text: str) -> CleanedText:
        """Clean one text, after exchanging its lone surrogates, as `replace_surrogates` does."""
        text = replace_surrogates(text)
        changes: dict[CleaningStep, int] = {}
        alignments = []
        for name, step in self._steps:
            edited = step(text)
            if edited is None:
                continue
            text = edited.text
            changes[name] = edited.changed
            if edited.alignment is not None:
                alignments.append(edited.alignment)
        return CleanedText(text, changes, tuple(alignments))


def _make_step(name: CleaningStep, settings: SegmentSettings) -> _Step:
    if name == "traditional_to_simplified":
        return Simplifier()
    if name == "symbols":
        return SymbolRemover(settings.keep_symbols)
    return _PLAIN_STEPS[name]
