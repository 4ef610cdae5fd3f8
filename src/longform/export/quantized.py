"""A quantisation-aware encoder to an ONNX file in int8.

Each linear layer becomes QuantizeLinear and DequantizeLinear before a MatMul: ONNX Runtime makes
one product of integers of that; a runtime that does not computes the same in floating point.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longform.backends.base import Backend
from longform.backends.choice import ONNX_INT8_ENCODER, tokens_per_second
from longform.backends.onnx import OnnxBackend
from longform.export.context import ExportContext
from longform.export.onnx import OPSET, export_encoder
from longform.models import LongTextClassifier
from longform.models.fake_quantization import QuantizedLayer

TRAINED = "quantization-aware training"
"""How such a file is told from one that was rounded after training, in its parity record."""


class _Int8Linear(nn.Module):
    """A linear layer in the operators of ONNX."""

    weight: Tensor
    weight_scale: Tensor
    input_scale: Tensor
    input_zero: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear, rounding: QuantizedLayer) -> None:
        super().__init__()
        integers = torch.round(layer.weight.detach() / rounding.weight_scale.unsqueeze(1))
        # As MatMul reads it: a transposition after the rounding would keep runtimes from fusing.
        self.register_buffer("weight", integers.to(torch.int8).T.contiguous())
        self.register_buffer("weight_scale", rounding.weight_scale.clone())
        self.register_buffer("input_scale", torch.tensor(rounding.input_scale))
        self.register_buffer("input_zero", torch.tensor(rounding.input_zero, dtype=torch.uint8))
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())

    def forward(self, input: Tensor) -> Tensor:
        rounded = _operator(
            "QuantizeLinear", (input, self.input_scale, self.input_zero), torch.uint8, input.shape
        )
        values = _operator(
            "DequantizeLinear",
            (rounded, self.input_scale, self.input_zero),
            torch.float32,
            input.shape,
        )
        weight = _operator(
            "DequantizeLinear",
            (self.weight, self.weight_scale),
            torch.float32,
            self.weight.shape,
            axis=1,
        )
        product = torch.matmul(values, weight)
        return product if self.bias is None else product + self.bias


class _Int8Embedding(nn.Module):
    """Token embeddings whose rows are int8 until they are looked up."""

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, layer: nn.Embedding, rounding: QuantizedLayer) -> None:
        super().__init__()
        scale = rounding.weight_scale.unsqueeze(1)
        self.register_buffer("weight", torch.round(layer.weight.detach() / scale).to(torch.int8))
        self.register_buffer("weight_scale", scale.clone())

    def forward(self, input: Tensor) -> Tensor:
        rows = nn.functional.embedding(input, self.weight).to(torch.float32)
        return rows * nn.functional.embedding(input, self.weight_scale)


def export_quantized_encoder(
    model: LongTextClassifier, rounding: Mapping[str, QuantizedLayer], path: Path
) -> None:
    """Write `onnx/encoder.int8.onnx`, with the names and axes of `onnx/encoder.onnx`.

    Args:
        model: The trained model, settled, in fp32 on the CPU; it is left as it is.
        rounding: How each layer of `model.encoder.model` is rounded.
        path: Where to write.
    """
    quantized = copy.deepcopy(model)
    encoder: Any = quantized.encoder.model
    for name, layer_rounding in rounding.items():
        layer: Any = encoder.get_submodule(name)
        parent, _, last = name.rpartition(".")
        kind = _Int8Linear if isinstance(layer, nn.Linear) else _Int8Embedding
        setattr(encoder.get_submodule(parent), last, kind(layer, layer_rounding))
    export_encoder(quantized, path)


def describe_gain(
    sizes: Mapping[str, int], fp32: Backend, int8: Backend, segment_length: int
) -> str:
    """Say how small int8 is, and how fast on this machine, where it may be slower.

    Args:
        sizes: `quantized_sizes`, with `file_bytes` and `fp32_file_bytes`.
        fp32: The encoder in fp32.
        int8: The same in int8.
        segment_length: Tokens of the segments that are measured.
    """
    before, after = (tokens_per_second(backend, segment_length) for backend in (fp32, int8))
    verdict = f"{after / before:.2f} x the speed of onnx:fp32 here"
    if after < before:
        verdict += ": SLOWER, so that it saves memory and no time on this machine"
    return (
        f"  onnx:int8: {sizes['file_bytes'] / 1e6:.1f} MB of {sizes['fp32_file_bytes'] / 1e6:.1f} "
        f"MB in fp32, since {100 * sizes['int8_parameters'] / sizes['parameters']:.1f} % of the "
        f"encoder's parameters are int8; {verdict}."
    )


def _operator(
    name: str,
    inputs: tuple[Tensor, ...],
    dtype: torch.dtype,
    shape: torch.Size,
    **attributes: Any,
) -> Tensor:
    """Put an operator of ONNX into the graph; torch itself cannot run it."""
    return torch.onnx.ops.symbolic(
        name, inputs, attributes, dtype=dtype, shape=shape, version=OPSET
    )


def quantized_sizes(
    model: LongTextClassifier, rounding: Mapping[str, QuantizedLayer]
) -> dict[str, int]:
    """Return how many parameters the encoder has, and how many of them are int8."""
    encoder: Any = model.encoder.model
    return {
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "int8_parameters": sum(encoder.get_submodule(name).weight.numel() for name in rounding),
    }


def make_trained_int8(
    context: ExportContext, rounding: Mapping[str, QuantizedLayer]
) -> dict[str, int]:
    """Write the encoder that was trained for int8, and say what that saves.

    Args:
        context: The bundle in the making; its ONNX encoder is there.
        rounding: How each layer of `model.encoder.model` is rounded.

    Returns:
        `quantized_sizes` with the sizes of both files; empty when the gate refused it.
    """
    path = context.folder / ONNX_INT8_ENCODER
    export_quantized_encoder(context.model, rounding, path)
    backend = OnnxBackend(path, context.head, "int8")
    if not context.judge("onnx:int8", backend, {"method": TRAINED}).passed:
        path.unlink()
        return {}
    fp32 = context.encoder.parent.glob(f"{context.encoder.name}*")
    sizes = {
        **quantized_sizes(context.model, rounding),
        "file_bytes": path.stat().st_size,
        "fp32_file_bytes": sum(file.stat().st_size for file in fp32),
    }
    backends = OnnxBackend(context.encoder, context.head), OnnxBackend(path, context.head, "int8")
    context.reporter.say(describe_gain(sizes, *backends, context.plan.longest))
    return sizes
