"""The trained model as packages that need torch and nothing else: torch.export and TorchScript."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import UserError
from torch.export._patches import (
    register_gru_while_loop_decomposition,
    register_lstm_while_loop_decomposition,
)
from torch.fx.experimental import _config as shape_settings

from longform.backends.torch_package import (
    EXPORTED,
    SAMPLE_INPUTS,
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
            program = _capture(module, example, shapes)
            # Weights are stored as they are; only an example input would be pickled.
            program._example_inputs = None
            torch.export.save(program, path)
    _judge(context, "torch-export:fp32", files, ExportedBackend)


def _capture(
    module: nn.Module, example: tuple[Tensor, ...], shapes: dict[str, Any]
) -> torch.export.ExportedProgram:
    """Capture a graph with its axes open.

    Raises:
        InputError: torch cannot keep them open.
    """
    # torch would unroll recurrent layers over the segments of the example; as a loop they stay
    # open. These are the patches that its own ONNX exporter uses.
    with register_lstm_while_loop_decomposition(), register_gru_while_loop_decomposition():
        try:
            return torch.export.export(module, example, dynamic_shapes=shapes)
        except UserError:
            return _capture_with_assertions(module, example, shapes)


def _capture_with_assertions(
    module: nn.Module, example: tuple[Tensor, ...], shapes: dict[str, Any]
) -> torch.export.ExportedProgram:
    """Capture what torch does not see to be open, with what it assumed as assertions at run time.

    Assumptions that do not hold are found by the gate, which runs lengths and batches of one.

    Raises:
        InputError: torch cannot capture it so either.
    """
    # Lengths of one are lengths like any other.
    with shape_settings.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        try:
            return torch.export.export(
                module,
                example,
                dynamic_shapes=shapes,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
        except UserError as error:
            raise InputError(
                "The target 'torch' needs a model whose numbers of segments torch.export can keep "
                "open.",
                found=str(error).partition("!")[0],
                fix="Take the target 'torchscript', or another aggregator.",
            ) from error


def _drop_examples(path: Path) -> None:
    """Empty the example inputs of an archive, the one thing in it that is pickled.

    Weights are stored as they are, and torch takes an empty file for no examples.
    """
    whole = path.with_suffix(".whole")
    path.rename(whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            content = b"" if SAMPLE_INPUTS in entry.filename else source.read(entry)
            target.writestr(entry.filename, content)
    whole.unlink()


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
