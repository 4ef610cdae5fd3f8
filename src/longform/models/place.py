"""Where a segment stands in its document, told to every aggregator alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_PLACE_FEATURES = 7
_LONG_DOCUMENT = 8.0
"""Scale of the logarithm of the segment index: exp(8) segments are a very long document."""


def place_features(positions: Tensor) -> Tensor:
    """Turn positions into features of a comparable size.

    Args:
        positions: float `[docs, segments, 4]`: index, relative start, relative end, part.

    Returns:
        float `[docs, segments, 7]`: is first, is last, log index, relative start, relative end,
        relative length, part.
    """
    index, start, end, part = positions.unbind(dim=-1)
    first = (index < 0.5).to(positions.dtype)
    last = (end > 1.0 - 1e-6).to(positions.dtype)
    depth = torch.log1p(index) / _LONG_DOCUMENT
    return torch.stack([first, last, depth, start, end, end - start, part], dim=-1)


class Place(nn.Module):
    """Scales and shifts each segment vector by where the segment stands (a FiLM layer).

    After Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer" (2018). A shift
    alone would be lost in an average; the scale lets the head of a document count for more.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(_PLACE_FEATURES, 32)
        self.modulation = nn.Linear(32, 2 * width)

    def forward(self, vectors: Tensor, positions: Tensor) -> Tensor:
        """Return `[docs, segments, width]`, the same shape as `vectors`."""
        hidden = torch.nn.functional.gelu(self.hidden(place_features(positions)))
        scale, shift = self.modulation(hidden).chunk(2, dim=-1)
        return vectors * (1.0 + scale) + shift


def sinusoids(index: Tensor, width: int) -> Tensor:
    """Encode places by sines and cosines, for any number of them.

    After Vaswani et al., "Attention Is All You Need" (2017), section 3.5. No place has a vector of
    its own that training might never have met.

    Args:
        index: float `[...]`, the number of a segment in its whole document.
        width: Of the encoding.

    Returns:
        float `[..., width]`.
    """
    pairs = (width + 1) // 2
    steps = torch.arange(pairs, device=index.device, dtype=torch.float32)
    angles = index.to(torch.float32).unsqueeze(-1) * torch.pow(10_000.0, -steps / pairs)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[..., :width]
