"""Health, description and metrics of a server."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Response

from longform.serving.models import ModelRegistry
from longform.serving.replies import json_reply
from longform.serving.reply_schemas import (
    BackendReply,
    ErrorReply,
    HealthReply,
    InfoReply,
    ModelHealthReply,
    build_labels,
    describe_model,
)
from longform.serving.service import PredictionService, ServiceState
from longform.serving.telemetry import Telemetry


def add_health(app: FastAPI, registry: ModelRegistry, telemetry: Telemetry) -> None:
    """Add the routes to an application."""
    unavailable: dict[int | str, dict[str, Any]] = {503: {"model": HealthReply}}

    def reply(is_well: bool) -> Response:
        health = build_health(registry)
        return json_reply(health.model_dump_json(), 200 if is_well else 503)

    @app.get("/health/live", response_model=HealthReply, responses=unavailable)
    async def live() -> Response:
        """Tell whether the process is worth keeping: 503 asks for a restart."""
        return reply(registry.is_alive)

    @app.get("/health/ready", response_model=HealthReply, responses=unavailable)
    async def ready() -> Response:
        """Tell whether every model takes work now, and if not, why."""
        return reply(registry.is_ready)

    @app.get(
        "/info",
        response_model=InfoReply,
        responses={code: {"model": ErrorReply} for code in (404, 503)},
    )
    async def info(model: str | None = None) -> Response:
        """Tell what a model judges, one text or two, and which labels it may give."""
        service = registry.find(model).serving.service
        predictor = service.loaded_predictor()
        described = InfoReply(
            model=describe_model(service),
            backend=describe_backend(service),
            problem_type=predictor.rule.problem_type,
            text_pair=predictor.bundle.description.text_pair,
            labels=build_labels(predictor.rule),
            models=[describe_model(each) for each in registry.current_services],
        )
        return json_reply(described.model_dump_json())

    @app.get("/drift", responses={404: {"model": ErrorReply}})
    async def drift(model: str | None = None) -> Response:
        """Compare recent documents with those of validation: lengths, labels, confidences."""
        described = telemetry.drift.describe(registry.find(model).serving.service)
        return json_reply(json.dumps(described, ensure_ascii=False))

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return the metrics in the Prometheus text format."""
        return Response(telemetry.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def build_health(registry: ModelRegistry) -> HealthReply:
    """Describe the state of all models; the first that is not well gives the state of the whole."""
    services = registry.current_services
    if not services:
        return HealthReply(status="failed", reason="no model is loaded")
    unwell = [service for service in services if not service.is_ready]
    first = (unwell or services)[0]
    reason = first.reason
    if unwell and first.state is ServiceState.READY:
        reason = "its devices are starting again"
    return HealthReply(
        status="starting" if unwell and first.state is ServiceState.READY else first.state.value,
        reason=reason,
        model=None if first.predictor is None else describe_model(first),
        backend=None if first.predictor is None else describe_backend(first),
        models=[
            ModelHealthReply(name=each.name, version=each.version, ready=each.is_ready)
            for each in services
        ],
    )


def describe_backend(service: PredictionService) -> BackendReply:
    """Say what a loaded model runs on."""
    info = service.loaded_predictor().backend_info
    return BackendReply(name=info.name, device=info.device, precision=info.precision)
