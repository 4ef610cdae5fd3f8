"""The gate of the exported split of the logits over the segments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from longform.backends.contributions import OnnxContributions
from longform.errors import ParityError
from longform.models import LongTextClassifier
from longform.types import POSITION_FEATURES

_TOLERANCE = 1e-4
_SEGMENTS = (1, 2, 7, 64, 200)


def check_contributions(model: LongTextClassifier, path: Path) -> None:
    """Compare the split with the logits of the trained model, for documents of several lengths.

    Args:
        model: The trained model, in fp32 on the CPU.
        path: Of the exported split.

    Raises:
        ParityError: The contributions that the file gives do not sum to the logits.
    """
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
