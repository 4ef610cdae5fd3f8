"""The trained encoder to a file of OpenVINO, for precisions that it cannot make as it loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from longform.export.onnx import quiet
from longform.extras import is_available, require
from longform.models import LongTextClassifier
from longform.types import SegmentBatch

_TRACEABLE = frozenset(
    {"bert", "camembert", "distilbert", "electra", "ernie", "gpt2", "roberta", "xlm-roberta"}
)
"""Model types whose trace holds for every length. What makes blocks or windows of a length, such as
Longformer, would be fixed to that of the example."""


def trace_holds(model: LongTextClassifier) -> bool:
    """Tell whether a trace of the encoder is right for lengths other than the example's."""
    return str(model.config.encoder).removeprefix("pruned-") in _TRACEABLE


def can_quantize(model: LongTextClassifier) -> bool:
    """Tell whether an int8 encoder can be made here and would help."""
    # What is trained from nothing is so small that int8 saves nothing.
    if not trace_holds(model):
        return False
    return is_available("openvino") and is_available("nncf")


def quantize_encoder(model: LongTextClassifier, path: Path) -> None:
    """Write an OpenVINO encoder with int8 weights, which quantises its activations as it runs.

    Weights are rounded per channel, symmetrically, by NNCF, without calibration data.

    Args:
        model: The trained model, in fp32 on the CPU.
        path: The `.xml` to write; the weights go into a `.bin` beside it.
    """
    nncf = require("nncf", "An int8 encoder")
    with quiet():
        compressed = nncf.compress_weights(_convert(model), mode=nncf.CompressWeightsMode.INT8_SYM)
        _save(compressed, path)


def quantize_calibrated(
    model: LongTextClassifier, batches: Sequence[SegmentBatch], path: Path, in_float: Sequence[str]
) -> None:
    """Write an OpenVINO encoder whose weights and activations are int8, with calibrated scales.

    Weights per channel, activations per tensor, after SmoothQuant (Xiao et al., 2023), by NNCF.
    Token embeddings are int8 too.

    Args:
        model: The trained model, in fp32 on the CPU.
        batches: Segments to calibrate on.
        path: The `.xml` to write; the weights go into a `.bin` beside it.
        in_float: Linear layers, modules of `model.encoder`, that stay as they are.
    """
    nncf = require("nncf", "An int8 encoder")
    data = nncf.Dataset(
        batches,
        lambda batch: {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask},
    )
    names = [f"__module.{name}/aten::linear/MatMul" for name in in_float]
    with quiet():
        quantized = nncf.quantize(
            _convert(model),
            data,
            subset_size=len(batches),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=names, validate=True) if names else None,
        )
        _save(quantized, path)


def _convert(model: LongTextClassifier) -> Any:
    openvino = require("openvino", "An int8 encoder")
    ids = torch.ones(2, 8, dtype=torch.int64)
    example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.inference_mode():
        return openvino.convert_model(model.encoder.eval(), example_input=example)


def _save(model: Any, path: Path) -> None:
    openvino = require("openvino", "An int8 encoder")
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, str(path), compress_to_fp16=False)
