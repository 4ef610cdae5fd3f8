"""`HappyGRPCServer`: a bundle behind gRPC in two lines, under the name that users know."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from longform.bundle import load_bundle
from longform.errors import InputError, LongformError
from longform.inference.predictor import load
from longform.serving.grpc_server import GrpcServer
from longform.serving.models import ModelRegistry
from longform.serving.rest import create_desk
from longform.serving.service import ServiceState
from longform.serving.settings import ServerSettings


class HappyGRPCServer:
    """Serves one bundle over gRPC, without HTTP and without a page.

    Args:
        model_path: Folder of the bundle.
        backend: What it runs on.
        settings: Limits, keys and certificates; None for the defaults.

    Raises:
        BundleError: The bundle is damaged, altered or too new.
        InputError: The folder is no bundle.
    """

    def __init__(
        self,
        model_path: str | Path,
        backend: str = "auto",
        settings: ServerSettings | None = None,
    ) -> None:
        folder = Path(model_path)
        load_bundle(folder)
        self._settings = settings or ServerSettings()
        self._registry = ModelRegistry(
            lambda path: load(path, backend),
            limits=self._settings.engine_limits,
            max_concurrent_requests=self._settings.max_concurrent_requests,
        )
        self._registry.add("default", folder)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._opened = threading.Event()
        self._failure: Exception | None = None
        self.port = 0

    def start(self, port: int = 50051, *, block: bool = True) -> int:
        """Load the model, bind, and answer.

        Args:
            port: TCP port; 0 takes any free one.
            block: Return only when `stop` is called or Ctrl-C is pressed.

        Returns:
            The port.

        Raises:
            LongformError: The model cannot be opened or does not give its golden answers here, or
                the port cannot be bound.
        """
        if self._thread is not None:
            raise InputError("A server can be started once.", found="it was started")
        self._registry.start()
        service = self._registry.find().serving.service
        if service.wait_until_opened() is not ServiceState.READY:
            raise service.failure or LongformError("The model could not be opened.")
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(port)), name="longform-grpc", daemon=True
        )
        self._thread.start()
        self._opened.wait()
        if self._failure is not None:
            raise self._failure
        if block:
            try:
                self._thread.join()
            except KeyboardInterrupt:
                self.stop()
        return self.port

    def stop(self) -> None:
        """Take no more calls, finish those under way, and free the model."""
        if self._loop is not None and self._stopping is not None and self._thread is not None:
            self._registry.drain()
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
        self._registry.close()

    async def _serve(self, port: int) -> None:
        server = GrpcServer(create_desk(self._registry, self._settings), self._settings)
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            self.port = await server.start(self._settings.host, port)
        except InputError as error:
            self._failure = error
            return
        finally:
            self._opened.set()
        await self._stopping.wait()
        await server.stop(self._settings.shutdown_timeout)
