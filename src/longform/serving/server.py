"""The life of the server: bind, load in the background, answer, drain on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from longform.errors import InputError
from longform.serving.admin import create_admin_app
from longform.serving.answering import AnswerDesk
from longform.serving.connections import PromptProtocol
from longform.serving.models import ModelRegistry
from longform.serving.rest import create_app, create_desk
from longform.serving.security import KeyGuard, KeyRing
from longform.serving.settings import ServerSettings
from longform.serving.watching import FolderWatcher


class _Server(uvicorn.Server):
    """Stops taking work before it stops listening, and leaves the exit status to the caller."""

    def __init__(self, config: uvicorn.Config, registry: ModelRegistry) -> None:
        super().__init__(config)
        self.received_signal = 0
        self._registry = registry

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._registry.drain()
        self.force_exit = self.should_exit and bool(self.received_signal)
        self.should_exit = True
        self.received_signal = sig

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._registry.failure is not None


class _AdminServer(uvicorn.Server):
    """Ends with the main server, which takes the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Gate:
    """The gRPC port, opened on the event loop of the server."""

    def __init__(
        self, desk: AnswerDesk, settings: ServerSettings, tell: Callable[[str], None]
    ) -> None:
        from longform.serving.grpc_server import GrpcServer

        self._settings = settings
        self._tell = tell
        self._server = GrpcServer(desk, settings)

    async def open(self) -> None:
        port = await self._server.start(self._settings.host, self._settings.port_of_grpc)
        self._tell(f"{self._settings.host}:{port} (gRPC)")

    async def close(self) -> None:
        await self._server.stop(self._settings.shutdown_timeout)


def bind(settings: ServerSettings) -> socket.socket:
    """Open the listening socket; see `bind_to`."""
    return bind_to(settings.host, settings.port)


def bind_to(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Raises:
        InputError: The port is taken or not allowed, or the host is not an address of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                "The port must be free.",
                found=f"port {port} of {host} is in use by another program",
                fix="Choose another one with --port, or --port 0 for any free one.",
            ) from error
        if error.errno == errno.EACCES:
            raise InputError(
                "The port must be one that this user may open.",
                found=f"port {port}: permission denied",
                fix="Choose one above 1023 with --port.",
            ) from error
        raise InputError(
            "The host must be an address of this machine.",
            found=f"{host}: {error.strerror or error}",
            fix="Use --host 127.0.0.1 for this machine only, or 0.0.0.0 for all its addresses.",
        ) from error


def run(
    registry: ModelRegistry,
    settings: ServerSettings,
    *,
    on_bound: Callable[[str], None] | None = None,
) -> int:
    """Serve until a signal comes: bind, then load and warm up in the background, then be ready.

    Args:
        registry: Models that have not been started.
        settings: Addresses and limits.
        on_bound: Called with each address, such as `http://127.0.0.1:8000`, once it is bound; the
            first is that of the main port.

    Returns:
        The number of the signal that ended the server (SIGINT 2, SIGTERM 15), after the requests
        under way were finished.

    Raises:
        InputError: An address cannot be bound, or a file of keys or a certificate cannot be read.
        LongformError: A model could not be opened, warmed up, or did not pass its golden check.
    """
    with contextlib.ExitStack() as stack:
        tell = on_bound or (lambda _: None)
        listener = stack.enter_context(contextlib.closing(bind(settings)))
        desk = create_desk(registry, settings)
        app = create_app(registry, settings, desk)
        server = _Server(_config(app, settings), registry)
        tell(_address(listener, settings))
        beside: list[tuple[uvicorn.Server, socket.socket]] = []
        if settings.admin_port is not None:
            port = bind_to(settings.admin_host, settings.admin_port)
            stack.enter_context(contextlib.closing(port))
            beside.append((_AdminServer(_config(_admin(registry, settings), settings)), port))
            tell(f"{_address(port, settings)} (administration)")
        watcher = _watcher(registry, settings)
        gate = None
        if settings.grpc:
            gate = _Gate(desk, settings, tell)
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(_serve(server, listener, beside, watcher, gate))
    if registry.failure is not None:
        raise registry.failure
    return server.received_signal


async def _serve(
    server: _Server,
    listener: socket.socket,
    beside: list[tuple[uvicorn.Server, socket.socket]],
    watcher: FolderWatcher | None,
    gate: _Gate | None,
) -> None:
    if gate is not None:
        await gate.open()
    others = [asyncio.create_task(each.serve(sockets=[port])) for each, port in beside]
    if watcher is not None:
        watcher.start()
    try:
        await server.serve(sockets=[listener])
    finally:
        if gate is not None:
            await gate.close()
        if watcher is not None:
            watcher.stop()
        for each, _ in beside:
            each.should_exit = True
        await asyncio.gather(*others)


def _config(app: FastAPI, settings: ServerSettings) -> uvicorn.Config:
    try:
        config = uvicorn.Config(
            app,
            http=PromptProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
            limit_concurrency=settings.max_connections,
            timeout_graceful_shutdown=round(settings.shutdown_timeout),
        )
        config.load()
    except OSError as error:
        raise InputError(
            "The TLS certificate and its key must be files in PEM that belong together.",
            found=f"{settings.tls_certificate}: {error}",
        ) from error
    return config


def _admin(registry: ModelRegistry, settings: ServerSettings) -> FastAPI:
    roots = [Path(root) for root in settings.model_root]
    if not roots:
        roots = [model.serving.folder.parent for model in registry.models.values()]
    if settings.model_folder is not None:
        roots.append(Path(settings.model_folder))
    app = create_admin_app(registry, roots)
    if settings.admin_keys is not None:
        keys = KeyRing.from_file(Path(settings.admin_keys))
        app.add_middleware(KeyGuard, keys=keys, open_paths=frozenset())
    return app


def _watcher(registry: ModelRegistry, settings: ServerSettings) -> FolderWatcher | None:
    if settings.watch_seconds is None:
        return None
    folder = None if settings.model_folder is None else Path(settings.model_folder)
    return FolderWatcher(registry, settings.watch_seconds, folder)


def _address(listener: socket.socket, settings: ServerSettings) -> str:
    name, port = listener.getsockname()[:2]
    scheme = "http" if settings.tls_certificate is None else "https"
    return f"{scheme}://[{name}]:{port}" if ":" in name else f"{scheme}://{name}:{port}"
