"""The trained model to ONNX files: the encoder, the head, and the head's split over segments.

Opset 18 is the newest that the Ascend compiler accepts. onnxslim folds the LSTM weights that both
that compiler and quantisers need as constants.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longform.config import LOOK_UP_ENCODERS
from longform.extras import require
from longform.models import LongTextClassifier
from longform.models.contributions import Contributions
from longform.types import POSITION_FEATURES

OPSET = 18
_CHATTERERS = ("root", "transformers", "torch.onnx", "onnxscript", "onnxslim", "nncf", "openvino")
_PROTOBUF_LIMIT = 1_900_000_000
"""Bytes of weights above which they are stored beside the ONNX file: protobuf ends at 2 GB."""


class _Encoder(nn.Module):
    """The encoder under the names of the contract."""

    def __init__(self, model: LongTextClassifier) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.encoder(input_ids, attention_mask)


class _Head(nn.Module):
    """The head under the names of the contract."""

    def __init__(self, model: LongTextClassifier) -> None:
        super().__init__()
        self.head = model.head

    def forward(
        self, segment_vectors: Tensor, segment_mask: Tensor, segment_positions: Tensor
    ) -> Tensor:
        return self.head(segment_vectors, segment_mask, segment_positions)


class _HeadAndSplit(nn.Module):
    """The head, and its logits split over the segments: both hold the same layers."""

    def __init__(self, model: LongTextClassifier) -> None:
        super().__init__()
        self.head = model.head
        self.contributions = Contributions(model.head)

    def forward(
        self, segment_vectors: Tensor, segment_mask: Tensor, segment_positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        arguments = (segment_vectors, segment_mask, segment_positions)
        return self.head(*arguments), *self.contributions(*arguments)


Graph = tuple[nn.Module, tuple[Tensor, ...], dict[str, Any]]
"""A module, an example of its inputs, and which of their axes stay open, by input name."""


def encoder_example(model: LongTextClassifier) -> Graph:
    """Return the encoder under the names of the contract, with what an exporter asks for.

    Args:
        model: The trained model, in fp32 on the CPU.
    """
    ids = torch.randint(0, 7, (3, min(11, model.config.segment_length)))
    axes = {0: torch.export.Dim("segments"), 1: torch.export.Dim("tokens")}
    if model.config.encoder not in (*LOOK_UP_ENCODERS, "lstm"):
        # All others have a table of positions, or were tested up to their length only.
        axes[1] = torch.export.Dim("tokens", max=model.config.segment_length)
    shapes = {"input_ids": axes, "attention_mask": axes}
    return _Encoder(model).eval(), (ids, torch.ones_like(ids)), shapes


def head_example(model: LongTextClassifier) -> Graph:
    """Return the head under the names of the contract, with what an exporter asks for.

    Args:
        model: The trained model, in fp32 on the CPU.
    """
    vectors = torch.randn(3, 5, model.config.vector_size)
    positions = torch.rand(3, 5, POSITION_FEATURES)
    axes = {0: torch.export.Dim("documents"), 1: torch.export.Dim("segments")}
    shapes = {"segment_vectors": axes, "segment_mask": axes, "segment_positions": axes}
    return _Head(model).eval(), (vectors, torch.ones(3, 5), positions), shapes


def export_encoder(model: LongTextClassifier, path: Path) -> None:
    """Write `onnx/encoder.onnx`: `input_ids`, `attention_mask` -> `segment_vector`.

    Args:
        model: The trained model, in fp32 on the CPU.
        path: Where to write; batch and length stay dynamic.
    """
    export_graph(*encoder_example(model), {path: ["segment_vector"]})


def export_head(model: LongTextClassifier, path: Path, split: Path | None = None) -> None:
    """Write `onnx/head.onnx`: vectors, mask and positions of documents -> `logits`.

    Args:
        model: The trained model, in fp32 on the CPU.
        path: Where to write; the numbers of documents and segments stay dynamic.
        split: Where to write `onnx/contributions.onnx` too: the same -> `contributions`, `base`.
            For heads that `longform.models.contributions.is_sum` is true of. One tracing gives
            both files, in little more than the time of one.
    """
    module, example, shapes = head_example(model)
    files = {path: ["logits"]}
    if split is not None:
        module = _HeadAndSplit(model).eval()
        files[split] = ["contributions", "base"]
    export_graph(module, example, shapes, files)


def export_graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    dynamic_shapes: dict[str, Any],
    files: Mapping[Path, list[str]],
) -> None:
    """Write a module as an ONNX file, or as several that give a part of its outputs each.

    Args:
        module: In fp32 on the CPU.
        example: Of its inputs.
        dynamic_shapes: Which axes of its inputs stay open, by input name.
        files: Where to write -> the names of the outputs there; together, in order, all of them.
    """
    onnx = require("onnx", "Export to ONNX")
    require("onnxscript", "Export to ONNX")
    onnxslim = require("onnxslim", "Export to ONNX")
    inputs, outputs = list(dynamic_shapes), [name for names in files.values() for name in names]
    with quiet():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dynamic_shapes,
            verbose=False,
        )
        if program is None:
            raise RuntimeError("the ONNX exporter returned nothing")
        slimmed = onnxslim.slim(program.model_proto)
    parameters = sum(p.numel() * p.element_size() for p in module.parameters())
    for path, names in files.items():
        whole = names == outputs
        part = slimmed if whole else onnx.utils.Extractor(slimmed).extract_model(inputs, names)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(
            part,
            str(path),
            save_as_external_data=parameters > _PROTOBUF_LIMIT,
            location=f"{path.name}.data",
        )
        _check_interface(onnx.load(str(path), load_external_data=False), inputs, names)


def _check_interface(proto: Any, inputs: Iterable[str], outputs: list[str]) -> None:
    """Make sure that the written file keeps the names and axes of the contract."""
    found_inputs = [value.name for value in proto.graph.input]
    found_outputs = [value.name for value in proto.graph.output]
    versions = [entry.version for entry in proto.opset_import if entry.domain in {"", "ai.onnx"}]
    if found_inputs != list(inputs) or found_outputs != outputs or versions != [OPSET]:
        raise RuntimeError(
            f"the ONNX exporter changed the interface: inputs {found_inputs}, "
            f"outputs {found_outputs}, opset {versions}"
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' progress chatter and version notices away from the user."""
    loggers = [logging.getLogger(name) for name in _CHATTERERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
