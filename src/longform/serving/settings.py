"""The settings of the server, from arguments or the environment. Knows no HTTP library."""

from __future__ import annotations

import ipaddress
import os
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from longform.errors import ConfigError
from longform.serving.limits import EngineLimits

ENVIRONMENT_PREFIX = "LONGFORM_"


class ServerSettings(BaseModel):
    """Limits and address of one server; names follow text-embeddings-inference.

    A value comes from the argument, else from the environment variable `LONGFORM_<NAME>` as it is
    when the settings are built, else from the default. An argument of None counts as not given.

    Raises:
        ConfigError: One or more values cannot be used; the message lists all of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    host: str = Field("127.0.0.1", min_length=1)
    """Address to bind. The default is reachable from this machine only."""
    port: int = Field(8000, ge=0, le=65_535)
    """TCP port; 0 lets the system choose a free one."""
    max_client_batch_size: int = Field(32, ge=1)
    """Most documents in one request."""
    payload_limit: int = Field(64 * 1024 * 1024, ge=1)
    """Largest request body in bytes: 64 MiB is about 22 million Chinese characters."""
    max_concurrent_requests: int = Field(512, ge=1)
    """Requests that may wait or run at once; one more is answered 429."""
    max_batch_tokens: int = Field(16_384, ge=1)
    """Most tokens of segments that are encoded together."""
    max_wait_ms: float = Field(0.0, ge=0)
    """Milliseconds that a batch may wait to be filled. 0 never lets the device idle: under load
    requests gather while it works."""
    max_batch_ms: float = Field(20.0, gt=0)
    """Most milliseconds of a batch while most requests are so short that they fit in one, so that
    long documents do not hold them up."""
    max_queued_tokens: int | None = Field(None, ge=1)
    """Most tokens that may wait for the encoder of a model; one request more is answered 429. None:
    what it encodes in 30 s, a million at least. One request always may."""
    top_k: int | None = Field(None, ge=1)
    """Most labels in an answer when the request does not say; None gives all."""
    strict: bool = False
    """Answer 413 when the model would not read the whole of a document."""
    body_timeout: float = Field(60.0, gt=0)
    """Seconds that a client may take to send its request body."""
    max_connections: int = Field(4_096, ge=1)
    """Connections that may be open at once; one more is answered 503."""
    grpc_port: int | None = Field(None, ge=0, le=65_535)
    """TCP port of gRPC; without it the one after the main port."""
    grpc: bool = True
    """Also speak gRPC."""
    admin_port: int | None = Field(None, ge=0, le=65_535)
    """TCP port of the administrators' interface; none without it."""
    admin_host: str = Field("127.0.0.1", min_length=1)
    """Address that the administrators' interface binds."""
    model_root: tuple[str, ...] = ()
    """Folders that administrators may load bundles from; those in which the first bundles lie."""
    model_folder: str | None = None
    """Serve each bundle in this folder under the name of its own folder; with --watch-seconds also
    those that come and go later."""
    watch_seconds: float | None = Field(None, gt=0)
    """Look for changed bundles every so many seconds, and load them."""
    devices: str = "cpu"
    """Devices to run on: cpu, cuda:0,1 or ascend:0,1. Each but the cpu has a worker process of its
    own, which is started again when it dies."""
    isolate: bool = False
    """Give the cpu a worker process too."""
    log_format: Literal["text", "json"] = "text"
    """Form of the log: a line for people, or one JSON object. No text of a document is in it."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severity that is logged; each request is INFO."""
    otlp_endpoint: str | None = None
    """Collector that gets OpenTelemetry traces by OTLP over HTTP, such as http://127.0.0.1:4318."""
    api_keys: str | None = None
    """File of the API keys that clients must have, made by 'longform key'."""
    open_metrics: bool = False
    """Let /metrics be read without a key: it has names of models and labels, and no text."""
    admin_keys: str | None = None
    """The same for administrators."""
    tls_certificate: str | None = None
    """File of the certificate chain, in PEM; then all ports speak TLS."""
    tls_key: str | None = None
    """File of the certificate's private key, in PEM."""
    shutdown_timeout: float = Field(30.0, ge=0)
    """Seconds that requests under way have to finish after SIGTERM or SIGINT."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        if self.admin_port is not None and self.admin_keys is None:
            address = ipaddress.ip_address(self.admin_host) if self._is_address() else None
            if address is None or not address.is_loopback:
                raise ValueError("admin_host beyond this machine needs admin_keys")
        return self

    def _is_address(self) -> bool:
        try:
            ipaddress.ip_address(self.admin_host)
        except ValueError:
            return False
        return True

    @property
    def port_of_grpc(self) -> int:
        """The port of gRPC; 0 for any free one."""
        if self.grpc_port is not None:
            return self.grpc_port
        return self.port + 1 if self.port else 0

    @property
    def engine_limits(self) -> EngineLimits:
        """How batches are made."""
        return EngineLimits(
            max_batch_tokens=self.max_batch_tokens,
            max_wait_seconds=self.max_wait_ms / 1000,
            max_batch_seconds=self.max_batch_ms / 1000,
            max_queued_tokens=self.max_queued_tokens,
        )

    @model_validator(mode="wrap")
    @classmethod
    def _read_environment(
        cls, values: Any, handler: ModelWrapValidatorHandler[ServerSettings]
    ) -> ServerSettings:
        if not isinstance(values, dict):
            return handler(values)
        given = {name: value for name, value in values.items() if value is not None}
        environment: dict[str, Any] = {
            name: os.environ[variable]
            for name in cls.model_fields
            if name not in given and (variable := ENVIRONMENT_PREFIX + name.upper()) in os.environ
        }
        if isinstance(roots := environment.get("model_root"), str):
            environment["model_root"] = tuple(roots.split(os.pathsep))
        try:
            return handler({**environment, **given})
        except ValidationError as error:
            faults = [_describe(fault, environment) for fault in error.errors()]
            raise ConfigError(
                "The server settings cannot be used.",
                found="; ".join(faults),
                fix="Correct the flags or environment variables named here.",
            ) from error


def _describe(fault: Any, environment: dict[str, str]) -> str:
    name = str(fault["loc"][0]) if fault["loc"] else "settings"
    shown = ENVIRONMENT_PREFIX + name.upper() if name in environment else name
    message = fault["msg"][0].lower() + fault["msg"][1:]
    if fault["type"] == "value_error":
        return str(message).removeprefix("value error, ")
    return f"{shown}: {message} (found {fault['input']!r})"
