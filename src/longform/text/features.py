"""A text to the hashed n-grams of its parts: what a linear model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longform.text.ngrams import Analyzer, Tokens, gram_places, hash_grams, tokenize
from longform.types import Integers

Buckets = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Block:
    """A part of every document, with buckets of its own.

    Attributes:
        name: `head:N`, `tail:N` or `whole`.
        salt: Keeps its n-grams apart from those of other blocks.
    """

    name: str
    salt: int

    def span(self, tokens: int) -> tuple[int, int]:
        """Return the first token of the block, and the one after its last, in a document."""
        kind, _, size = self.name.partition(":")
        if kind == "head":
            return 0, min(int(size), tokens)
        if kind == "tail":
            return max(tokens - int(size), 0), tokens
        return 0, tokens


class FeatureReader:
    """Reads texts as hashed n-grams.

    Args:
        analyzer: What a token is.
        blocks: Names of the blocks.
        longest: Most tokens of an n-gram.
        bits: There are `2 ** bits` buckets in each block.
        texts: Texts of a document, each of which has all blocks: 2 for a pair.
    """

    def __init__(
        self, analyzer: Analyzer, blocks: Sequence[str], longest: int, bits: int, texts: int = 1
    ) -> None:
        self.analyzer = analyzer
        self.longest = longest
        self.bits = bits
        self.texts = texts
        self._blocks = [
            [Block(name, 1 + text * len(blocks) + index) for index, name in enumerate(blocks)]
            for text in range(texts)
        ]

    @property
    def blocks(self) -> int:
        """Blocks of a document, those of both texts of a pair."""
        return sum(map(len, self._blocks))

    def tokenize(self, text: str) -> Tokens:
        """Cut a cleaned text into tokens."""
        return tokenize(text, self.analyzer)

    def buckets(self, texts: Sequence[Tokens]) -> list[Buckets]:
        """Return the n-grams of each block, int32 `[grams]`, each as often as it occurs."""
        found = []
        for tokens, blocks in zip(texts, self._blocks, strict=True):
            for block in blocks:
                first, last = block.span(len(tokens))
                found.append(
                    hash_grams(tokens.hashes[first:last], self.longest, self.bits, block.salt)
                )
        return found

    def places(self, texts: Sequence[Tokens]) -> list[tuple[int, Integers, Integers]]:
        """Tell where the n-grams of `buckets` stand.

        Returns:
            For each block the text that it is of, and for each n-gram its first token in that
            text and its number of tokens, int64 `[grams]` each.
        """
        found = []
        for number, (tokens, blocks) in enumerate(zip(texts, self._blocks, strict=True)):
            for block in blocks:
                first, last = block.span(len(tokens))
                places, lengths = gram_places(last - first, self.longest)
                found.append((number, places + first, lengths))
        return found
