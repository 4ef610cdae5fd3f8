"""Exported encoders: made once for the same weights, and the fast one that frozen training uses."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from longform.backends.base import Backend
from longform.backends.choice import tokens_per_second
from longform.backends.openvino import OpenVINOBackend
from longform.backends.torch import TorchBackend
from longform.export.onnx import export_encoder
from longform.export.openvino import can_quantize, quantize_encoder
from longform.models import LongTextClassifier
from longform.reporting import Reporter
from longform.training.vectors import default_cache_folder

ENCODER_NAME = "encoder.onnx"
INT8_NAME = "encoder.int8.xml"
CHOICE_NAME = "fastest.txt"


class EncoderExports:
    """The exported files of one encoder.

    A frozen encoder is the same in every run, so its exports are kept in the cache folder under
    the digest of its weights; those of a trained one belong to the run.

    Args:
        model: Whose encoder.
        digest: SHA-256 of its weights; with None nothing is shared with other runs.
        folder: The run's own folder, used when there is no digest.
    """

    def __init__(self, model: LongTextClassifier, digest: str | None, folder: Path) -> None:
        self._model = model
        shared = digest is not None
        name = f"{digest}-{model.config.token_pooling}-{model.config.segment_length}"
        self._folder = default_cache_folder().parent / "encoders" / name if shared else folder

    def onnx(self) -> Path:
        """Return the ONNX encoder, exported when it is not there yet."""
        path = self._folder / ENCODER_NAME
        if not path.is_file():
            temporary = self._temporary()
            export_encoder(self._model, temporary / ENCODER_NAME)
            self._publish(temporary)
        return path

    def int8(self) -> Path:
        """Return the int8 encoder, made when it is not there yet; its `.bin` lies beside it."""
        path = self._folder / INT8_NAME
        if not path.is_file():
            temporary = self._temporary()
            quantize_encoder(self._model, temporary / INT8_NAME)
            self._publish(temporary)
        return path

    def remembered(self, rivals: Collection[str]) -> str | None:
        """Return which of these backends an earlier run found to be the fastest, if one did."""
        path = self._folder / CHOICE_NAME
        chosen = path.read_text(encoding="utf-8") if path.is_file() else None
        return chosen if chosen in rivals else None

    def remember(self, chosen: str) -> None:
        """Keep the choice for the next run."""
        temporary = self._temporary()
        (temporary / CHOICE_NAME).write_text(chosen, encoding="utf-8")
        self._publish(temporary)

    def _temporary(self) -> Path:
        folder = self._folder / f"making-{os.getpid()}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _publish(self, temporary: Path) -> None:
        """Move finished files into place, the one that is looked for last."""
        for source in sorted(
            temporary.iterdir(), key=lambda path: path.suffix in {".xml", ".onnx"}
        ):
            source.replace(self._folder / source.name)
        shutil.rmtree(temporary)


def fastest_encoder(
    model: LongTextClassifier, exports: EncoderExports, precision: str, reporter: Reporter
) -> Backend:
    """Open the encoder that gives a frozen run its vectors.

    Args:
        model: Whose encoder.
        exports: Where its files are.
        precision: `fp32`, or `bf16` where the device is fast with it.
        reporter: Told what was measured.

    Returns:
        Torch in the given precision, or OpenVINO in int8 where that is faster by a measurement,
        made once: a choice that changed would give the same run other vectors, and find none in
        the cache. The head of the result cannot score.
    """
    reference = TorchBackend(model, "bf16" if precision == "bf16" else "fp32")
    if not can_quantize(model):
        return reference
    fast = OpenVINOBackend(exports.int8(), None, "int8")
    rivals = {str(backend.info): backend for backend in (reference, fast)}
    chosen = exports.remembered(rivals)
    if chosen is None:
        length = model.config.segment_length
        rates = {name: tokens_per_second(backend, length) for name, backend in rivals.items()}
        reporter.say(
            "Encoding speed, tokens/s: "
            + ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
        )
        chosen = max(rates, key=lambda name: rates[name])
        exports.remember(chosen)
    return rivals[chosen]
