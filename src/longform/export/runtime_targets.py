"""What every bundle gets: ONNX Runtime, which all installations have, and OpenVINO where it is."""

from __future__ import annotations

import shutil

from longform.backends.choice import INT8_ENCODER, has_bf16_units, runs_on_openvino
from longform.backends.onnx import OnnxBackend
from longform.backends.openvino import OpenVINOBackend, Precision
from longform.export.context import ExportContext
from longform.export.onnx import export_head
from longform.export.openvino import can_quantize
from longform.export.parity import require_parity
from longform.extras import require


def make_onnx(context: ExportContext) -> None:
    """Export encoder and head to ONNX, without which nothing else runs.

    Raises:
        ParityError: They do not give the trained model's answers.
    """
    context.encoder.parent.mkdir(exist_ok=True)
    source = context.exports.onnx()
    for path in source.parent.glob(f"{source.name}*"):
        shutil.copyfile(path, context.encoder.parent / path.name)
    export_head(context.model, context.head)
    require_parity(context.judge("onnx:fp32", OnnxBackend(context.encoder, context.head)))


def make_openvino(context: ExportContext) -> None:
    """Judge OpenVINO in fp32 and bf16, made from ONNX as it is loaded, and write it in int8."""
    require("openvino", "The target 'openvino'")
    floats: list[Precision] = ["fp32", "bf16"] if has_bf16_units() else ["fp32"]
    if runs_on_openvino(str(context.model.config.encoder)):
        for precision in floats:
            backend = OpenVINOBackend(context.encoder, context.head, precision)
            context.judge(f"openvino:{precision}", backend)
    if not can_quantize(context.model):
        return
    int8 = context.folder / INT8_ENCODER
    int8.parent.mkdir(exist_ok=True)
    source = context.exports.int8()
    for suffix in (".xml", ".bin"):
        shutil.copyfile(source.with_suffix(suffix), int8.with_suffix(suffix))
    record = context.judge("openvino:int8", OpenVINOBackend(int8, context.head, "int8"))
    if not record.passed:
        shutil.rmtree(int8.parent)
