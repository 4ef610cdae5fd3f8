"""The one guard for optional libraries."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from longform.errors import MissingExtraError

EXTRA_OF_LIBRARY = {
    "accelerate": "train",
    "cleanlab": "doctor",
    "datasketch": "doctor",
    "docx": "documents",
    "fastapi": "serve",
    "fsspec": "train",
    "ftfy": "doctor",
    "google.protobuf": "data",
    "google_crc32c": "data",
    "grpc": "serve",
    "mlflow": "mlflow",
    "multipart": "serve",
    "nncf": "openvino",
    "onnx": "train",
    "onnxscript": "train",
    "onnxslim": "train",
    "opencc": "zh",
    "openpyxl": "data",
    "opentelemetry.exporter.otlp.proto.http": "otel",
    "opentelemetry.sdk": "otel",
    "optuna": "train",
    "peft": "train",
    "psutil": "train",
    "ray": "ray",
    "tensorboard": "train",
    "openvino": "openvino",
    "orjson": "serve",
    "prometheus_client": "serve",
    "pyarrow": "data",
    "pypdf": "documents",
    "scipy.sparse": "doctor",
    "sklearn": "doctor",
    "torch": "train",
    "transformers": "train",
    "uvicorn": "serve",
    "wandb": "wandb",
    "zmq": "serve",
    "zstandard": "data",
}
"""Import name of each optional library -> the extra that installs it."""


_REPORTING_HOME = ("openvino_telemetry",)
"""Libraries that send usage figures to their makers, without being asked. Ours send nothing: these
count as not installed, which OpenVINO and NNCF both take for a no."""


def is_available(library: str) -> bool:
    """Tell whether `library` can be imported, without importing it."""
    package = library.rpartition(".")[0]
    # Looking for a part of a package that is not there raises.
    return (not package or is_available(package)) and importlib.util.find_spec(library) is not None


def check_installed(library: str, purpose: str) -> None:
    """Say how to install an optional library where it is missing, without importing it.

    Args:
        library: Import name, a key of `EXTRA_OF_LIBRARY`.
        purpose: What needs it, as the subject of a sentence, for example "Reading parquet".

    Raises:
        MissingExtraError: The library is not installed.
    """
    if not is_available(library):
        extra = EXTRA_OF_LIBRARY[library]
        raise MissingExtraError(
            f"{purpose} needs the library '{library}'.",
            found="it is not installed",
            fix=f"Run: pip install 'longform[{extra}]'",
        )


def require(library: str, purpose: str) -> ModuleType:
    """Import an optional library or say how to install it.

    Args:
        library: Import name, a key of `EXTRA_OF_LIBRARY`.
        purpose: What needs it, as the subject of a sentence, for example "Reading parquet".

    Raises:
        MissingExtraError: The library is not installed.
    """
    check_installed(library, purpose)
    for name in _REPORTING_HOME:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    return importlib.import_module(library)
