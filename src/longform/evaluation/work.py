"""How much arithmetic a document is: multiplications and additions of its real tokens alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BAG_TABLES = frozenset({"encoder.tokens.weight", "encoder.pairs.weight"})


@dataclass(frozen=True, slots=True)
class EncoderWork:
    """The floating-point operations of an encoder.

    A token is multiplied once with every weight matrix, two operations a weight; in attention it
    meets all tokens of its segment, twice (scores and their sum), with `width` numbers a layer:
    `2 x weights + 4 x layers x width x segment length` (of a BERT, 24 L d^2 + 4 L s d). Padding,
    and all that is no matrix product, count as nothing.

    Attributes:
        weights: Numbers in the matrices that every token is multiplied with.
        layers: Layers with attention.
        width: Features of a token.
        lookups: Numbers in tables of embeddings, of which a token reads single rows.
    """

    weights: int
    layers: int
    width: int
    lookups: int

    def flops(self, lengths: Iterable[int]) -> int:
        """Return the operations of segments of so many tokens."""
        return sum(
            length * (2 * self.weights + 4 * self.layers * self.width * length)
            for length in lengths
        )


def encoder_work(folder: Path) -> EncoderWork:
    """Read the work of a bundle's encoder from the shapes of its weights.

    Args:
        folder: A bundle, with `config.json` and `model.safetensors`.
    """
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shapes = tensor_shapes(folder / "model.safetensors")
    return work_of(shapes, config.get("encoder_config") or {})


def work_of(shapes: Mapping[str, Sequence[int]], encoder: Mapping[str, Any]) -> EncoderWork:
    """Return the work of an encoder.

    Args:
        shapes: Of the weights of a model, by their names.
        encoder: The encoder's configuration, in Hugging Face's names.
    """
    weights = lookups = 0
    for name, shape in shapes.items():
        if not name.startswith("encoder.") or len(shape) != 2:
            continue
        if "embedding" in name or name in _BAG_TABLES:
            lookups += math.prod(shape)
        else:
            weights += math.prod(shape)
    layers = int(encoder.get("num_hidden_layers") or encoder.get("n_layer") or 0)
    width = int(encoder.get("hidden_size") or encoder.get("n_embd") or 0)
    return EncoderWork(weights, layers if weights else 0, width, lookups)


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Return the shape of each tensor of a safetensors file.

    Only the header is read: its length, eight bytes, then names and shapes as JSON.
    """
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
