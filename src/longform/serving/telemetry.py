"""Prometheus metrics of one server, in a registry of its own. Only what is true now is exported."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from longform.serving.device_metrics import DeviceCollector
from longform.serving.drift import DriftMonitor
from longform.serving.jobs import Answer
from longform.serving.models import ModelRegistry
from longform.serving.reports import BatchReport
from longform.serving.service import PredictionService, ServiceWatcher
from longform.serving.state_metrics import StateCollector
from longform.types import Prediction

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKENS = tuple(2**exponent for exponent in range(5, 21))
_SEGMENTS = tuple(2**exponent for exponent in range(13))
_RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


class Telemetry(ServiceWatcher):
    """The counters of one server, which its models and front doors feed."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = self._counter(
            "longform_requests",
            "Requests answered, each counted once; 499: the client left first.",
            ["endpoint", "code"],
        )
        self._request_duration = self._histogram(
            "longform_request_duration_seconds",
            "From the first byte of a request to the last of its answer.",
            _SECONDS,
            ["endpoint"],
        )
        self.drift = DriftMonitor()
        self.devices = DeviceCollector()
        self.registry.register(self.devices)
        self._add_stages()
        self._add_documents()
        self._add_batches()

    def watch(self, models: ModelRegistry) -> None:
        """Also show the state of the models, as it is when the metrics are asked for."""
        self.registry.register(StateCollector(models, self.drift))

    def count_request(self, endpoint: str, code: int | str, seconds: float) -> None:
        """Count one finished request.

        Args:
            endpoint: Path of the route, or `other`: never the path as sent, which has no bound.
            code: HTTP status code, or the name of the one of gRPC.
            seconds: Time from arrival to the end of the answer.
        """
        self._requests.labels(endpoint, str(code)).inc()
        self._request_duration.labels(endpoint).observe(seconds)

    def observe_answer(self, service: PredictionService, answer: Answer) -> None:
        """Record the stages and documents of one answered request."""
        self.drift.observe(service, answer)
        for stage, seconds in (
            (self._tokenize_duration, answer.tokenize_seconds),
            (self._queue_duration, answer.queue_seconds),
            (self._encode_duration, answer.encode_seconds),
            (self._head_duration, answer.head_seconds),
            (self._infer_duration, answer.infer_seconds),
        ):
            stage.labels(service.name).observe(seconds)
        for outcome in answer.outcomes:
            if isinstance(outcome, Prediction):
                self._observe_document(service, outcome)
            else:
                self._unanswered.labels(service.name).inc()

    def batch_done(self, service: PredictionService, report: BatchReport) -> None:
        """Record a batch."""
        self._batch_segments.labels(service.name).observe(report.segments)
        self._batch_requests.labels(service.name).observe(report.requests)
        self._batch_fill.labels(service.name).observe(min(report.fill, 1.0))
        self._batch_duration.labels(service.name).observe(report.seconds)
        if report.tokens:
            self._batch_tokens.labels(service.name).observe(report.tokens)
            self._tokens.labels(service.name).inc(report.tokens)
            padding = 1 - report.tokens / report.padded_tokens
            self._padding_ratio.labels(service.name).observe(padding)

    def request_dropped(self, service: PredictionService) -> None:
        """Count a request whose client left."""
        self._dropped.labels(service.name).inc()

    def version_retired(self, service: PredictionService) -> None:
        """Forget the counts of a version: their number must not grow with every exchange."""
        self.drift.forget(service)
        address = (service.name, service.version)
        labels = () if service.predictor is None else service.predictor.rule.labels
        for label in labels:
            self._predictions.remove(*address, label)
        self._confidence.remove(*address)
        self._abstained.remove(*address)

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    def _add_stages(self) -> None:
        model = ["model"]
        self._tokenize_duration = self._histogram(
            "longform_tokenize_duration_seconds",
            "From the arrival of a request until its documents are cut into segments.",
            _SECONDS,
            model,
        )
        self._queue_duration = self._histogram(
            "longform_queue_duration_seconds",
            "Waiting for the encoder, by request.",
            _SECONDS,
            model,
        )
        self._encode_duration = self._histogram(
            "longform_encode_duration_seconds",
            "From the first batch with segments of a request to the end of the last one.",
            _SECONDS,
            model,
        )
        self._head_duration = self._histogram(
            "longform_head_duration_seconds", "Scoring the segment vectors.", _SECONDS, model
        )
        self._infer_duration = self._histogram(
            "longform_infer_duration_seconds",
            "Cutting, encoding and scoring the documents of a request.",
            _SECONDS,
            model,
        )

    def _add_documents(self) -> None:
        model = ["model"]
        self._input_tokens = self._histogram(
            "longform_input_tokens", "Tokens of a document, read or not.", _TOKENS, model
        )
        self._segments = self._histogram(
            "longform_segments_per_document",
            "Segments of a document that were read.",
            _SEGMENTS,
            model,
        )
        self._truncated = self._counter(
            "longform_truncated",
            "Documents of which the model did not read the whole, by the reason.",
            ["model", "reason"],
        )
        self._abstained = self._counter(
            "longform_abstained",
            "Documents whose answer was too unsure to be used.",
            ["model", "version"],
        )
        self._unanswered = self._counter(
            "longform_unanswered", "Documents that could not be read.", model
        )
        self._predictions = self._counter(
            "longform_predictions",
            "Documents answered, by the likeliest label.",
            ["model", "version", "label"],
        )
        self._confidence = self._histogram(
            "longform_confidence_ratio",
            "Probability of the likeliest label.",
            _RATIOS,
            ["model", "version"],
        )
        self._dropped = self._counter(
            "longform_dropped", "Requests dropped because their client left.", model
        )

    def _add_batches(self) -> None:
        model = ["model"]
        self._batch_segments = self._histogram(
            "longform_batch_segments", "Segments encoded together.", _SEGMENTS, model
        )
        self._batch_requests = self._histogram(
            "longform_batch_requests", "Requests that share a batch.", _SEGMENTS, model
        )
        self._batch_tokens = self._histogram(
            "longform_batch_tokens",
            "Tokens encoded together, without those of cached segments.",
            _TOKENS,
            model,
        )
        self._batch_fill = self._histogram(
            "longform_batch_fill_ratio", "Tokens of a batch by its most.", _RATIOS, model
        )
        self._padding_ratio = self._histogram(
            "longform_padding_ratio", "Padding by all that was encoded in a batch.", _RATIOS, model
        )
        self._batch_duration = self._histogram(
            "longform_batch_duration_seconds", "Time of a batch on its device.", _SECONDS, model
        )
        self._tokens = self._counter(
            "longform_encoded_tokens", "Tokens that went through the encoder.", model
        )

    def _observe_document(self, service: PredictionService, prediction: Prediction) -> None:
        coverage = prediction.coverage
        self._input_tokens.labels(service.name).observe(coverage.tokens_total)
        self._segments.labels(service.name).observe(coverage.segments_used)
        self._predictions.labels(service.name, service.version, prediction.label).inc()
        if 0 <= prediction.score <= 1:
            self._confidence.labels(service.name, service.version).observe(prediction.score)
        if prediction.abstained:
            self._abstained.labels(service.name, service.version).inc()
        if coverage.truncated:
            self._truncated.labels(service.name, coverage.reason or "unknown").inc()

    def _counter(self, name: str, documentation: str, labels: Sequence[str]) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def _histogram(
        self,
        name: str,
        documentation: str,
        buckets: Sequence[float],
        labels: Sequence[str] = (),
    ) -> Histogram:
        return Histogram(name, documentation, labels, buckets=buckets, registry=self.registry)
