"""The models of a replica that does not hold all of them: loaded when they are asked for."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from longform.errors import LongformError
from longform.serving.failures import NotReadyError
from longform.serving.models import ModelRegistry
from longform.serving.versions import ServedModel

logger = logging.getLogger(__name__)


class ModelsOnDemand(ModelRegistry):
    """Holds the first model always, and of the others those that were asked for last.

    Args:
        folders: The bundle of each model, by the model's name; the first is the default.
        load: Has one of them loaded where it is not, and lets another one go for it.
        routed_name: The name that the router of a request was given; empty without one.
        more: What every registry wants.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        load: Callable[[str], Awaitable[object]],
        routed_name: Callable[[], str],
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self._folders = dict(folders)
        self._load_on_demand = load
        self._routed_name = routed_name
        self._first = next(iter(self._folders))

    async def provide(self, name: str | None) -> str | None:
        """Have a model loaded before it is leased.

        One that a request does not name may be the one that it was routed by.
        """
        name = name or self._routed_name() or None
        if name in self._folders and name != self._first:
            # Nothing is awaited between this and the lease, so it cannot be let go in between.
            await self._load_on_demand(str(name))
        return name

    def find(self, name: str | None = None) -> ServedModel:
        """Return a model by its name.

        Raises:
            NotReadyError: It is not loaded here now.
            UnknownModelError: There is none.
        """
        if name in self._folders and name not in self.models:
            raise NotReadyError(
                "The model is not loaded on this replica.",
                found=f"'{name}' was not asked for lately",
                fix="The first request for an answer of it loads it.",
            )
        return super().find(name)


class HeldModel:
    """A model that was loaded on demand; Ray Serve's multiplexing calls `__del__` to let it go.

    Args:
        registry: Serves it.
        name: Of the model.
    """

    def __init__(self, registry: ModelRegistry, name: str) -> None:
        self._registry = registry
        self._name = name
        self._is_held = True

    def __del__(self) -> None:
        # Called by Ray Serve and once more by Python, when another one may go by the name.
        if not self._is_held:
            return
        self._is_held = False
        try:
            self._registry.remove(self._name)
        except LongformError as error:
            logger.error("Model %s could not be let go: %s", self._name, error)
