"""What can be said of a service on Ray, and which settings of the server do not fit it."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from longform.errors import ConfigError, InputError
from longform.serving.settings import ENVIRONMENT_PREFIX, ServerSettings

_NOT_ON_RAY = {
    "grpc_port": "Ray Serve speaks HTTP for longform; gRPC is with --engine local",
    "admin_port": "run the command again with another bundle: it replaces what is served",
    "admin_host": "there is no administrators' port on Ray",
    "admin_keys": "there is no administrators' port on Ray",
    "model_root": "there is no administrators' port on Ray",
    "watch_seconds": "run the command again with another bundle: it replaces what is served",
    "max_connections": "connections are taken by Ray Serve's proxies",
    "body_timeout": "bodies are received by Ray Serve's proxies",
}
"""Settings of the server that nothing would heed on Ray, each with the way out."""


class RayServeOptions(BaseModel):
    """Where the replicas of a service run, and how many of them.

    Raises:
        ConfigError: One or more values cannot be used; the message lists all of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    address: str | None = Field(None, min_length=1)
    """With --engine ray: the cluster, as HOST:PORT, ray://HOST:PORT or auto for the one on this
    machine; without it a cluster of this machine alone is started, and ends with the command."""
    service_name: str = Field("longform", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """With --engine ray: name of the service; what is served under it is replaced without losing a
    request."""
    replicas: str = Field("1", pattern=r"^\d+(:\d+)?$")
    """With --engine ray: how many replicas, as N or as FEWEST:MOST, which follows the load."""
    target_queued_tokens: int = Field(100_000, ge=1)
    """With --engine ray: tokens that may wait for each replica before one more is started; five
    seconds of work is a good value, and longform_tokens_per_second the pace."""
    upscale_seconds: float = Field(20.0, gt=0)
    """With --engine ray: seconds over which the waiting tokens are averaged."""
    downscale_seconds: float = Field(300.0, ge=0)
    """With --engine ray: seconds of little load before a replica is ended."""
    cpus_per_replica: float = Field(1.0, gt=0)
    """With --engine ray: CPUs of a replica, and its threads; beside a device too."""
    models_per_replica: int | None = Field(None, ge=2)
    """With --engine ray: most models that a replica holds; the first always, others when they are
    asked for, the least recently used goes. None: all."""
    dashboard: bool = False
    """With --engine ray: also start Ray's dashboard, on a cluster of this machine."""

    @classmethod
    def read(cls, given: dict[str, Any]) -> Self:
        """Build the options from flags; one that is None was not given."""
        try:
            options = cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            raise ConfigError(
                "The options of a service on Ray cannot be used.",
                found="; ".join(map(_describe, error.errors())),
                fix="Correct the flags named here.",
            ) from error
        fewest, most = options.fewest_and_most
        if not 1 <= fewest <= most:
            raise ConfigError(
                "--replicas must be a number from 1, or two of them in order.",
                found=options.replicas,
                fix="For example: --replicas 2, or --replicas 1:4.",
            )
        return options

    @property
    def fewest_and_most(self) -> tuple[int, int]:
        """The bounds on the number of replicas."""
        fewest, _, most = self.replicas.partition(":")
        return int(fewest), int(most or fewest)

    @property
    def threads(self) -> int:
        """Threads of a replica."""
        return max(1, int(self.cpus_per_replica))


def refuse_without_ray(given: dict[str, Any]) -> None:
    """Refuse flags that only `--engine ray` heeds.

    Raises:
        InputError: One was given.
    """
    named = [_flag(name) for name, value in given.items() if value is not None]
    if named:
        raise InputError(
            "Flags of Ray need --engine ray.",
            found=", ".join(named),
            fix="Add --engine ray, or leave them out.",
        )


def check_fit(settings: ServerSettings) -> None:
    """Refuse settings of the server that nothing would heed on Ray.

    Raises:
        InputError: One was given, by flag or environment.
    """
    given = sorted(settings.model_fields_set & _NOT_ON_RAY.keys())
    if given:
        name = given[0]
        raise InputError(
            f"{_flag(name)} (or {ENVIRONMENT_PREFIX}{name.upper()}) does not go with --engine ray.",
            found=", ".join(_flag(each) for each in given),
            fix=f"Leave it out: {_NOT_ON_RAY[name]}.",
        )
    if re.search(r"[\d:,]", settings.devices):
        raise InputError(
            "With --engine ray each replica has one device, which Ray chooses.",
            found=f"--devices {settings.devices}",
            fix="Name the kind alone (cpu, cuda or ascend), and how many with --replicas.",
        )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _describe(fault: Any) -> str:
    name = _flag(str(fault["loc"][0]))
    return f"{name}: {fault['msg'][0].lower()}{fault['msg'][1:]} (found {fault['input']!r})"
