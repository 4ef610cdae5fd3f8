"""gRPC: KServe's inference service, streaming classification, health and reflection.

The same models as over HTTP, the same errors under gRPC's codes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from longform.errors import InputError
from longform.serving import grpc_messages
from longform.serving.answering import AnswerDesk
from longform.serving.grpc_classify import Classifier
from longform.serving.grpc_inference import InferenceService
from longform.serving.grpc_messages import CLASSIFIER, OPEN_INFERENCE, Method, Protocol
from longform.serving.refusals import describe_error
from longform.serving.security import UNAUTHORIZED, KeyRing, key_of
from longform.serving.settings import ServerSettings

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}
_HEALTH_SECONDS = 0.5
_OVERHEAD = 1_048_576
"""Bytes of a message beside the texts."""


class GrpcServer:
    """The gRPC port of a server. Lives on the event loop that it is started on.

    Args:
        desk: Where requests are answered.
        settings: Limits, keys and certificates.
    """

    def __init__(self, desk: AnswerDesk, settings: ServerSettings) -> None:
        self._desk = desk
        self._settings = settings
        self._keys = (
            None if settings.api_keys is None else KeyRing.from_file(Path(settings.api_keys))
        )
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Bind and answer.

        Returns:
            The port.

        Raises:
            InputError: The address cannot be bound.
        """
        limit = self._settings.payload_limit + _OVERHEAD
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=self._settings.max_connections,
        )
        services = [
            (OPEN_INFERENCE, InferenceService(self._desk)),
            (CLASSIFIER, Classifier(self._desk)),
        ]
        for protocol, service in services:
            server.add_generic_rpc_handlers((self._handler(protocol, service),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = [protocol.full_name for protocol, _ in services]
        names += [health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server, pool=_ReflectedPool())
        bound = self._bind(server, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        await server.start()
        self._server = server
        self._task = asyncio.create_task(self._follow_health())
        return bound

    async def stop(self, grace: float) -> None:
        """Take no more calls and give those under way some time."""
        if self._task is not None:
            self._task.cancel()
        if self._server is not None:
            await self._health.enter_graceful_shutdown()
            await self._server.stop(grace)

    def _bind(self, server: grpc.aio.Server, address: str) -> int:
        settings = self._settings
        try:
            if settings.tls_certificate is None or settings.tls_key is None:
                return int(server.add_insecure_port(address))
            pair = (
                Path(settings.tls_key).read_bytes(),
                Path(settings.tls_certificate).read_bytes(),
            )
            credentials = grpc.ssl_server_credentials([pair])
            return int(server.add_secure_port(address, credentials))
        except (RuntimeError, OSError) as error:
            raise InputError(
                "The gRPC port must be free, and one that this user may open.",
                found=f"{address}: {error}",
                fix="Choose another one with --grpc-port.",
            ) from error

    async def _follow_health(self) -> None:
        while True:
            is_ready = self._desk.registry.is_ready
            status = health_pb2.HealthCheckResponse.ServingStatus
            state = status.SERVING if is_ready else status.NOT_SERVING
            for name in ("", OPEN_INFERENCE.full_name, CLASSIFIER.full_name):
                await self._health.set(name, state)
            await asyncio.sleep(_HEALTH_SECONDS)

    def _handler(self, protocol: Protocol, service: Any) -> grpc.GenericRpcHandler:
        messages = grpc_messages.load(protocol)
        handlers = {}
        for method in protocol.methods:
            call = getattr(service, method.name)
            make = (
                grpc.unary_stream_rpc_method_handler
                if method.streams
                else grpc.unary_unary_rpc_method_handler
            )
            guarded = (
                self._stream(protocol, method, call)
                if method.streams
                else (self._unary(protocol, method, call))
            )
            handlers[method.name] = make(
                guarded,
                request_deserializer=messages[method.request].FromString,
                response_serializer=messages[method.reply].SerializeToString,
            )
        return grpc.method_handlers_generic_handler(protocol.full_name, handlers)

    def _unary(
        self, protocol: Protocol, method: Method, call: Callable[[Any], Awaitable[Any]]
    ) -> Callable[[Any, Any], Awaitable[Any]]:
        async def answer(request: Any, context: Any) -> Any:
            with _Counted(self._desk, protocol, method) as counted:
                try:
                    await self._require_key(context)
                    return await call(request)
                except grpc.aio.AbortError:
                    counted.code = context.code().name
                    raise
                except Exception as error:
                    await _abort(context, error, counted)

        return answer

    def _stream(
        self, protocol: Protocol, method: Method, call: Callable[[Any], AsyncIterator[Any]]
    ) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
            with _Counted(self._desk, protocol, method) as counted:
                try:
                    await self._require_key(context)
                    async for event in call(request):
                        yield event
                except grpc.aio.AbortError:
                    counted.code = context.code().name
                    raise
                except Exception as error:
                    await _abort(context, error, counted)

        return answer

    async def _require_key(self, context: Any) -> None:
        if self._keys is None:
            return
        metadata = [(key, value) for key, value in context.invocation_metadata() or ()]
        if self._keys.owner(key_of(metadata)) is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, UNAUTHORIZED)


class _Counted:
    """Counts one call, whatever became of it."""

    def __init__(self, desk: AnswerDesk, protocol: Protocol, method: Method) -> None:
        self._telemetry = desk.telemetry
        self._endpoint = f"/{protocol.full_name}/{method.name}"
        self._began = time.monotonic()
        self.code = "OK"

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.code == "OK":
            self.code = "CANCELLED"
        seconds = time.monotonic() - self._began
        self._telemetry.count_request(self._endpoint, self.code, seconds)


async def _abort(context: Any, error: Exception, counted: _Counted) -> None:
    status, _, message, headers = describe_error(error)
    code = _CODES.get(status, grpc.StatusCode.UNKNOWN)
    counted.code = code.name
    trailing = tuple((name.lower(), value) for name, value in headers.items())
    await context.abort(code, message, trailing)


class _ReflectedPool:
    """Our descriptors first, then those that libraries registered."""

    def __getattr__(self, name: str) -> Any:
        from google.protobuf import descriptor_pool

        ours, theirs = grpc_messages.pool(), descriptor_pool.Default()

        def find(*given: Any) -> Any:
            try:
                return getattr(ours, name)(*given)
            except KeyError:
                return getattr(theirs, name)(*given)

        return find
