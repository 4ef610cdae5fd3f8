"""The scale that makes margins the logits of honest probabilities."""

from __future__ import annotations

import numpy as np

from longform.types import Floats, Targets

_TEMPERATURES = np.exp(np.linspace(-4.0, 3.0, 141))


def fit_temperature(margins: Floats, targets: Targets) -> float:
    """Return what margins have to be divided by, where held-out documents are likeliest.

    C. Guo et al., "On Calibration of Modern Neural Networks" (2017).

    Args:
        margins: float32 `[docs, classes]`.
        targets: int64 `[docs]`, or bool `[docs, classes]`.
    """
    losses = [_loss(margins / temperature, targets) for temperature in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def _loss(logits: Floats, targets: Targets) -> float:
    if targets.ndim == 2:
        return float(np.logaddexp(0.0, np.where(targets, -logits, logits)).mean())
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1))
    return float((total - shifted[np.arange(len(targets)), targets]).mean())
