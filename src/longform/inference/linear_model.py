"""A linear model over hashed n-grams: its weights, and what it makes of a text. numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longform.text.features import Buckets, FeatureReader
from longform.text.ngrams import Tokens
from longform.types import Floats, Integers

WEIGHTS_FILE = "linear/model.safetensors"
_INT8_LARGEST = 127


@dataclass(frozen=True, slots=True, eq=False)
class LinearWeights:
    """What fitting leaves. A feature is a bucket of a block.

    Attributes:
        buckets: int32 `[features]`, ascending within each block.
        block_sizes: int64 `[blocks]`, features of each block, which lie together.
        idf: float32 `[features]`, how rare each is.
        weights: float32 or int8 `[features, classes]`.
        scales: float32 `[features]`, what each row of `weights` is multiplied by.
        bias: float32 `[classes]`.
    """

    buckets: Buckets
    block_sizes: Integers
    idf: Floats
    weights: NDArray[np.float32] | NDArray[np.int8]
    scales: Floats
    bias: Floats

    @property
    def precision(self) -> str:
        """`fp32` or `int8`."""
        return "int8" if self.weights.dtype == np.int8 else "fp32"

    def rounded(self) -> LinearWeights:
        """Return the same in int8: each feature by its own largest weight."""
        largest = np.abs(self.weights).max(axis=1, initial=0.0).astype(np.float32)
        scales = np.maximum(largest, np.float32(1e-30)) / _INT8_LARGEST
        rounded = np.rint(self.weights / scales[:, np.newaxis]).astype(np.int8)
        return LinearWeights(
            self.buckets, self.block_sizes, self.idf, rounded, scales * self.scales, self.bias
        )

    def save(self, path: Path) -> None:
        """Write all arrays into one safetensors file."""
        from safetensors.numpy import save_file

        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in self.__slots__}
        save_file(arrays, path)

    @classmethod
    def load(cls, path: Path) -> LinearWeights:
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        return cls(**load_file(path))


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """A document as a linear model reads it.

    Attributes:
        rows: int32 `[features]`, those that occur, each once.
        values: float32 `[features]`: `(1 + ln count) idf`, of length 1 in each block.
    """

    rows: NDArray[np.int32]
    values: Floats


class LinearModel:
    """Weights, ready to be asked.

    Args:
        reader: How texts become n-grams.
        weights: What was fitted on such n-grams.
    """

    def __init__(self, reader: FeatureReader, weights: LinearWeights) -> None:
        self.reader = reader
        self.weights = weights
        self._tables = np.full((reader.blocks, 2**reader.bits), -1, dtype=np.int32)
        rows = np.arange(len(weights.buckets), dtype=np.int32)
        ends = np.cumsum(weights.block_sizes)
        for table, end, size in zip(self._tables, ends, weights.block_sizes, strict=True):
            table[weights.buckets[end - size : end]] = rows[end - size : end]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.weights.bias)

    def features(self, texts: Sequence[Tokens]) -> Features:
        """Read the tokens of a document's texts."""
        pieces = [self._weigh(*block) for block in enumerate(self.reader.buckets(texts))]
        return Features(
            np.concatenate([rows for rows, _ in pieces]),
            np.concatenate([values for _, values in pieces]),
        )

    def contributions(self, features: Features) -> Floats:
        """Return what the features of a document add to the logits, float32 `[classes]`."""
        rows, weights = features.rows, self.weights
        gathered = weights.weights.take(rows, axis=0).astype(np.float32)
        total = (features.values * weights.scales.take(rows)) @ gathered
        return np.asarray(total, dtype=np.float32)

    def logits(self, texts: Sequence[Tokens]) -> Floats:
        """Return the logits of a document, float32 `[classes]`."""
        return self.contributions(self.features(texts)) + self.weights.bias

    def token_contributions(self, texts: Sequence[Tokens]) -> list[Floats]:
        """Split the logits over the tokens of a document.

        Every occurrence of an n-gram gets an equal share of what the n-gram adds, and each of its
        tokens an equal share of that: together with the bias the parts add up to the logits.

        Returns:
            float32 `[tokens, classes]` for each text.
        """
        parts = [np.zeros((len(tokens), self.classes), dtype=np.float64) for tokens in texts]
        places = self.reader.places(texts)
        for block, buckets in enumerate(self.reader.buckets(texts)):
            rows, values = self._weigh(block, buckets)
            if not len(rows):
                continue
            number, first, lengths = places[block]
            found = self._tables[block].take(buckets)
            occurring = np.flatnonzero(found >= 0)
            where = np.searchsorted(rows, found[occurring])
            counts = np.bincount(where, minlength=len(rows))
            scaled = values * self.weights.scales[rows] / counts
            added = self.weights.weights[rows].astype(np.float32) * scaled[:, np.newaxis]
            each = added[where] / lengths[occurring, np.newaxis]
            for offset in range(self.reader.longest):
                reach = lengths[occurring] > offset
                np.add.at(parts[number], first[occurring][reach] + offset, each[reach])
        return [part.astype(np.float32) for part in parts]

    def _weigh(self, block: int, buckets: Buckets) -> tuple[NDArray[np.int32], Floats]:
        """Return the rows of the known features of a block, ascending, and their values."""
        if not len(buckets):
            return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
        # Sorted first: the tables are then read in the order in which they lie in memory.
        ordered = np.sort(buckets)
        is_first = np.empty(len(ordered) + 1, dtype=np.bool_)
        is_first[0] = is_first[-1] = True
        np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:-1])
        first = is_first.nonzero()[0]
        rows = self._tables[block].take(ordered.take(first[:-1]))
        known = (rows >= 0).nonzero()[0]
        rows = rows.take(known)
        counts = np.subtract(first[1:], first[:-1], dtype=np.float32, casting="unsafe").take(known)
        values = (1.0 + np.log(counts)) * self.weights.idf.take(rows)
        length = np.sqrt(values @ values)
        return rows, values / length if length else values
