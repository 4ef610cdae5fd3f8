"""The trained model as packages that need torch and nothing else: torch.export and TorchScript."""

from __future__ import annotations

import shutil
from typing import Any

import torch
from torch import Tensor, nn

from longform.backends.torch_package import (
    EXPORTED,
    SCRIPTED,
    ExportedBackend,
    PackageFiles,
    ScriptedBackend,
)
from longform.errors import InputError
from longform.export.context import ExportContext
from longform.export.onnx import encoder_example, head_example, quiet
from longform.export.openvino import trace_holds


def make_torch(context: ExportContext) -> None:
    """Write `torch/encoder.pt2` and `torch/head.pt2` by `torch.export`, of any batch and length."""
    files = PackageFiles.within(context.folder, EXPORTED)
    _make_folder(files)
    for (module, example, shapes), path in zip(
        _graphs(context), (files.encoder, files.head), strict=True
    ):
        with quiet():
            program = torch.export.export(module, example, dynamic_shapes=shapes)
            # Weights are stored as they are; only an example input would be pickled.
            program._example_inputs = None
            torch.export.save(program, path)
    _judge(context, "torch-export:fp32", files, ExportedBackend)


def make_torchscript(context: ExportContext) -> None:
    """Write `torch/encoder.torchscript.pt` and its head, traced and frozen.

    Raises:
        InputError: A trace of this encoder would be bound to the length of its example.
    """
    if not trace_holds(context.model):
        raise InputError(
            "TorchScript needs an encoder whose trace holds for every length.",
            found=str(context.model.config.encoder),
            fix="Take the target 'torch', which keeps the length open.",
        )
    files = PackageFiles.within(context.folder, SCRIPTED)
    _make_folder(files)
    for (module, example, _), path in zip(
        _graphs(context), (files.encoder, files.head), strict=True
    ):
        with quiet(), torch.no_grad():
            traced = torch.jit.trace(module, example, check_trace=False)
            torch.jit.freeze(traced).save(str(path))
    _judge(context, "torchscript:fp32", files, ScriptedBackend)


def _graphs(context: ExportContext) -> list[tuple[nn.Module, tuple[Tensor, ...], dict[str, Any]]]:
    return [encoder_example(context.model), head_example(context.model)]


def _make_folder(files: PackageFiles) -> None:
    files.encoder.parent.mkdir(exist_ok=True)


def _judge(
    context: ExportContext,
    target: str,
    files: PackageFiles,
    backend: type[ExportedBackend] | type[ScriptedBackend],
) -> None:
    if context.judge(target, backend(files)).passed:
        return
    files.encoder.unlink()
    files.head.unlink()
    if not any(files.encoder.parent.iterdir()):
        shutil.rmtree(files.encoder.parent)
