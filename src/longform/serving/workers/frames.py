"""What front and worker say to each other: a JSON header, then one frame for each array."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_KINDS = {"int32", "int64", "float32"}


def pack(header: dict[str, Any], arrays: Sequence[Array] = ()) -> list[bytes | memoryview]:
    """Return the frames of a message."""
    laid_out = [np.ascontiguousarray(array) for array in arrays]
    described = [[str(array.dtype), list(array.shape)] for array in laid_out]
    content = json.dumps({**header, "arrays": described}).encode()
    return [content, *(array.data.cast("B") if array.size else b"" for array in laid_out)]


def unpack(frames: Sequence[Any]) -> tuple[dict[str, Any], list[Array]]:
    """Return header and arrays of a message.

    Raises:
        ValueError: The frames do not fit the header.
    """
    header = json.loads(bytes(frames[0]))
    described = header.pop("arrays")
    if len(described) != len(frames) - 1:
        raise ValueError("a frame is missing")
    arrays = []
    for (kind, shape), frame in zip(described, frames[1:], strict=True):
        if kind not in _KINDS:
            raise ValueError(f"arrays of {kind} are not exchanged")
        arrays.append(np.frombuffer(frame, dtype=kind).reshape(shape))
    return header, arrays
