"""Quantisation-aware layers: they compute in floating point what int8 arithmetic will give.

After Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
Only Inference" (2018): weights and inputs are rounded in the forward pass, and gradients go through
the rounding as if it were not there. The operators are torch's own. torchao's training flow for
modules rounds the inputs of each token by itself, which no single ONNX operator does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

WEIGHT_LIMIT = 63
"""Weights of linear layers are rounded to -63 .. 63. Processors without VNNI add two products of 8
bits in 16: with one bit less that never overflows, and all machines give the same answer."""
ROW_LIMIT = 127
"""Rows of the token embeddings are multiplied by nothing, and take the whole of int8."""
INPUT_LIMIT = 255
_SLOWEST = 0.01
"""Share that the newest step has in the range of a layer's inputs, once many were seen."""
_LEAST_SCALE = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedLayer:
    """How one layer is rounded.

    Attributes:
        weight_scale: float32 `[outputs]` of a linear layer, `[tokens]` of embeddings.
        input_scale: Of a linear layer's input, uint8; None for embeddings.
        input_zero: The input that stands for 0.
    """

    weight_scale: Tensor
    input_scale: float | None = None
    input_zero: int = 0


class QuantizationAwareLinear(nn.Linear):
    """A linear layer with inputs in uint8, one scale for all, and weights in int8, a scale a row.

    The range of the inputs is that of the first batch, then a moving average over the steps. It
    moves between steps only, so that an input that is computed twice in a step is rounded alike.

    Args:
        whole: The layer whose parameters it takes over.
    """

    low: Tensor
    high: Tensor
    steps: Tensor
    step_low: Tensor
    step_high: Tensor

    def __init__(self, whole: nn.Linear) -> None:
        has_bias = whole.bias is not None
        super().__init__(whole.in_features, whole.out_features, has_bias, device="meta")
        self.weight, self.bias = whole.weight, whole.bias
        zero = torch.zeros((), device=whole.weight.device)
        for name in ("low", "high", "steps"):
            self.register_buffer(name, zero.clone())
        for name in ("step_low", "step_high"):
            self.register_buffer(name, zero.clone(), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Multiply: float `[..., inputs]` -> float `[..., outputs]`."""
        values = input.float()
        if self.training:
            self._observe(values.detach())
        scale, zero = self.input_rounding()
        rounded = torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, INPUT_LIMIT)
        return nn.functional.linear(rounded, self.rounded_weight(), self.bias)

    def input_rounding(self) -> tuple[Tensor, Tensor]:
        """Return the scale of the inputs, float32, and what stands for 0, int32."""
        # Zero is always exact: padding and dropout make many.
        low, high = self.low.clamp_max(0), self.high.clamp_min(0)
        scale = ((high - low) / INPUT_LIMIT).clamp_min(_LEAST_SCALE)
        return scale, torch.round(-low / scale).clamp(0, INPUT_LIMIT).to(torch.int32)

    def weight_scale(self) -> Tensor:
        """Return float32 `[outputs]`."""
        largest = self.weight.detach().float().abs().amax(dim=1)
        return (largest / WEIGHT_LIMIT).clamp_min(_LEAST_SCALE)

    def rounded_weight(self) -> Tensor:
        """Return the weights as int8 has them, float32 `[outputs, inputs]`."""
        scale = self.weight_scale()
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(
            self.weight.float(), scale, zero, 0, -WEIGHT_LIMIT, WEIGHT_LIMIT
        )

    def end_step(self) -> None:
        """Take what the inputs of a step spanned into their range."""
        rate = (1 / (self.steps + 1)).clamp_min(_SLOWEST)
        self.low += rate * (self.step_low - self.low)
        self.high += rate * (self.step_high - self.high)
        self.steps += 1
        self.step_low.zero_()
        self.step_high.zero_()

    def _observe(self, values: Tensor) -> None:
        least, most = torch.aminmax(values)
        self.step_low.copy_(torch.minimum(self.step_low, least))
        self.step_high.copy_(torch.maximum(self.step_high, most))
        # Without a branch, which would make a GPU wait: an empty range takes the first batch's.
        is_empty = self.low == self.high
        self.low.copy_(torch.where(is_empty, least, self.low))
        self.high.copy_(torch.where(is_empty, most, self.high))


class QuantizationAwareEmbedding(nn.Embedding):
    """Token embeddings in int8, with a scale for each token.

    Args:
        whole: The embeddings whose parameter it takes over.
    """

    def __init__(self, whole: nn.Embedding) -> None:
        super().__init__(
            whole.num_embeddings, whole.embedding_dim, whole.padding_idx, device="meta"
        )
        self.weight = whole.weight

    def forward(self, input: Tensor) -> Tensor:
        """Look up: int64 `[...]` -> float `[..., width]`."""
        rows = super().forward(input)
        return rows + (round_rows(rows.detach())[0] - rows.detach())


def round_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return `rows [..., width]` as int8 has them, and their scales `[...]`."""
    scale = (rows.abs().amax(dim=-1) / ROW_LIMIT).clamp_min(_LEAST_SCALE)
    wide = scale.unsqueeze(-1)
    return torch.round(rows / wide) * wide, scale


def make_quantization_aware(encoder: Any) -> int:
    """Replace the linear layers and the token embeddings of a Hugging Face encoder, in place.

    Returns:
        How many linear layers were replaced; 0 leaves the encoder as it was.
    """
    linear = [(name, layer) for name, layer in encoder.named_modules() if type(layer) is nn.Linear]
    if linear:
        for name, layer in linear:
            _put(encoder, name, QuantizationAwareLinear(layer))
        encoder.set_input_embeddings(QuantizationAwareEmbedding(encoder.get_input_embeddings()))
    return len(linear)


def quantization_aware_layers(module: nn.Module) -> Iterator[QuantizationAwareLinear]:
    """Yield the layers whose ranges move with the steps."""
    for layer in module.modules():
        if isinstance(layer, QuantizationAwareLinear):
            yield layer


def settle(encoder: Any) -> dict[str, QuantizedLayer]:
    """Put plain layers back, in place, with the weights that int8 has, and say how it rounds.

    The encoder in floating point then differs from the one in int8 by the rounding of inputs alone.

    Returns:
        For each layer that was quantisation-aware, by its name in the encoder, its rounding.
    """
    rounding: dict[str, QuantizedLayer] = {}
    for name, layer in list(encoder.named_modules()):
        if isinstance(layer, QuantizationAwareLinear):
            plain, rounding[name] = _settle_linear(layer)
        elif isinstance(layer, QuantizationAwareEmbedding):
            plain, rounding[name] = _settle_embedding(layer)
        else:
            continue
        _put(encoder, name, plain.train(layer.training))
    return rounding


@torch.no_grad()
def _settle_linear(layer: QuantizationAwareLinear) -> tuple[nn.Module, QuantizedLayer]:
    scale, zero = layer.input_rounding()
    rounding = QuantizedLayer(layer.weight_scale().cpu(), float(scale), int(zero))
    layer.weight.copy_(layer.rounded_weight())
    has_bias = layer.bias is not None
    plain = nn.Linear(layer.in_features, layer.out_features, has_bias, device="meta")
    plain.weight, plain.bias = layer.weight, layer.bias
    return plain, rounding


@torch.no_grad()
def _settle_embedding(layer: QuantizationAwareEmbedding) -> tuple[nn.Module, QuantizedLayer]:
    rows, scale = round_rows(layer.weight.float())
    plain = nn.Embedding.from_pretrained(
        rows.to(layer.weight.dtype), freeze=False, padding_idx=layer.padding_idx
    )
    return plain, QuantizedLayer(scale.cpu())


def _put(encoder: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(encoder.get_submodule(parent), last, layer)
