"""The trained encoder to a file of OpenVINO, for precisions that it cannot make as it loads."""

from __future__ import annotations

from pathlib import Path

import torch

from longform.export.onnx import quiet
from longform.extras import is_available, require
from longform.models import LongTextClassifier

_TRACEABLE = frozenset(
    {"bert", "camembert", "distilbert", "electra", "ernie", "gpt2", "roberta", "xlm-roberta"}
)
"""Model types whose trace holds for every length. What makes blocks or windows of a length, such as
Longformer, would be fixed to that of the example."""


def can_quantize(model: LongTextClassifier) -> bool:
    """Tell whether an int8 encoder can be made here and would help."""
    if str(model.config.encoder).removeprefix("pruned-") not in _TRACEABLE:
        # What is trained from nothing is so small that int8 saves nothing.
        return False
    return is_available("openvino") and is_available("nncf")


def quantize_encoder(model: LongTextClassifier, path: Path) -> None:
    """Write an OpenVINO encoder with int8 weights, which quantises its activations as it runs.

    Weights are rounded per channel, symmetrically, by NNCF, without calibration data.

    Args:
        model: The trained model, in fp32 on the CPU.
        path: The `.xml` to write; the weights go into a `.bin` beside it.
    """
    openvino = require("openvino", "An int8 encoder")
    nncf = require("nncf", "An int8 encoder")
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = torch.ones(2, 8, dtype=torch.int64)
    example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with quiet(), torch.inference_mode():
        converted = openvino.convert_model(model.encoder.eval(), example_input=example)
        compressed = nncf.compress_weights(converted, mode=nncf.CompressWeightsMode.INT8_SYM)
        openvino.save_model(compressed, str(path), compress_to_fp16=False)
