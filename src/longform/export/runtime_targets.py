"""What every bundle gets: ONNX Runtime, which all installations have, and OpenVINO where it is."""

from __future__ import annotations

import shutil

from longform.backends.choice import INT8_ENCODER, STATIC_INT8_ENCODER, runs_on_openvino
from longform.backends.onnx import OnnxBackend
from longform.backends.openvino import OpenVINOBackend, Precision
from longform.backends.processor import has_bf16_units
from longform.bundle import CONTRIBUTIONS_FILE
from longform.errors import InputError
from longform.export.calibration import calibration_batches, fallback_counts, rank_layers
from longform.export.context import ExportContext
from longform.export.contributions import check_contributions
from longform.export.onnx import export_head
from longform.export.openvino import can_quantize, quantize_calibrated
from longform.export.parity import require_parity
from longform.extras import require
from longform.models.contributions import is_sum


def make_onnx(context: ExportContext) -> None:
    """Export encoder and head to ONNX, without which nothing else runs.

    Raises:
        ParityError: They do not give the trained model's answers.
    """
    context.encoder.parent.mkdir(exist_ok=True)
    source = context.exports.onnx()
    for path in source.parent.glob(f"{source.name}*"):
        shutil.copyfile(path, context.encoder.parent / path.name)
    split = context.folder / CONTRIBUTIONS_FILE if is_sum(context.model.head) else None
    export_head(context.model, context.head, split)
    require_parity(context.judge("onnx:fp32", OnnxBackend(context.encoder, context.head)))
    if split is not None:
        check_contributions(context.model, split)


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
        for suffix in (".xml", ".bin"):
            int8.with_suffix(suffix).unlink()


def make_openvino_static(context: ExportContext) -> None:
    """Write OpenVINO in int8 with calibrated activations.

    Layers that break parity fall back to float, those that bear rounding worst first, until the
    gate passes or half of them are left.
    """
    require("openvino", "The target 'openvino-static'")
    require("nncf", "The target 'openvino-static'")
    if not can_quantize(context.model):
        raise InputError(
            "Calibration needs a pretrained encoder whose trace holds for every length.",
            found=str(context.model.config.encoder),
            fix="Take the target 'openvino'.",
        )
    path = context.folder / STATIC_INT8_ENCODER
    path.parent.mkdir(exist_ok=True)
    batches = calibration_batches(context.segmenter, context.documents, pairs=context.pairs)
    ranked = rank_layers(context.model, batches)
    for count in fallback_counts(len(ranked)):
        in_float = ranked[:count]
        quantize_calibrated(context.model, batches, path, in_float)
        backend = OpenVINOBackend(path, context.head, "int8-static")
        details = {"calibrated_on_segments": len(batches), "layers_in_float": in_float}
        if context.judge("openvino:int8-static", backend, details).passed:
            if in_float:
                context.reporter.say(f"  in float, since int8 broke parity: {', '.join(in_float)}")
            return
        for suffix in (".xml", ".bin"):
            path.with_suffix(suffix).unlink()
