"""A replica of a service on Ray: the application of `longform serve` behind Ray's proxies."""

from __future__ import annotations

import asyncio
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from longform.errors import InputError, LongformError
from longform.inference.cache import CacheSettings
from longform.reporting import Reporter
from longform.scale.autoscaling import QUEUED_TOKENS
from longform.scale.serve_models import HeldModel, ModelsOnDemand
from longform.scale.serve_options import RayServeOptions
from longform.serving.failures import NotReadyError
from longform.serving.models import ModelRegistry
from longform.serving.opening import predictor_opener
from longform.serving.request_log import set_up_logging
from longform.serving.rest import create_app
from longform.serving.service import ServiceState
from longform.serving.settings import ServerSettings

_NAME_ON_RAY = {"cuda": "GPU", "ascend": "NPU"}
"""Kind of device -> what Ray calls it as a resource."""


@dataclass(frozen=True)
class ReplicaPlan:
    """What each replica of a service is built from.

    Attributes:
        folders: The bundle of each model, by the model's name, as the nodes of the cluster see it.
        backend: What the models run on.
        settings: Limits of the requests, as of the plain server.
        threads: Of each replica.
        cache: Memory for segment vectors, of each model.
        holds_all: Whether all models are loaded at once; else when they are asked for.
    """

    folders: dict[str, str]
    backend: str
    settings: ServerSettings
    threads: int = 1
    cache: CacheSettings | None = None
    holds_all: bool = True

    @classmethod
    def of(
        cls,
        folders: dict[str, str],
        backend: str,
        settings: ServerSettings,
        options: RayServeOptions,
        cache: CacheSettings | None = None,
    ) -> ReplicaPlan:
        """Plan the replicas that the options of a service ask for."""
        most = options.models_per_replica
        return cls(
            folders=folders,
            backend=backend,
            settings=settings,
            threads=options.threads,
            cache=cache,
            holds_all=most is None or most >= len(folders),
        )


class ServingReplica:
    """Builds the application that `longform serve` builds; Ray Serve hands it the requests.

    Args:
        plan: What is served.
    """

    def __init__(self, plan: ReplicaPlan) -> None:
        os.environ["LONGFORM_THREADS"] = str(plan.threads)
        set_up_logging(plan.settings.log_format, plan.settings.log_level)
        self._settings = plan.settings.model_copy(
            update={"devices": _device_of_this_replica(plan.settings.devices)}
        )
        self._folders = {name: Path(folder) for name, folder in plan.folders.items()}
        self._registry = self._build_registry(plan)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Build the application, as Ray Serve asks for it."""
        return create_app(self._registry, self._settings)

    async def check_health(self) -> None:
        """Wait until the models are open, and tell Ray Serve to replace a replica that is dead.

        Ray Serve asks once before a replica gets requests or replaces another one: a bundle that is
        damaged or does not give its golden answers here replaces nothing.

        Raises:
            LongformError: A model cannot do any work.
        """
        for service in self._registry.current_services:
            state = await asyncio.to_thread(service.wait_until_opened)
            if state is ServiceState.FAILED or not service.is_alive:
                raise service.failure or NotReadyError("The model is not ready.", found=str(state))

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell Ray Serve's controller how many tokens wait here."""
        waiting = sum(service.queued_tokens for service in self._registry.services)
        return {QUEUED_TOKENS: float(waiting)}

    async def load_on_demand(self, name: str) -> HeldModel:
        """Load a model that was not held from the start.

        Raises:
            LongformError: Its bundle is damaged, or does not give its golden answers here.
        """
        await asyncio.to_thread(self._registry.load, name, self._folders[name])
        return HeldModel(self._registry, name)

    def _build_registry(self, plan: ReplicaPlan) -> ModelRegistry:
        common: dict[str, Any] = {
            "open_predictor": predictor_opener(
                plan.backend, self._settings, Reporter(), plan.cache
            ),
            "limits": self._settings.engine_limits,
            "max_concurrent_requests": self._settings.max_concurrent_requests,
        }
        if plan.holds_all:
            registry, held = ModelRegistry(**common), list(self._folders)
        else:
            from ray.serve import get_multiplexed_model_id

            registry = ModelsOnDemand(
                self._folders,
                # Wrapped by `build_application`: it keeps count of what is held.
                self.multiplexed_load,  # type: ignore[attr-defined]
                get_multiplexed_model_id,
                **common,
            )
            held = list(self._folders)[:1]
        for folder in self._folders.values():
            _require_folder(folder)
        for name in held:
            registry.add(name, self._folders[name])
        return registry


