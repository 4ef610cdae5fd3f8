"""The single steps of augmentation: a text, a strength and chance to a changed text.

Every step takes words or sentences by chance until the strength's share is reached. The last one
is taken or left by chance too, so that even a short text is changed now and then, and the share is
right on average.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from longform.data.lexicon import HAN, Span, SynonymLexicon, is_numeral
from longform.text.sentences import sentence_boundaries

Like = Callable[[str], Sequence[str]]
"""A word to the words that can stand for it."""

_CLAUSE = re.compile(r"[^，、；。！？：…\n]+")
_CLAUSE_MARKS = frozenset("，、；")
_BEFORE_CLAUSE = "”’」』）》〉】 \t\u3000"
_HAN_CHARACTER = re.compile(f"[{HAN}]")
# A clause with one of these may hold half of a quotation or a bracket, and moving it tear that.
_TEARING = re.compile(r"[\s,.;!?“”‘’「」『』()（）《》〈〉【】\[\]\"']")
_CLOSERS = r"[\"'”’」』》）)\]】〉»]*"
# An end after which any sentence may follow: behind a Western mark that takes a blank.
_OPEN_END = re.compile(rf"(?:[。！？；…]{_CLOSERS}\s*|[.!?]{_CLOSERS}\s+)$")
_LONGEST_END = 20


@dataclass(frozen=True, slots=True)
class Change:
    """How much of a text a step changed.

    Attributes:
        changed: Characters (sentences, for steps on sentences) replaced, removed or moved.
        total: Characters that are no white space (sentences) before the step.
    """

    changed: int
    total: int

    def __add__(self, other: Change) -> Change:
        return Change(self.changed + other.changed, self.total + other.total)


def count_characters(text: str) -> int:
    """Return how many characters are no white space."""
    return sum(map(len, text.split()))


def replace_words(
    text: str, strength: float, generator: np.random.Generator, lexicon: SynonymLexicon, like: Like
) -> tuple[str, Change]:
    """Put words of the same meaning, in the case of the word that they replace.

    A capital inside a sentence is taken for that of a name, and the word stays.
    """
    spans = [
        span
        for span in lexicon.words(text)
        if like(text[slice(*span)]) and not _may_be_name(text, span)
    ]
    total = count_characters(text)
    edits = {}
    for index in _take(list(map(_length, spans)), strength * total, generator):
        word = text[slice(*spans[index])]
        others = like(word)
        edits[spans[index]] = _in_case_of(word, others[int(generator.integers(len(others)))])
    return _edit(text, edits), Change(sum(map(_length, edits)), total)


def delete_words(
    text: str, strength: float, generator: np.random.Generator, lexicon: SynonymLexicon
) -> tuple[str, Change]:
    """Leave words out; of Chinese, words of the lexicon and single characters. One word stays.

    Words that touch a number stay: they may be its unit, or part it from another number.
    """
    spans = [span for span in lexicon.words(text) if not _touches_number(text, span)]
    total = count_characters(text)
    taken = _take(list(map(_length, spans)), strength * total, generator)
    chosen = sorted(spans[index] for index in taken[: len(spans) - 1])
    return _edit(text, dict.fromkeys(_with_blanks(text, chosen), "")), Change(
        sum(map(_length, chosen)), total
    )


def swap_neighbours(
    text: str, strength: float, generator: np.random.Generator, lexicon: SynonymLexicon
) -> tuple[str, Change]:
    """Exchange neighbouring words between blanks, and neighbouring Chinese clauses.

    Chinese characters keep their neighbours: exchanged, they make words that nobody writes.
    Clauses with a part of a quotation or a bracket stay where they are.
    """
    pairs = [*_word_pairs(text, lexicon), *_clause_pairs(text)]
    total = count_characters(text)
    lengths = [_length(left) + _length(right) for left, right in pairs]
    edits: dict[Span, str] = {}
    for index in _take(lengths, strength * total, generator):
        left, right = pairs[index]
        if left not in edits and right not in edits:
            edits[left], edits[right] = text[slice(*right)], text[slice(*left)]
    return _edit(text, edits), Change(sum(map(_length, edits)), total)


def drop_sentences(
    text: str, strength: float, generator: np.random.Generator
) -> tuple[str, Change]:
    """Leave sentences out, unless nothing would stay."""
    sentences = split_sentences(text)
    dropped = set(_take([1] * len(sentences), strength * len(sentences), generator))
    kept = "".join(part for number, part in enumerate(sentences) if number not in dropped)
    if not kept.strip():
        return text, Change(0, len(sentences))
    return kept, Change(len(dropped), len(sentences))


def shuffle_sentences(
    text: str, strength: float, generator: np.random.Generator
) -> tuple[str, Change]:
    """Exchange the places of sentences, each with its end mark and the white space behind it.

    Headings and other lines without an end mark stay where they are.
    """
    sentences = split_sentences(text)
    movable = [n for n, part in enumerate(sentences) if _OPEN_END.search(part[-_LONGEST_END:])]
    # By twos, since one alone has no place to go to.
    twos = _take([2] * (len(movable) // 2), strength * len(sentences), generator)
    places = generator.permutation(movable)[: 2 * len(twos)].tolist()
    moved = list(sentences)
    # Each goes to the place of the next one, so that all of them move.
    for place, source in zip(places, places[1:] + places[:1], strict=True):
        moved[place] = sentences[source]
    changed = sum(before != after for before, after in zip(sentences, moved, strict=True))
    return "".join(moved), Change(changed, len(sentences))


def split_sentences(text: str) -> list[str]:
    """Return the sentences, each with the white space behind it."""
    ends = sentence_boundaries(text)
    return [text[start:end] for start, end in pairwise(ends)]


def _take(lengths: Sequence[int], budget: float, generator: np.random.Generator) -> list[int]:
    """Return numbers of items, in random order, whose lengths together are the budget."""
    taken = []
    for index in generator.permutation(len(lengths)).tolist():
        length = lengths[index]
        if length > budget and generator.random() * length >= budget:
            break
        taken.append(index)
        budget -= length
        if budget <= 0:
            break
    return taken


def _length(span: Span) -> int:
    return span[1] - span[0]


def _edit(text: str, edits: Mapping[Span, str]) -> str:
    """Put other text for spans that do not overlap."""
    pieces, position = [], 0
    for start, end in sorted(edits):
        pieces += [text[position:start], edits[start, end]]
        position = end
    return "".join([*pieces, text[position:]])


def _may_be_name(text: str, span: Span) -> bool:
    start, end = span
    if not text[start].isupper() or (text[start:end].isupper() and end - start > 1):
        return False
    before = text[max(0, start - _LONGEST_END) : start].rstrip(" ")
    return before[-1:].isalnum() or before[-1:] in {",", "-", "&"}


def _in_case_of(word: str, other: str) -> str:
    if word.isupper() and len(word) > 1:
        return other.upper()
    return other[:1].upper() + other[1:] if word[:1].isupper() else other


def _with_blanks(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Join neighbouring spans that go, and widen them by a blank that would be one too many."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and not text[joined[-1][1] : start].strip(" "):
            start = joined.pop()[0]
        joined.append((start, end))
    for start, end in joined:
        before, after = text[start - 1 : start], text[end : end + 1]
        if after == " " and (not before or before.isspace()):
            yield start, end + 1
        elif before == " " and not after.isalnum():
            yield start - 1, end
        else:
            yield start, end


def _touches_number(text: str, span: Span) -> bool:
    return is_numeral(text[max(0, span[0] - 1) : span[0]]) or is_numeral(
        text[span[1] : span[1] + 1]
    )


def _word_pairs(text: str, lexicon: SynonymLexicon) -> Iterator[tuple[Span, Span]]:
    """Yield neighbouring words with nothing but blanks between them."""
    left: Span | None = None
    for span in lexicon.words(text):
        if left is not None and left[1] < span[0] and text[left[1] : span[0]].strip(" ") == "":
            yield left, span
        left = span


def _clause_pairs(text: str) -> Iterator[tuple[Span, Span]]:
    """Yield neighbouring Chinese clauses with one comma between them."""
    left: Span | None = None
    for match in _CLAUSE.finditer(text):
        clause = match[0]
        start, end = match.span()
        # What closes the sentence before, and the indent of a paragraph.
        clause = clause.lstrip(_BEFORE_CLAUSE)
        start = end - len(clause)
        if _TEARING.search(clause) or not _HAN_CHARACTER.search(clause):
            left = None
            continue
        if left is not None and left[1] + 1 == start and _parts_clauses(text, left[1]):
            yield left, (start, end)
        left = start, end


def _parts_clauses(text: str, place: int) -> bool:
    """Tell whether a mark parts two clauses, and not the digits of a number."""
    in_number = text[place - 1].isdigit() and text[place + 1].isdigit()
    return text[place] in _CLAUSE_MARKS and not in_number
