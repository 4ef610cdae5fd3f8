"""ONNX Runtime: the backend that every installation has, on the CPU or by another provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime

from longform.backends.base import Backend, BackendInfo
from longform.backends.threads import granted_threads
from longform.errors import MissingExtraError
from longform.shapes import ShapePlan
from longform.types import Floats, SegmentBatch

Precision = Literal["fp32", "fp16", "int8"]
Provider = Literal["cpu", "cuda", "tensorrt", "cann"]

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "cann": "CANNExecutionProvider",
}
_DEVICES = {"cpu": "cpu", "cuda": "cuda:0", "tensorrt": "cuda:0", "cann": "ascend:0"}
_INSTALLED_BY = {
    "cuda": ("onnxruntime-gpu", "the CUDA libraries of its release notes"),
    "tensorrt": ("onnxruntime-gpu", "the CUDA and TensorRT libraries of its release notes"),
    "cann": ("onnxruntime-cann", "the environment of CANN (source .../set_env.sh)"),
}
"""Provider -> the package that has it, and what else it needs."""
_INPUTS = ("input_ids", "attention_mask")


class OnnxHead:
    """The exported head. Shared by the backends that compile only the encoder.

    Args:
        path: `onnx/head.onnx` of a bundle.
        threads: Threads of one call.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._session = open_session(path, threads)

    def score(self, vectors: Floats, mask: Floats, positions: Floats) -> Floats:
        """Score documents; shapes as in `Backend.score`."""
        logits: Floats = self._session.run(
            ["logits"],
            {
                "segment_vectors": np.ascontiguousarray(vectors, dtype=np.float32),
                "segment_mask": np.ascontiguousarray(mask, dtype=np.float32),
                "segment_positions": np.ascontiguousarray(positions, dtype=np.float32),
            },
        )[0]
        return logits


class OnnxBackend(Backend):
    """ONNX Runtime. The head, tiny and of any segment count, stays on the CPU.

    Args:
        encoder: `onnx/encoder.onnx` of a bundle, or the file of another precision beside it.
        head: `onnx/head.onnx` of a bundle.
        precision: Of the encoder.
        threads: Threads of one call; None takes what the machine grants.
        provider: What runs the encoder.
        plan: The shapes that TensorRT builds for; it is not needed for other providers.
        engines: Folder where TensorRT keeps what it built; None keeps nothing.

    Raises:
        MissingExtraError: This installation of ONNX Runtime lacks the provider, or could not
            load it and would have run on the CPU instead.
    """

    def __init__(
        self,
        encoder: Path,
        head: Path,
        precision: Precision = "fp32",
        threads: int | None = None,
        *,
        provider: Provider = "cpu",
        plan: ShapePlan | None = None,
        engines: Path | None = None,
    ) -> None:
        self._precision = precision
        self._provider = provider
        self._threads = threads or granted_threads()
        options = provider_options(provider, precision, plan, engines)
        self._encoder = open_session(encoder, self._threads, provider, options)
        self._head = OnnxHead(head, self._threads)
        self._vector_size = int(self._encoder.get_outputs()[0].shape[-1])

    @property
    def info(self) -> BackendInfo:
        """ONNX Runtime and what it runs on."""
        name = "onnx" if self._provider == "cpu" else self._provider
        device = _DEVICES[self._provider]
        return BackendInfo(name, device, self._precision, self._vector_size, self._threads)

    def encode(self, batch: SegmentBatch) -> Floats:
        """Encode segments; see `Backend.encode`."""
        vectors: Floats = self._encoder.run(
            ["segment_vector"],
            {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask},
        )[0]
        return vectors

    def score(self, vectors: Floats, mask: Floats, positions: Floats) -> Floats:
        """Score documents; see `Backend.score`."""
        return self._head.score(vectors, mask, positions)


def has_provider(provider: Provider) -> bool:
    """Tell whether this installation of ONNX Runtime was built with a provider."""
    return _PROVIDERS[provider] in onnxruntime.get_available_providers()


def provider_options(
    provider: Provider, precision: Precision, plan: ShapePlan | None, engines: Path | None
) -> dict[str, str]:
    """Return the options of a provider, by the names of ONNX Runtime's documentation.

    TensorRT gets one profile for each bucket: an input that is named again begins the next one.
    """
    if provider == "cann":
        # Not the provider's own default, fp16, in which sums may overflow.
        return {"device_id": "0", "precision_mode": "must_keep_origin_dtype"}
    if provider != "tensorrt":
        return {}
    options = {"trt_fp16_enable": str(int(precision == "fp16"))}
    if engines is not None:
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(engines),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(engines),
        }
    ranges = [] if plan is None else plan.ranges()
    for name, shapes in (
        ("min", [item.least for item in ranges]),
        ("opt", [item.best for item in ranges]),
        ("max", [item.most for item in ranges]),
    ):
        listed = [f"{input_}:{rows}x{tokens}" for rows, tokens in shapes for input_ in _INPUTS]
        if listed:
            options[f"trt_profile_{name}_shapes"] = ",".join(listed)
    return options


def open_session(
    path: Path,
    threads: int,
    provider: Provider = "cpu",
    provider_settings: dict[str, str] | None = None,
) -> Any:
    """Open an ONNX file with ONNX Runtime.

    Raises:
        MissingExtraError: The session runs on another provider than was asked for: ONNX Runtime
            falls back to the CPU in silence.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads must not burn the cores that tokenise the next documents.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    wanted = _PROVIDERS[provider]
    providers: list[Any] = [(wanted, provider_settings or {})]
    if provider != "cpu":
        # Nodes that a provider has no kernel for, such as those of shapes, run on the next one.
        providers += [_PROVIDERS["cuda"]] if provider == "tensorrt" else []
        providers.append(_PROVIDERS["cpu"])
        if not has_provider(provider):
            raise provider_is_missing(provider, onnxruntime.get_available_providers())
    session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=providers)
    if session.get_providers()[0] != wanted:
        raise provider_is_missing(provider, session.get_providers())
    return session


def provider_is_missing(provider: Provider, found: list[str]) -> MissingExtraError:
    """Return the error of a provider that is not here, with what would run instead."""
    package, beside = _INSTALLED_BY[provider]
    return MissingExtraError(
        f"The backend '{provider}' must run on {_PROVIDERS[provider]}, not on what is left.",
        found=f"an ONNX Runtime that runs on {', '.join(found)}",
        fix=f"Install {package} in place of onnxruntime (they hold the same module), with "
        f"{beside}; or choose another --backend.",
    )
