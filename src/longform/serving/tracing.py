"""OpenTelemetry traces of requests: one span each, with its stages below it (extra `otel`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

from longform import __version__
from longform.extras import require
from longform.serving.jobs import Answer
from longform.types import Prediction

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

_NANOSECONDS = 1_000_000_000
_SERVER_ERROR = 500


class RequestTracer:
    """Records finished requests as spans.

    Args:
        exporter: Where spans go; it is fed in batches, on a thread of its own.
        service_name: What the server is called there.
    """

    def __init__(self, exporter: SpanExporter, service_name: str = "longform") -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.name": service_name, "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("longform")

    @classmethod
    def to_endpoint(cls, endpoint: str) -> RequestTracer:
        """Send spans to a collector by OTLP over HTTP.

        Args:
            endpoint: Address of the collector, such as `http://127.0.0.1:4318`.

        Raises:
            MissingExtraError: OpenTelemetry is not installed.
        """
        require("opentelemetry.sdk", "Tracing")
        require("opentelemetry.exporter.otlp.proto.http", "Tracing")
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return cls(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces"))

    def record(
        self, headers: Headers, endpoint: str, code: int, started: int, answer: Answer | None
    ) -> None:
        """Record a request that has ended now.

        Args:
            headers: Of the request: `traceparent` makes it part of a caller's trace.
            endpoint: Path of its route.
            code: Status of its answer.
            started: When it came, in nanoseconds since the epoch.
            answer: What it came to, if it came to the model.
        """
        from opentelemetry import propagate, trace

        context = propagate.extract(dict(headers))
        span = self._tracer.start_span(
            f"POST {endpoint}" if answer is not None else endpoint,
            context=context,
            kind=trace.SpanKind.SERVER,
            start_time=started,
            attributes={"http.route": endpoint, "http.response.status_code": code},
        )
        if code >= _SERVER_ERROR:
            span.set_status(trace.StatusCode.ERROR)
        if answer is not None:
            self._record_stages(span, answer, started)
        span.end()

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def _record_stages(self, span: Any, answer: Answer, started: int) -> None:
        from opentelemetry import trace

        read = [one.coverage for one in answer.outcomes if isinstance(one, Prediction)]
        span.set_attribute("longform.documents", len(answer.outcomes))
        span.set_attribute("longform.tokens", sum(one.tokens_used for one in read))
        span.set_attribute("longform.truncated", sum(one.truncated for one in read))
        inside = trace.set_span_in_context(span)
        begins = started
        for name, seconds in (
            ("tokenize", answer.tokenize_seconds),
            ("queue", answer.queue_seconds),
            ("encode", answer.encode_seconds),
            ("head", answer.head_seconds),
        ):
            ends = begins + int(seconds * _NANOSECONDS)
            self._tracer.start_span(name, context=inside, start_time=begins).end(ends)
            begins = ends
