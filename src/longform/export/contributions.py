"""The split of the logits over the segments, as an ONNX file beside the head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from longform.backends.contributions import OnnxContributions
from longform.errors import ParityError
from longform.export.onnx import export_graph, head_example
from longform.models import LongTextClassifier
from longform.models.contributions import Contributions, is_sum
from longform.types import POSITION_FEATURES

_TOLERANCE = 1e-4
_SEGMENTS = (1, 2, 7, 64, 200)


def export_contributions(model: LongTextClassifier, path: Path) -> bool:
    """Write `onnx/contributions.onnx` for a head whose logits are a sum over the segments.

    Args:
        model: The trained model, in fp32 on the CPU.
        path: Where to write; the numbers of documents and segments stay dynamic.

    Returns:
        Whether there is such a file: not for recurrent heads, transformers and pairs.

    Raises:
        ParityError: The contributions that the file gives do not sum to the logits.
    """
    if not is_sum(model.head):
        return False
    _, example, shapes = head_example(model)
    module = Contributions(model.head).eval()
    export_graph(module, example, shapes, path, ["contributions", "base"])
    _require_sum(model, path)
    return True


def _require_sum(model: LongTextClassifier, path: Path) -> None:
    split = OnnxContributions(path)
    generator = np.random.default_rng(0)
    most = model.config.max_segments if model.config.aggregator == "concat" else None
    for segments in sorted({min(count, most or count) for count in _SEGMENTS}):
        vectors = generator.normal(size=(segments, model.config.vector_size)).astype(np.float32)
        positions = generator.random((segments, POSITION_FEATURES)).astype(np.float32)
        with torch.inference_mode():
            logits = model.head(
                torch.from_numpy(vectors).unsqueeze(0),
                torch.ones(1, segments),
                torch.from_numpy(positions).unsqueeze(0),
            )[0].numpy()
        found = split(vectors, positions)
        if not found.adds_up(logits, _TOLERANCE):
            total = found.contributions.sum(axis=0) + found.base
            raise ParityError(
                "The contributions of the segments must sum to the logits.",
                found=f"a difference of {np.abs(total - logits).max():.3g} for a document of "
                f"{segments} segments",
                fix="Nothing was written. Report this with the model's settings.",
            )
