"""What the metrics tell of the models as they are now: read when a scrape asks, kept nowhere."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from longform.serving.drift import DriftMonitor
from longform.serving.models import ModelRegistry
from longform.serving.service import PredictionService
from longform.serving.versions import ServedModel


class StateCollector(Collector):
    """Queues, caches, versions and trials.

    Args:
        models: The models of the server.
        drift: Compares what comes with what was there in validation.
    """

    def __init__(self, models: ModelRegistry, drift: DriftMonitor) -> None:
        self._models = models
        self._drift = drift

    def collect(self) -> Iterator[Metric]:
        """Yield each family."""
        depth = GaugeMetricFamily(
            "longform_queue_depth", "Requests being received, waiting or running."
        )
        depth.add_metric([], self._models.pending_requests)
        ready = GaugeMetricFamily("longform_ready", "1 when every model takes work, else 0.")
        ready.add_metric([], float(self._models.is_ready))
        yield depth
        yield ready
        models = list(self._models.models.values())
        services = self._models.services
        yield from _of_services(services)
        yield from _of_caches(models)
        yield from _of_trials(models)
        yield from _of_cascades(services)
        yield self._of_drift(services)

    def _of_drift(self, services: list[PredictionService]) -> Metric:
        index = GaugeMetricFamily(
            "longform_drift_index",
            "Population stability index of recent documents against those of validation: below "
            "0.1 nothing has changed, above 0.25 something has.",
            labels=["model", "version", "quantity"],
        )
        for service in services:
            for quantity, value in self._drift.compare(service).items():
                index.add_metric([service.name, service.version, quantity], value)
        return index


def _of_services(services: list[PredictionService]) -> Iterator[Metric]:
    labels = ["model", "version"]
    waiting = GaugeMetricFamily(
        "longform_queued_tokens", "Tokens that still have to be encoded.", labels=labels
    )
    pace = GaugeMetricFamily(
        "longform_tokens_per_second", "Pace of the encoder of late.", labels=labels
    )
    ready = GaugeMetricFamily(
        "longform_model_ready", "1 when the version takes work, else 0.", labels=labels
    )
    info = GaugeMetricFamily(
        "longform_model_info",
        "The versions that are loaded; always 1.",
        labels=["name", "version", "digest", "backend"],
    )
    for service in services:
        address = [service.name, service.version]
        waiting.add_metric(address, service.queued_tokens)
        pace.add_metric(address, service.tokens_per_second)
        ready.add_metric(address, float(service.is_ready))
        predictor = service.predictor
        if predictor is not None:
            info.add_metric([*address, predictor.bundle.digest, predictor.backend_info.name], 1)
    yield from (waiting, pace, ready, info)
    yield from _of_devices(services)


def _of_devices(services: list[PredictionService]) -> Iterator[Metric]:
    labels = ["model", "version", "device"]
    up = GaugeMetricFamily(
        "longform_worker_up", "1 when the worker process takes batches, else 0.", labels=labels
    )
    restarts = CounterMetricFamily(
        "longform_worker_restarts", "Times that a worker process was started again.", labels=labels
    )
    free = GaugeMetricFamily(
        "longform_worker_memory_free_bytes",
        "Free memory of the device, as its worker said with its last batch.",
        labels=labels,
    )
    total = GaugeMetricFamily(
        "longform_worker_memory_bytes", "Memory of the worker's device.", labels=labels
    )
    for service in services:
        predictor = service.predictor
        for state in () if predictor is None else predictor.device_states:
            address = [service.name, service.version, state.name]
            up.add_metric(address, float(state.is_ready))
            restarts.add_metric(address, state.restarts)
            if state.memory is not None:
                free.add_metric(address, state.memory[0])
                total.add_metric(address, state.memory[1])
    yield from (up, restarts, free, total)


def _of_caches(models: list[ServedModel]) -> Iterator[Metric]:
    hits = CounterMetricFamily(
        "longform_cache_hits", "Segments whose vectors were found.", labels=["model"]
    )
    misses = CounterMetricFamily(
        "longform_cache_misses", "Segments that had to be encoded.", labels=["model"]
    )
    size = GaugeMetricFamily(
        "longform_cache_bytes", "Memory of the vectors that are kept.", labels=["model"]
    )
    for model in models:
        predictor = model.serving.service.predictor
        known = None if predictor is None else predictor.cache_statistics
        if known is not None:
            hits.add_metric([model.name], known.hits)
            misses.add_metric([model.name], known.misses)
            size.add_metric([model.name], known.bytes)
    yield from (hits, misses, size)


def _of_cascades(services: list[PredictionService]) -> Iterator[Metric]:
    labels = ["model", "version"]
    exits = CounterMetricFamily(
        "longform_early_exit",
        "Documents that a stage of a cascade answered early; the stage 0 is the cheapest.",
        labels=[*labels, "stage"],
    )
    audited = CounterMetricFamily(
        "longform_cascade_audited",
        "Early answers that were put to the last stage as well.",
        labels=labels,
    )
    disagreements = CounterMetricFamily(
        "longform_cascade_disagreements",
        "Audited answers that the last stage did not confirm.",
        labels=labels,
    )
    active = GaugeMetricFamily(
        "longform_cascade_active",
        "1 while documents may stop early; 0 where nothing is certified, or the audit has found "
        "that the certificate no longer holds.",
        labels=labels,
    )
    for service in services:
        known = None if service.predictor is None else service.predictor.cascade_statistics
        if known is None:
            continue
        address = [service.name, service.version]
        for stage, count in enumerate(known.early_exits):
            exits.add_metric([*address, str(stage)], count)
        audited.add_metric(address, known.audited)
        disagreements.add_metric(address, known.disagreements)
        active.add_metric(address, float(known.is_active))
    yield from (exits, audited, disagreements, active)


def _of_trials(models: list[ServedModel]) -> Iterator[Metric]:
    labels = ["model", "version", "kind"]
    requests = CounterMetricFamily(
        "longform_trial_requests", "Requests that a version on trial was given.", labels=labels
    )
    errors = CounterMetricFamily(
        "longform_trial_errors", "Requests that a version on trial failed.", labels=labels
    )
    compared = CounterMetricFamily(
        "longform_trial_compared", "Documents that both versions labelled.", labels=labels
    )
    agreed = CounterMetricFamily(
        "longform_trial_agreed", "Documents that both versions gave the same label.", labels=labels
    )
    for model in models:
        trial = model.trial
        if trial is not None:
            address = [model.name, trial.version, trial.kind]
            requests.add_metric(address, trial.requests)
            errors.add_metric(address, trial.errors)
            compared.add_metric(address, trial.compared)
            agreed.add_metric(address, trial.agreed)
    yield from (requests, errors, compared, agreed)
