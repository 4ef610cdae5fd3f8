"""The service as Ray's own tools deploy it: `build` is named in a Serve config."""

from __future__ import annotations

from typing import Any

from longform.errors import ConfigError
from longform.scale.serve_options import RayServeOptions, check_fit
from longform.scale.serve_replica import ReplicaPlan, build_application
from longform.serving.settings import ServerSettings


def build(arguments: dict[str, Any]) -> Any:
    """Build the application from the `args` of a Ray Serve config, such as that of a RayService.

    Args:
        arguments: `models`, a map of name to folder as the nodes see it; `backend`, auto without
            it; `server`, settings of the server; `ray`, options of a service on Ray. Address and
            port are those of the config's own `http_options`.

    Raises:
        ConfigError: Something is missing, unknown or cannot be used.
        InputError: A setting of the server does not go with Ray.
    """
    unknown = sorted(arguments.keys() - {"models", "backend", "server", "ray"})
    models = arguments.get("models")
    if unknown or not isinstance(models, dict) or not models:
        raise ConfigError(
            "The args of a service must be models, and may be backend, server and ray.",
            found=", ".join(unknown) if unknown else f"models: {models!r}",
            fix="For example: args: {models: {default: /models/current}}",
        )
    settings = ServerSettings.model_validate(dict(arguments.get("server") or {}))
    options = RayServeOptions.read(dict(arguments.get("ray") or {}))
    check_fit(settings)
    plan = ReplicaPlan.of(
        {str(name): str(folder) for name, folder in models.items()},
        str(arguments.get("backend", "auto")),
        settings,
        options,
    )
    return build_application(plan, options)