def build_application(plan: ReplicaPlan, options: RayServeOptions) -> Any:
    """Return the application for Ray Serve to run: one deployment of `ServingReplica`."""
    from ray import serve

    kind: type = ServingReplica
    if not plan.holds_all:
        most = options.models_per_replica or len(plan.folders)
        # The first model is always held and not among those that are counted.
        counted = serve.multiplexed(max_num_models_per_replica=max(1, most - 1))

        async def multiplexed_load(self: ServingReplica, name: str) -> HeldModel:
            return await self.load_on_demand(name)

        kind = type(
            "ServingReplica", (ServingReplica,), {"multiplexed_load": counted(multiplexed_load)}
        )
    settings = plan.settings
    fewest, most_replicas = options.fewest_and_most
    scaling: dict[str, Any] = {"num_replicas": fewest}
    if most_replicas > fewest:
        scaling = {"autoscaling_config": _autoscaling(options)}
    deployment = serve.deployment(
        serve.ingress()(kind),
        name="replica",
        ray_actor_options=_resources(settings.devices, options),
        # Twice as many as the application takes: it answers 429 itself, as the plain server does.
        max_ongoing_requests=2 * settings.max_concurrent_requests,
        graceful_shutdown_timeout_s=settings.shutdown_timeout,
        # A replica is ended when the one that replaces it answers.
        max_surge_percent=max(1, 100 // most_replicas),
        max_constructor_retry_count=1,
        health_check_timeout_s=60,
        logging_config={"enable_access_log": False},
        **scaling,
    )
    return deployment.bind(plan)


def _autoscaling(options: RayServeOptions) -> dict[str, Any]:
    fewest, most = options.fewest_and_most
    return {
        "min_replicas": fewest,
        "max_replicas": most,
        "look_back_period_s": options.upscale_seconds,
        # The average over the window has waited long enough.
        "upscale_delay_s": 0,
        "downscale_delay_s": options.downscale_seconds,
        "policy": {
            "policy_function": "longform.scale.autoscaling:QueuedTokensPolicy",
            "policy_kwargs": {"target_queued_tokens": options.target_queued_tokens},
        },
    }


def _resources(devices: str, options: RayServeOptions) -> dict[str, Any]:
    resources: dict[str, Any] = {"num_cpus": options.cpus_per_replica}
    if devices == "cuda":
        resources["num_gpus"] = 1
    elif devices == "ascend":
        resources["resources"] = {"NPU": 1}
    return resources


def _device_of_this_replica(kind: str) -> str:
    """Return the device that Ray gave this replica, with its number on the machine."""
    if kind not in _NAME_ON_RAY:
        return kind
    import ray

    given = ray.get_runtime_context().get_accelerator_ids().get(_NAME_ON_RAY[kind], [])
    if not given:
        raise LongformError(
            f"Ray must give a replica on {kind} a device.",
            found=f"none on {platform.node()}",
            fix="Start Ray on that node with its devices, such as 'ray start --num-gpus 1'.",
        )
    return f"{kind}:{given[0]}"


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(
            "A bundle must lie where every node of the cluster sees it, under the same path.",
            found=f"no folder {folder} on {platform.node()}",
            fix="Put it on storage that all nodes mount, or copy it to each of them.",
        )
