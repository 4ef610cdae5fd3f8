"""The life of the server: bind, load in the background, answer, drain on a signal."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from longform.errors import InputError
from longform.serving.models import ModelRegistry
from longform.serving.rest import create_app
from longform.serving.settings import ServerSettings


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


def bind(settings: ServerSettings) -> socket.socket:
    """Open the listening socket.

    Raises:
        InputError: The port is taken or not allowed, or the host is not an address of this machine.
    """
    host, port = settings.host, settings.port
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
        settings: Address and limits.
        on_bound: Called with the address, such as `http://127.0.0.1:8000`, once it is bound.

    Returns:
        The number of the signal that ended the server (SIGINT 2, SIGTERM 15), after the requests
        under way were finished.

    Raises:
        InputError: The address cannot be bound.
        LongformError: The model could not be opened, warmed up, or did not pass its golden check.
    """
    listener = bind(settings)
    with contextlib.closing(listener):
        name, port = listener.getsockname()[:2]
        if on_bound is not None:
            on_bound(f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}")
        config = uvicorn.Config(
            create_app(registry, settings),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=round(settings.shutdown_timeout),
        )
        server = _Server(config, registry)
        server.run(sockets=[listener])
    if registry.failure is not None:
        raise registry.failure
    return server.received_signal
