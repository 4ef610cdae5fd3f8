"""Packages of torch, which need neither transformers nor the classes of a model."""

from __future__ import annotations

import zipfile
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longform.backends.base import Backend, BackendInfo
from longform.backends.threads import granted_threads
from longform.errors import BundleError
from longform.types import Floats, SegmentBatch

EXPORTED = ".pt2"
SCRIPTED = ".torchscript.pt"
SAMPLE_INPUTS = "/data/sample_inputs/"
"""Folder of an archive of `torch.export` that holds example inputs."""

Graph = Callable[..., Tensor]


@dataclass(frozen=True, slots=True)
class PackageFiles:
    """The two files of a package."""

    encoder: Path
    head: Path

    @classmethod
    def within(cls, folder: Path, suffix: str) -> PackageFiles:
        """Return where a bundle has them.

        Args:
            folder: A bundle.
            suffix: `EXPORTED` or `SCRIPTED`.
        """
        return cls(folder / "torch" / f"encoder{suffix}", folder / "torch" / f"head{suffix}")


class _PackageBackend(Backend):
    """A package on the CPU, or on a GPU where there is one.

    Args:
        files: Encoder and head.
        threads: Threads of one call on a CPU; None takes what the machine grants.
    """

    name = "torch"

    def __init__(self, files: PackageFiles, threads: int | None = None) -> None:
        self._threads = threads or granted_threads()
        torch.set_num_threads(self._threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._encoder, self._head = self._open(files.encoder), self._open(files.head)
        one = np.ones((1, 1), dtype=np.int64)
        self._vector_size = int(self._run(self._encoder, one, one).shape[1])

    @abstractmethod
    def _open(self, path: Path) -> Graph:
        """Load one file onto the device."""

    @property
    def info(self) -> BackendInfo:
        """The package on its device."""
        return BackendInfo(self.name, str(self._device), "fp32", self._vector_size, self._threads)

    def encode(self, batch: SegmentBatch) -> Floats:
        """Encode segments; see `Backend.encode`."""
        return self._run(self._encoder, batch.input_ids, batch.attention_mask)

    def score(self, vectors: Floats, mask: Floats, positions: Floats) -> Floats:
        """Score documents; see `Backend.score`."""
        arrays = (
            np.ascontiguousarray(array, dtype=np.float32) for array in (vectors, mask, positions)
        )
        return self._run(self._head, *arrays)

    def _run(self, graph: Graph, *arrays: Any) -> Floats:
        with torch.inference_mode():
            tensors = (torch.from_numpy(array).to(self._device) for array in arrays)
            result: Floats = graph(*tensors).float().cpu().numpy()
        return result


class ExportedBackend(_PackageBackend):
    """What `torch.export` wrote."""

    name = "torch-export"

    def _open(self, path: Path) -> Graph:
        _refuse_pickle(path)
        module: Graph = torch.export.load(path).module().to(self._device)
        return module


class ScriptedBackend(_PackageBackend):
    """What `torch.jit` wrote."""

    name = "torchscript"

    def _open(self, path: Path) -> Graph:
        module: Graph = torch.jit.load(str(path), map_location=self._device)  # type: ignore[no-untyped-call]
        return module


def _refuse_pickle(path: Path) -> None:
    """Make sure that loading runs no pickle, which could run anything else.

    `torch.export.load` reads a tensor as a pickle where the archive says so, and example inputs
    whenever there are any; ours say nowhere, and have an empty file of them.

    Raises:
        BundleError: The archive has something pickled, or is none.
    """
    rule = f"{path.name} must hold its weights as plain numbers, nothing pickled."
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = [
                entry.filename
                for entry in archive.infolist()
                if (SAMPLE_INPUTS in entry.filename and entry.file_size)
                or (
                    entry.filename.endswith("_config.json")
                    and b'"use_pickle": true' in archive.read(entry)
                )
            ]
    except (OSError, zipfile.BadZipFile) as error:
        found = f"{error}"
    else:
        if not pickled:
            return
        found = ", ".join(pickled)
    raise BundleError(rule, found=found, fix="Export the target 'torch' again.")
