"""`longform serve`: a bundle behind HTTP."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longform.cli.arguments import (
    BackendName,
    CacheFolder,
    CacheMemory,
    EngineName,
    cache_settings,
)
from longform.cli.server_flags import with_server_flags

if TYPE_CHECKING:
    from longform.inference.cache import CacheSettings
    from longform.reporting import Reporter
    from longform.serving.settings import ServerSettings


@with_server_flags
def serve(
    settings: dict[str, Any],
    ray: dict[str, Any],
    bundles: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]BUNDLE...", help="Bundles to serve; one without a name is 'default'."
        ),
    ] = None,
    backend: BackendName = "auto",
    cache_memory: CacheMemory = "256MB",
    cache_folder: CacheFolder = None,
    engine: Annotated[
        EngineName,
        typer.Option(help="local: one process; ray: replicas on a Ray cluster, as many as needed."),
    ] = EngineName.local,
) -> None:
    """Serve bundles: POST /predict, health, metrics, and a page at /.

    Every setting is also read from the environment as LONGFORM_<NAME>, such as LONGFORM_PORT.
    """
    from longform.extras import require
    from longform.reporting import ConsoleReporter
    from longform.serving.settings import ServerSettings

    reporter = ConsoleReporter()
    for library in ("fastapi", "uvicorn", "prometheus_client"):
        require(library, "Serving")
    limits = ServerSettings.model_validate(settings)
    cache = cache_settings(cache_memory, cache_folder)
    folders = dict(_names_and_folders(bundles, limits.model_folder))
    if engine is EngineName.local:
        from longform.scale.serve_options import refuse_without_ray

        refuse_without_ray(ray)
        raise typer.Exit(run_server(folders, backend, limits, reporter, cache))
    from longform.scale.serve_options import RayServeOptions
    from longform.scale.serving import run_on_ray

    options = RayServeOptions.read(ray)
    raise typer.Exit(run_on_ray(folders, backend, limits, options, reporter, cache))


def run_server(
    folders: dict[str, Path],
    backend: str,
    settings: ServerSettings,
    reporter: Reporter,
    cache: CacheSettings | None = None,
) -> int:
    """Serve until a signal comes.

    Args:
        folders: The bundle of each model, by the model's name.
        backend: What they run on.
        settings: Address and limits.
        reporter: Told where the server is.
        cache: Memory for segment vectors, of each model.

    Returns:
        The exit status: 0 after SIGTERM, else 128 and the number of the signal.
    """
    from longform.bundle import load_bundle
    from longform.serving.models import ModelRegistry
    from longform.serving.opening import predictor_opener
    from longform.serving.request_log import set_up_logging
    from longform.serving.server import run

    set_up_logging(settings.log_format, settings.log_level)
    registry = ModelRegistry(
        predictor_opener(backend, settings, reporter, cache),
        limits=settings.engine_limits,
        max_concurrent_requests=settings.max_concurrent_requests,
    )
    for name, folder in folders.items():
        # A bad bundle is refused before the port is bound; the model itself loads behind it.
        load_bundle(folder)
        registry.add(name, folder)
    named = ", ".join(f"'{name}' from {folder}" for name, folder in folders.items())
    bound: list[str] = []

    def say_address(address: str) -> None:
        more = "  (page at /, API at /docs, Ctrl-C ends)"
        reporter.say(f"Also on {address}" if bound else f"Serving {named} on {address}{more}")
        bound.append(address)

    received = run(registry, settings, on_bound=say_address)
    # SIGTERM is how a server ends when all is well: it has answered what it took.
    return 128 + received if received not in {0, signal.SIGTERM} else 0


def _names_and_folders(
    bundles: list[str] | None, model_folder: str | None
) -> Iterator[tuple[str, Path]]:
    from longform.errors import InputError
    from longform.serving.watching import bundles_within

    named = [_name_and_folder(bundle) for bundle in bundles or ()]
    if model_folder is not None:
        if not Path(model_folder).is_dir():
            raise InputError("--model-folder must be a folder.", found=model_folder)
        named += [(folder.name, folder) for folder in bundles_within(Path(model_folder))]
    if not named:
        raise InputError(
            "A server must have a bundle.",
            found="none",
            fix="Name one: longform serve BUNDLE. Or a folder of them with --model-folder.",
        )
    seen: set[str] = set()
    for name, folder in named:
        if name in seen:
            raise InputError(
                "Each model must have a name of its own.",
                found=f"two are called '{name}'",
                fix="Name them: longform serve contracts=BUNDLE news=BUNDLE.",
            )
        seen.add(name)
        yield name, folder


def _name_and_folder(bundle: str) -> tuple[str, Path]:
    name, separator, folder = bundle.partition("=")
    # A path may hold an equals sign; a name does not look like a path.
    if separator and not Path(bundle).exists() and "/" not in name:
        return name, Path(folder)
    return "default", Path(bundle)
