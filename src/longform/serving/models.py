"""The models that are served, by name and version, and the swapping of one for another.

A request leases the version that answers it. A version that is replaced goes on answering what was
leased and is closed when the last lease ends: so no request fails because a model was exchanged.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from longform.errors import LongformError
from longform.serving.contract import Predictor
from longform.serving.failures import NotReadyError, OverloadedError
from longform.serving.limits import EngineLimits
from longform.serving.reports import BatchReport
from longform.serving.service import PredictionService, ServiceState, ServiceWatcher
from longform.serving.trials import Trial, TrialKind, TrialRules
from longform.serving.versions import (
    LoadedVersion,
    ModelRefusedError,
    ServedModel,
    UnknownModelError,
    require_same_task,
)

logger = logging.getLogger(__name__)

OpenPredictor = Callable[[Path], Predictor]
"""Opens the bundle of a folder."""


class ModelRegistry(ServiceWatcher):
    """All models of a server.

    Args:
        open_predictor: Opens a bundle.
        limits: How batches are made, for each version.
        max_concurrent_requests: Permits: requests that may be received, wait or run at once.
        watcher: Told of batches and dropped requests of every version.
        rules: When a version on trial is taken back.
    """

    def __init__(
        self,
        open_predictor: OpenPredictor,
        *,
        limits: EngineLimits | None = None,
        max_concurrent_requests: int = 512,
        watcher: ServiceWatcher | None = None,
        rules: TrialRules | None = None,
    ) -> None:
        self.models: dict[str, ServedModel] = {}
        self.max_concurrent_requests = max_concurrent_requests
        self.watcher = watcher or ServiceWatcher()
        self.rules = rules or TrialRules()
        self._open_predictor = open_predictor
        self._limits = limits or EngineLimits()
        self._permits_taken = 0
        self._is_draining = False
        self._lock = threading.RLock()

    # State

    @property
    def pending_requests(self) -> int:
        """Requests that hold a permit: being received, waiting, or running."""
        return self._permits_taken

    @property
    def services(self) -> list[PredictionService]:
        """Every version that is loaded."""
        with self._lock:
            return [
                loaded.service
                for model in self.models.values()
                for loaded in model.versions.values()
            ]

    @property
    def current_services(self) -> list[PredictionService]:
        """The version of each model that answers by default."""
        with self._lock:
            return [model.serving.service for model in self.models.values()]

    @property
    def is_alive(self) -> bool:
        """Whether each model can still do, or come to do, work."""
        return all(service.is_alive for service in self.current_services)

    @property
    def is_ready(self) -> bool:
        """Whether each model takes work now."""
        services = self.current_services
        return bool(services) and all(service.is_ready for service in services)

    @property
    def failure(self) -> LongformError | None:
        """Why a model could not be started at all, so that waiting is of no use."""
        failed = (service for service in self.current_services if service.failed_to_start)
        return next((service.failure for service in failed), None)

    def batch_done(self, service: PredictionService, report: BatchReport) -> None:
        """Pass on what a version tells."""
        self.watcher.batch_done(service, report)

    def request_dropped(self, service: PredictionService) -> None:
        """Pass on what a version tells."""
        self.watcher.request_dropped(service)

    def version_retired(self, service: PredictionService) -> None:
        """Pass on that a version answers no more."""
        self.watcher.version_retired(service)

    # Requests

    @contextlib.contextmanager
    def permit(self) -> Iterator[None]:
        """Hold one of the permits for the life of a request, its receiving included.

        Raises:
            NotReadyError: No model takes work now.
            OverloadedError: All permits are taken.
        """
        services = self.current_services
        if not any(service.is_ready for service in services):
            if not services:
                raise NotReadyError("A model must be loaded.", found="none")
            services[0].require_ready()
        with self._lock:
            if self._permits_taken >= self.max_concurrent_requests:
                raise OverloadedError(
                    f"The server takes {self.max_concurrent_requests} requests at once.",
                    found="all of them are taken",
                )
            self._permits_taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._permits_taken -= 1

    async def provide(self, name: str | None) -> str | None:
        """Have a model at hand before it is leased; here all of them always are.

        Args:
            name: As the request says it; None where it does not.

        Returns:
            The name to lease it by.

        Raises:
            LongformError: It cannot be had.
        """
        return name

    @contextlib.contextmanager
    def lease(
        self, name: str | None = None, version: str | None = None
    ) -> Iterator[PredictionService]:
        """Hold a version for the life of a request.

        Args:
            name: Of the model; None for the first one.
            version: None for the one that serves, or is on trial.

        Raises:
            UnknownModelError: No such model or version is served.
        """
        with self._lock:
            loaded = self.find(name).choose(version)
            loaded.leases += 1
        try:
            yield loaded.service
        finally:
            with self._lock:
                loaded.leases -= 1
                is_over = loaded.is_retired and not loaded.leases
            if is_over:
                self._close_aside(loaded)

    def find(self, name: str | None = None) -> ServedModel:
        """Return a model by its name.

        Raises:
            UnknownModelError: There is none.
        """
        if name is None and self.models:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise UnknownModelError(
                "The model must be one that is served here.",
                found=ascii(str(name)[:60]),
                fix=f"Ask for one of {', '.join(map(repr, self.models)) or 'none'}.",
            )
        return self.models[name]

    # Changes

    def add(self, name: str, folder: Path) -> PredictionService:
        """Serve a model under a new name; it is loaded in the background by `start`."""
        service = self._service(name, "1", folder)
        model = ServedModel(name, "1", {"1": LoadedVersion(service, folder)})
        next(model.numbers)
        with self._lock:
            self.models[name] = model
        return service

    def start(self) -> None:
        """Start loading every model that was added."""
        for service in self.services:
            service.start()

    def load(
        self,
        name: str,
        folder: Path | None = None,
        *,
        trial: tuple[TrialKind, float] | None = None,
        allow_other_labels: bool = False,
        digest: str | None = None,
    ) -> str:
        """Load a bundle, verify, warm and check it, and only then let it answer.

        Args:
            name: Of the model; a new name is added.
            folder: Of the bundle; None for the folder that the current version came from.
            trial: Let it answer a share of the requests (`canary`), or be asked a share of them
                beside the current version without answering (`shadow`).
            allow_other_labels: Take a bundle whose labels are not those of the current version.
            digest: Take no bundle but the one with this digest.

        Returns:
            Its version.

        Raises:
            UnknownModelError: No folder is given and the model is unknown.
            ModelRefusedError: Its labels are others, or the server is stopping.
            LongformError: The bundle is damaged, or does not give its golden answers here.
        """
        if name not in self.models and folder is not None:
            return self._load_first(name, folder)
        model = self.find(name)
        with model.loading:
            source = folder or model.serving.folder
            version = str(next(model.numbers))
            loaded = self._open(name, version, source)
            try:
                if digest is not None and loaded.digest != digest:
                    raise ModelRefusedError(
                        "The folder must still hold the bundle that it held.",
                        found=f"another one in {source}",
                    )
                if self._is_draining:
                    raise ModelRefusedError("The server must not be stopping.", found="it is")
                if not allow_other_labels:
                    require_same_task(model.serving, loaded)
                self._put_in_place(model, version, loaded, trial)
            except LongformError:
                loaded.service.close()
                raise
        return version

    def promote(self, name: str) -> str:
        """Let the version on trial be the current one; return it."""
        model = self.find(name)
        with self._lock:
            if model.trial is None:
                raise ModelRefusedError("A version must be on trial.", found="none")
            return self._make_current(model, model.trial.version)

    def roll_back(self, name: str, reason: str = "asked for") -> str:
        """End a trial; without one, load again what was current before. Return who serves now."""
        model = self.find(name)
        with self._lock:
            trial = model.trial
            if trial is not None:
                trial.ended_because = reason
                model.last_trial, model.trial = trial, None
                logger.warning(
                    "Model %s: version %s is taken back: %s", name, trial.version, reason
                )
                self._retire(model, trial.version)
                return model.current
            previous = model.previous
        if previous is None:
            raise ModelRefusedError("There must be an earlier version.", found="none")
        folder, digest = previous
        return self.load(name, folder, allow_other_labels=True, digest=digest)

    def remove(self, name: str) -> None:
        """Serve a model no longer; what it has leased is answered."""
        with self._lock:
            model = self.find(name)
            if len(self.models) == 1:
                raise ModelRefusedError(
                    "A server must have a model.",
                    found=f"'{name}' is the last one",
                    fix="Stop the server instead.",
                )
            del self.models[name]
            versions = list(model.versions)
        for version in versions:
            self._retire(model, version)

    def drain(self) -> None:
        """Take no more work; what was taken is finished. Safe to call in a signal handler."""
        self._is_draining = True
        for model in list(self.models.values()):
            for loaded in list(model.versions.values()):
                loaded.service.drain()

    def close(self) -> None:
        """Drain, wait a limited time for what was taken, and free the models."""
        self.drain()
        for service in self.services:
            service.close()

    def _service(self, name: str, version: str, folder: Path) -> PredictionService:
        return PredictionService(
            lambda: self._open_predictor(folder),
            name=name,
            version=version,
            limits=self._limits,
            watcher=self,
        )

    def _open(self, name: str, version: str, folder: Path) -> LoadedVersion:
        service = self._service(name, version, folder)
        service.start()
        if service.wait_until_opened() is not ServiceState.READY:
            service.close()
            raise service.failure or NotReadyError("The server is stopping.")
        return LoadedVersion(service, folder)

    def _load_first(self, name: str, folder: Path) -> str:
        loaded = self._open(name, "1", folder)
        model = ServedModel(name, "1", {"1": loaded})
        next(model.numbers)
        with self._lock:
            if name in self.models or self._is_draining:
                loaded.service.close()
                raise ModelRefusedError("The name must be free.", found=f"'{name}' is served")
            self.models[name] = model
        return "1"

    def _put_in_place(
        self,
        model: ServedModel,
        version: str,
        loaded: LoadedVersion,
        trial: tuple[TrialKind, float] | None,
    ) -> None:
        with self._lock:
            model.versions[version] = loaded
            if model.trial is not None:
                model.last_trial = model.trial
                model.trial.ended_because = "another version was loaded"
                self._retire(model, model.trial.version)
                model.trial = None
            if trial is None:
                self._make_current(model, version)
            else:
                model.trial = Trial(trial[0], version, trial[1], self.rules)

    def _make_current(self, model: ServedModel, version: str) -> str:
        with self._lock:
            replaced = model.current
            model.previous = (model.serving.folder, model.serving.digest)
            model.current, model.trial = version, None
            logger.info("Model %s: version %s answers now.", model.name, version)
            self._retire(model, replaced)
        return version

    def _retire(self, model: ServedModel, version: str) -> None:
        with self._lock:
            loaded = model.versions.pop(version)
            loaded.is_retired = True
            is_free = not loaded.leases
        if is_free:
            self._close_aside(loaded)

    def _close_aside(self, loaded: LoadedVersion) -> None:
        def close() -> None:
            loaded.service.close()
            self.version_retired(loaded.service)

        # Freeing a model takes a while; whoever let it go does not wait.
        threading.Thread(target=close, name="longform-close", daemon=True).start()
