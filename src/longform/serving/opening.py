"""How a server opens a bundle: in its own process, or in workers for its devices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from longform.bundle import answering_bundle, load_bundle
from longform.inference.cache import CacheSettings
from longform.inference.predictor import Predictor, load
from longform.reporting import Reporter
from longform.serving.settings import ServerSettings
from longform.serving.workers.devices import parse_devices


def predictor_opener(
    backend: str, settings: ServerSettings, reporter: Reporter, cache: CacheSettings | None = None
) -> Callable[[Path], Predictor]:
    """Return what opens the bundle of a folder.

    Args:
        backend: What models run on, as users write it.
        settings: `devices` and `isolate` say where.
        reporter: Told what was decided.
        cache: Memory for segment vectors, of each model.

    Raises:
        ConfigError: The devices cannot be read.
    """
    devices = parse_devices(settings.devices)
    if not settings.isolate and devices[0].name == "cpu":
        return lambda folder: load(folder, backend, reporter, cache)

    if backend == "auto" and devices[0].name.startswith("ascend"):
        # The fastest of a measurement might be the CPU, which was not asked for.
        backend = "ascend"

    def open_in_workers(folder: Path) -> Predictor:
        from longform.serving.workers.backend import WorkerBackend

        bundle = load_bundle(folder)
        answering = answering_bundle(bundle)
        if answering.description.kind == "linear":
            # It needs no device, and answers sooner than a process could be asked.
            return load(bundle, reporter=reporter)
        return load(bundle, WorkerBackend(bundle, backend, devices), reporter, cache)

    return open_in_workers
