"""The watching of folders: a bundle that changes is loaded, one that comes is served."""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path

from longform.bundle import MANIFEST_FILE
from longform.errors import LongformError
from longform.serving.models import ModelRegistry

logger = logging.getLogger(__name__)


class FolderWatcher:
    """Looks at the manifests of bundles again and again.

    A bundle is loaded when its manifest has changed and stayed as it is for one look more. One
    that is refused is left alone until it changes again; what was served goes on.

    Args:
        registry: The models.
        seconds: Between two looks.
        folder: Each bundle in it is a model under the name of its own folder; None watches the
            bundles that are served and no others.
    """

    def __init__(self, registry: ModelRegistry, seconds: float, folder: Path | None = None) -> None:
        self._registry = registry
        self._seconds = seconds
        self._folder = folder
        self._loaded = {name: _stamp(path) for name, path in self._served().items()}
        self._seen: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="longform-watch", daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def look(self) -> None:
        """Look once, and load and remove what has to be."""
        served = self._served()
        found = dict(served)
        if self._folder is not None:
            found |= {path.name: path for path in bundles_within(self._folder)}
        for name, path in found.items():
            stamp = _stamp(path)
            is_settled = self._seen.get(name) == stamp
            self._seen[name] = stamp
            if stamp and is_settled and stamp != self._loaded.get(name):
                self._loaded[name] = stamp
                self._load(name, path)
        for name, path in served.items():
            is_ours = self._folder is not None and path.parent == self._folder
            if is_ours and not path.exists():
                self._remove(name)

    def _load(self, name: str, path: Path) -> None:
        try:
            version = self._registry.load(name, path)
        except LongformError as error:
            logger.error("Model %s: the bundle in %s is refused: %s", name, path, error)
        else:
            logger.info("Model %s: version %s was loaded from %s.", name, version, path)

    def _remove(self, name: str) -> None:
        self._loaded.pop(name, None)
        try:
            self._registry.remove(name)
        except LongformError as error:
            logger.error("Model %s: its folder is gone, but it stays: %s", name, error)
        else:
            logger.info("Model %s is served no longer: its folder is gone.", name)

    def _served(self) -> dict[str, Path]:
        return {name: model.serving.folder for name, model in list(self._registry.models.items())}

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self.look()


def bundles_within(folder: Path) -> list[Path]:
    """Return the folders in a folder that are bundles."""
    return sorted(path for path in folder.iterdir() if (path / MANIFEST_FILE).is_file())


def _stamp(folder: Path) -> str:
    """Return what changes with every change of a bundle; empty where there is none now."""
    try:
        return hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()
    except OSError:
        return ""
