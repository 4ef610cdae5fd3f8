"""The exported encoder in int8 or fp16, by ONNX Runtime's own quantiser, for machines with only it.

Weights are rounded per channel. Activations are quantised as they come (`dynamic`), or with scales
that were calibrated on real segments (`static`, as QuantizeLinear and DequantizeLinear).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from longform.backends.base import Backend
from longform.backends.choice import FP16_ENCODER, ONNX_INT8_ENCODER, tokens_per_second
from longform.backends.onnx import OnnxBackend
from longform.errors import InputError
from longform.export.calibration import (
    calibration_batches,
    call_order,
    fallback_counts,
    rank_layers,
)
from longform.export.context import ExportContext
from longform.export.onnx import quiet
from longform.export.quantized import TRAINED
from longform.extras import require
from longform.types import SegmentBatch

Method = Literal["dynamic", "static"]

_LARGE_TABLE = 1_000
"""Rows of an embedding table that is worth rounding."""


def make_int8(context: ExportContext) -> None:
    """Write `onnx/encoder.int8.onnx` both ways and keep the faster of those that pass.

    Raises:
        InputError: Training for int8 made the file that is there, or a layer cannot be found.
    """
    _keep_trained(context)
    rates: dict[Method, float] = {}
    details: dict[Method, dict[str, Any]] = {}
    path = context.folder / ONNX_INT8_ENCODER
    methods: tuple[Method, ...] = ("dynamic", "static")
    with tempfile.TemporaryDirectory() as folder:
        for method in methods:
            if _make(context, method):
                backend = OnnxBackend(path, context.head, "int8")
                rates[method] = tokens_per_second(backend, context.plan.longest)
                details[method] = context.records["onnx:int8"].details
                shutil.move(path, Path(folder) / method)
        if not rates:
            return
        chosen = max(rates, key=lambda method: rates[method])
        shutil.copyfile(Path(folder) / chosen, path)
    listed = ", ".join(f"{method} {rate:,.0f}" for method, rate in rates.items())
    context.reporter.say(f"  onnx:int8, tokens/s: {listed}. Keeping {chosen}.")
    # The last record is that of the last method, which need not be the one that is kept.
    context.judge("onnx:int8", OnnxBackend(path, context.head, "int8"), details[chosen])
    _describe(context, path, "int8")


def make_int8_dynamic(context: ExportContext) -> None:
    """Write `onnx/encoder.int8.onnx`, which quantises its activations as they come."""
    _keep_trained(context)
    if _make(context, "dynamic"):
        _describe(context, context.folder / ONNX_INT8_ENCODER, "int8")


def make_int8_static(context: ExportContext) -> None:
    """Write `onnx/encoder.int8.onnx` with calibrated scales."""
    _keep_trained(context)
    if _make(context, "static"):
        _describe(context, context.folder / ONNX_INT8_ENCODER, "int8")


def make_fp16(context: ExportContext) -> None:
    """Write `onnx/encoder.fp16.onnx`: half the size, fast on GPUs, on CPUs a way to save space."""
    onnx = require("onnx", "The target 'onnx-fp16'")
    from onnxruntime.transformers.float16 import convert_float_to_float16

    path = context.folder / FP16_ENCODER
    with quiet():
        # Inputs are integers and the vector stays fp32; what overflows is clipped, as the huge
        # negative numbers of masks are.
        halved = convert_float_to_float16(onnx.load(str(context.encoder)), keep_io_types=True)
    onnx.save(halved, str(path))
    if context.judge("onnx:fp16", OnnxBackend(path, context.head, "fp16")).passed:
        _describe(context, path, "fp16")
    else:
        path.unlink()


def _keep_trained(context: ExportContext) -> None:
    if context.earlier.get("onnx:int8", {}).get("details", {}).get("method") == TRAINED:
        raise InputError(
            "An int8 encoder that was trained for int8 is not replaced by a rounded one.",
            found="'onnx:int8' from quantisation-aware training in this bundle",
            fix="Keep it; or train without quantization_aware and export again.",
        )


def _make(context: ExportContext, method: Method) -> bool:
    """Write the int8 encoder, with more and more layers in float until the gate passes."""
    path = context.folder / ONNX_INT8_ENCODER
    batches = calibration_batches(context.segmenter, context.documents, pairs=context.pairs)
    order = call_order(context.model, batches[0])
    ranked = rank_layers(context.model, batches)
    for count in fallback_counts(len(ranked)):
        in_float = ranked[:count]
        with _prepared(context.encoder) as source:
            nodes = _nodes(source, order, in_float)
            _quantize(method, source, path, nodes, batches)
        details = {"method": method, "layers_in_float": in_float}
        backend = OnnxBackend(path, context.head, "int8")
        if context.judge("onnx:int8", backend, details).passed:
            if in_float:
                context.reporter.say(f"  in float, since int8 broke parity: {', '.join(in_float)}")
            return True
        path.unlink()
    return False


@contextmanager
def _prepared(encoder: Path) -> Iterator[Path]:
    """Give the encoder with rounded embeddings and without the shapes noted by its exporter."""
    onnx = require("onnx", "An int8 encoder")
    proto = onnx.load(str(encoder))
    # Notes of shapes that the quantiser would take for true of what it changes.
    del proto.graph.value_info[:]
    _round_embeddings(proto.graph)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.onnx"
        onnx.save(proto, str(path))
        yield path


def _round_embeddings(graph: Any) -> None:
    """Store large tables of embeddings in int8, each row with a scale of its own."""
    onnx = require("onnx", "An int8 encoder")
    tables = {item.name: item for item in graph.initializer if len(item.dims) == 2}
    for node in list(graph.node):
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.dims[0] < _LARGE_TABLE:
            continue
        values = onnx.numpy_helper.to_array(table)
        scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-12) / 127.0
        name = table.name
        integers = np.round(values / scale).astype(np.int8)
        graph.initializer.extend(
            [
                onnx.numpy_helper.from_array(integers, f"{name}.int8"),
                onnx.numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"),
            ]
        )
        graph.initializer.remove(table)
        ids, output = node.input[1], node.output[0]
        make = onnx.helper.make_node
        added = [
            make("Gather", [f"{name}.int8", ids], [f"{output}.int8"], name=f"{node.name}.rows"),
            make("Cast", [f"{output}.int8"], [f"{output}.cast"], to=onnx.TensorProto.FLOAT),
            make("Gather", [f"{name}.scale", ids], [f"{output}.scale"], name=f"{node.name}.scales"),
            make("Mul", [f"{output}.cast", f"{output}.scale"], [output]),
        ]
        place = list(graph.node).index(node)
        graph.node.remove(node)
        for new in reversed(added):
            graph.node.insert(place, new)


def _nodes(encoder: Path, order: Sequence[str], in_float: Sequence[str]) -> list[str]:
    """Return the names of the products in the graph that are these linear layers.

    The graph multiplies with weights in the order in which the layers are called.
    """
    onnx = require("onnx", "An int8 encoder")
    graph = onnx.load(str(encoder)).graph
    weights = {item.name for item in graph.initializer if len(item.dims) == 2}
    products = [
        node.name
        for node in graph.node
        if node.op_type in {"MatMul", "Gemm"} and weights & set(node.input)
    ]
    if len(products) != len(order):
        if not in_float:
            return []
        raise InputError(
            "Layers can stay in float only where the graph has one product for each.",
            found=f"{len(products)} products of {len(order)} layers",
            fix="Take the target 'openvino', or raise --allow-drop knowingly.",
        )
    return [products[order.index(name)] for name in in_float]


def _quantize(
    method: Method,
    source: Path,
    path: Path,
    in_float: Sequence[str],
    batches: Sequence[SegmentBatch],
) -> None:
    from onnxruntime import quantization

    options = {
        "per_channel": True,
        "op_types_to_quantize": ["MatMul", "Gemm"],
        "nodes_to_exclude": list(in_float),
        "weight_type": quantization.QuantType.QInt8,
        # Products of activations, as in attention, stay in float.
        "extra_options": {"MatMulConstBOnly": True},
    }
    with quiet():
        if method == "dynamic":
            quantization.quantize_dynamic(str(source), str(path), **options)
            return
        quantization.quantize_static(
            str(source),
            str(path),
            _reader(quantization.CalibrationDataReader, batches),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            **options,
        )


def _reader(base: Callable[..., Any], batches: Sequence[SegmentBatch]) -> Any:
    """Return what ONNX Runtime reads calibration data from."""
    remaining = iter(batches)

    class Reader(base):  # type: ignore[misc, valid-type]
        def get_next(self) -> dict[str, Any] | None:
            batch = next(remaining, None)
            if batch is None:
                return None
            return {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}

    return Reader()


def _describe(context: ExportContext, path: Path, precision: Literal["int8", "fp16"]) -> None:
    """Say what the file saves, and whether it is faster here, where it may be slower."""
    fp32 = sum(file.stat().st_size for file in context.encoder.parent.glob("encoder.onnx*"))
    size = path.stat().st_size
    backends: list[Backend] = [
        OnnxBackend(context.encoder, context.head),
        OnnxBackend(path, context.head, precision),
    ]
    before, after = (tokens_per_second(backend, context.plan.longest) for backend in backends)
    verdict = f"{after / before:.2f} x the speed of onnx:fp32 here"
    if after < before:
        verdict += ": SLOWER, so that it saves memory and no time on this machine"
    context.reporter.say(
        f"  onnx:{precision}: {size / 1e6:.1f} MB, {100 * size / fp32:.0f} % of the "
        f"{fp32 / 1e6:.1f} MB in fp32, of which token embeddings take "
        f"{4e-6 * _embedding_numbers(context):.1f} MB; {verdict}."
    )


def _embedding_numbers(context: ExportContext) -> int:
    encoder: Any = context.model.encoder.model
    embedding = encoder.get_input_embeddings()
    return int(embedding.weight.numel())
