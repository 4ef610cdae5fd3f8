"""Prometheus metrics of one server, in a registry of its own. Only what is true now is exported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from longform.serving.service import Answer, PredictionService
from longform.types import Prediction

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKENS = tuple(2**exponent for exponent in range(5, 21))
_SEGMENTS = tuple(2**exponent for exponent in range(13))


class Telemetry:
    """The counters of one application.

    Args:
        service: The service whose queue and model are shown.
    """

    def __init__(self, service: PredictionService) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "longform_requests",
            "Requests answered, each counted once; 499: the client left first.",
            ["endpoint", "code"],
            registry=self.registry,
        )
        self._request_duration = self._histogram(
            "longform_request_duration_seconds",
            "From the first byte of a request to the last of its answer.",
            _SECONDS,
            ["endpoint"],
        )
        self._queue_duration = self._histogram(
            "longform_queue_duration_seconds", "Waiting for the model, by request.", _SECONDS
        )
        self._infer_duration = self._histogram(
            "longform_infer_duration_seconds",
            "Reading, tokenising and scoring the documents of a request.",
            _SECONDS,
        )
        self._input_tokens = self._histogram(
            "longform_input_tokens", "Tokens of a document, read or not.", _TOKENS
        )
        self._segments = self._histogram(
            "longform_segments_per_document", "Segments of a document that were read.", _SEGMENTS
        )
        self._truncated = Counter(
            "longform_truncated",
            "Documents of which the model did not read the whole.",
            registry=self.registry,
        )
        self._model_info = Gauge(
            "longform_model_info",
            "The model that answers; always 1.",
            ["name", "version", "digest", "backend"],
            registry=self.registry,
        )
        Gauge(
            "longform_queue_depth",
            "Requests being received, waiting or running.",
            registry=self.registry,
        ).set_function(lambda: service.pending_requests)
        Gauge(
            "longform_ready", "1 when the model takes work, else 0.", registry=self.registry
        ).set_function(lambda: service.is_alive and service.state == "ready")
        self.registry.register(_CacheCollector(service))
        self._service = service

    def count_request(self, endpoint: str, code: int, seconds: float) -> None:
        """Count one finished request.

        Args:
            endpoint: Path of the route, or `other`: never the path as sent, which has no bound.
            code: HTTP status code.
            seconds: Time from arrival to the end of the answer.
        """
        self._requests.labels(endpoint, str(code)).inc()
        self._request_duration.labels(endpoint).observe(seconds)

    def observe_answer(self, answer: Answer) -> None:
        """Record the stages and documents of one answered request."""
        self._queue_duration.observe(answer.queue_seconds)
        self._infer_duration.observe(answer.infer_seconds)
        for prediction in answer.predictions:
            self._observe_document(prediction)

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        predictor = self._service.predictor
        if predictor is not None:
            self._model_info.labels(
                self._service.name,
                self._service.version,
                predictor.bundle.digest,
                predictor.backend_info.name,
            ).set(1)
        return generate_latest(self.registry)

    def _observe_document(self, prediction: Prediction) -> None:
        coverage = prediction.coverage
        self._input_tokens.observe(coverage.tokens_total)
        self._segments.observe(coverage.segments_used)
        if coverage.truncated:
            self._truncated.inc()

    def _histogram(
        self,
        name: str,
        documentation: str,
        buckets: Sequence[float],
        labels: Sequence[str] = (),
    ) -> Histogram:
        return Histogram(name, documentation, labels, buckets=buckets, registry=self.registry)


class _CacheCollector(Collector):
    """The counters of the segment cache, read when they are asked for."""

    def __init__(self, service: PredictionService) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        predictor = self._service.predictor
        known = None if predictor is None else predictor.cache_statistics
        if known is None:
            return
        yield CounterMetricFamily(
            "longform_cache_hits", "Segments whose vectors were found.", known.hits
        )
        yield CounterMetricFamily(
            "longform_cache_misses", "Segments that had to be encoded.", known.misses
        )
        yield GaugeMetricFamily(
            "longform_cache_bytes", "Memory of the vectors that are kept.", known.bytes
        )
