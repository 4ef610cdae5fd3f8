"""What a bundle costs on this machine: as served, on one thread, and on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from longform.inference.predictor import Predictor, load
from longform.reporting import Reporter
from longform.search.bakeoff.training import mean_milliseconds, typical
from longform.types import Document

_DOCUMENTS = 8


@dataclass(frozen=True, slots=True)
class ServingCost:
    """The cost of a bundle.

    Attributes:
        backend: What it runs on by default here.
        served_ms: Milliseconds a document, one by one, with all threads granted.
        thread_ms: The same on one thread.
        megabytes: Of the folder.
    """

    backend: str
    served_ms: float
    thread_ms: float
    megabytes: float

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return asdict(self)


def measure_bundle(
    folder: Path, documents: Sequence[Document], reporter: Reporter | None = None
) -> ServingCost:
    """Measure a bundle on a few documents whose lengths stand for all.

    Args:
        folder: The bundle.
        documents: To choose from.
        reporter: Told when backends are measured.
    """
    chosen = typical(documents, _DOCUMENTS)
    with load(folder, "auto", reporter) as predictor:
        info = predictor.backend_info
        served = _milliseconds(predictor, chosen)
    backend = f"{info.name}:{info.precision}"
    with _one_thread(), load(folder, backend) as predictor:
        alone = _milliseconds(predictor, chosen)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return ServingCost(backend, round(served, 3), round(alone, 3), round(size / 1e6, 2))


def _milliseconds(predictor: Predictor, documents: Sequence[Document]) -> float:
    predictor.warm_up()
    return mean_milliseconds(lambda item: predictor.predict([item]), documents)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Grant one thread to whatever is opened meanwhile."""
    own = {"LONGFORM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    before = {name: os.environ.get(name) for name in own}
    threads = torch.get_num_threads()
    os.environ.update(own)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
