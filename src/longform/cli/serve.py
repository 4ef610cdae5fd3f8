"""`longform serve`: a bundle behind HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from longform.cli.arguments import BackendName, CacheFolder, CacheMemory, cache_settings

if TYPE_CHECKING:
    from longform.inference.cache import CacheSettings
    from longform.reporting import Reporter
    from longform.serving.settings import ServerSettings


def serve(
    bundles: Annotated[
        list[str],
        typer.Argument(metavar="[NAME=]BUNDLE", help="The bundle to serve; its name is 'default'."),
    ],
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1, this machine alone.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port; 8000. 0 takes any free one.")] = None,
    backend: BackendName = "auto",
    cache_memory: CacheMemory = "256MB",
    cache_folder: CacheFolder = None,
    strict: Annotated[
        bool | None,
        typer.Option("--strict", help="Answer 413 instead of reading a document in part."),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Scores in each answer; all by default.")
    ] = None,
) -> None:
    """Serve a bundle: POST /predict, health, metrics, and a page at /.

    Every setting is also read from the environment as LONGFORM_<NAME>, such as LONGFORM_PORT.
    """
    from longform.extras import require
    from longform.reporting import ConsoleReporter

    reporter = ConsoleReporter()
    for library in ("fastapi", "uvicorn", "prometheus_client"):
        require(library, "Serving")
    from longform.serving.settings import ServerSettings

    settings = ServerSettings.model_validate(
        {"host": host, "port": port, "strict": strict, "top_k": top_k}
    )
    name, folder = _name_and_folder(bundles)
    cache = cache_settings(cache_memory, cache_folder)
    raise typer.Exit(run_server(name, folder, backend, settings, reporter, cache))


def run_server(
    name: str,
    folder: Path,
    backend: str,
    settings: ServerSettings,
    reporter: Reporter,
    cache: CacheSettings | None = None,
) -> int:
    """Serve until a signal comes.

    Returns:
        The exit status: 128 and the number of the signal.
    """
    from longform.bundle import load_bundle
    from longform.inference.predictor import load
    from longform.serving.server import run
    from longform.serving.service import PredictionService

    # A bad bundle is refused before the port is bound; the model itself loads behind it.
    load_bundle(folder)
    service = PredictionService(
        lambda: load(folder, backend, reporter, cache),
        name=name,
        max_concurrent_requests=settings.max_concurrent_requests,
    )
    received = run(
        service,
        settings,
        on_bound=lambda address: reporter.say(
            f"Serving '{name}' from {folder} on {address}  (page at /, API at /docs, Ctrl-C ends)"
        ),
    )
    return 128 + received if received else 0


def _name_and_folder(bundles: list[str]) -> tuple[str, Path]:
    from longform.errors import InputError

    if len(bundles) > 1:
        raise InputError(
            "This version serves one bundle a process.",
            found=f"{len(bundles)} bundles",
            fix="Start one server for each, with different --port.",
        )
    name, separator, folder = bundles[0].partition("=")
    # A path may hold an equals sign; a name does not look like a path.
    if separator and not Path(bundles[0]).exists() and "/" not in name:
        return name, Path(folder)
    return "default", Path(bundles[0])
