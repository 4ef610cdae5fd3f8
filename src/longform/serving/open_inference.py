"""KServe's V2 protocol (Open Inference Protocol) over HTTP, with binary input tensors.

One input `text`, BYTES `[documents]`; outputs `label` BYTES, `score` FP32 and `coverage` FP32 (the
share of tokens read), each `[documents]`. Specification: github.com/kserve/open-inference-protocol;
binary tensors as in Triton's `binary_tensor_data` extension.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response

from longform import __version__
from longform.serving.answering import AnswerDesk
from longform.serving.models import ModelRegistry
from longform.serving.open_inference_request import InferRequest, parse_infer
from longform.serving.replies import error_replies, json_reply, request_body
from longform.serving.reply_schemas import ErrorReply
from longform.types import Prediction

HEADER_LENGTH = "inference-header-content-length"
OUTPUTS: dict[str, tuple[str, Callable[[Prediction], str | float]]] = {
    "label": ("BYTES", lambda prediction: prediction.label),
    "score": ("FP32", lambda prediction: prediction.score),
    "coverage": (
        "FP32",
        lambda prediction: (
            prediction.coverage.tokens_used / max(prediction.coverage.tokens_total, 1)
        ),
    ),
}


def add_open_inference(app: FastAPI, desk: AnswerDesk) -> None:
    """Add the routes to an application."""
    _add_server(app, desk)
    _add_model(app, desk)
    _add_infer(app, desk)


def _add_server(app: FastAPI, desk: AnswerDesk) -> None:
    registry = desk.registry

    @app.get("/v2")
    async def server() -> Response:
        """Name the server and what it can do beyond the protocol."""
        return _json({"name": "longform", "version": __version__, "extensions": EXTENSIONS})

    @app.get("/v2/health/live", responses=_UNWELL)
    async def live() -> Response:
        """Tell whether the process is worth keeping."""
        is_alive = registry.is_alive
        return _json({"live": is_alive}, 200 if is_alive else 503)

    @app.get("/v2/health/ready", responses=_UNWELL)
    async def ready() -> Response:
        """Tell whether the model takes work now."""
        is_ready = registry.is_ready
        return _json({"ready": is_ready}, 200 if is_ready else 503)

    @app.get("/v2/models/{model}/ready", responses=_NOT_FOUND | _UNWELL)
    @app.get("/v2/models/{model}/versions/{version}/ready", responses=_NOT_FOUND | _UNWELL)
    async def model_ready(model: str, version: str | None = None) -> Response:
        """Tell whether one model takes work now."""
        served = registry.find(model)
        loaded = served.serving if version is None else served.choose(version)
        is_ready = loaded.service.is_ready
        return _json({"name": model, "ready": is_ready}, 200 if is_ready else 503)


def _add_model(app: FastAPI, desk: AnswerDesk) -> None:
    @app.get("/v2/models/{model}", responses=_NOT_FOUND)
    @app.get("/v2/models/{model}/versions/{version}", responses=_NOT_FOUND)
    async def metadata(model: str, version: str | None = None) -> Response:
        """Describe the tensors of a model."""
        return _json(describe_model(desk.registry, model, version))


def _add_infer(app: FastAPI, desk: AnswerDesk) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["The court finds ..."]}
    examples = {"a document": {"value": {"inputs": [tensor]}}}
    described: dict[str, Any] = {
        "responses": error_replies(404),
        "openapi_extra": request_body(InferRequest, examples),
    }

    @app.post("/v2/models/{model}/infer", **described)
    @app.post("/v2/models/{model}/versions/{version}/infer", **described)
    async def infer(request: Request, model: str, version: str | None = None) -> Response:
        """Classify documents; outputs are answered as JSON."""
        desk.registry.find(await desk.registry.provide(model))
        announced = request.headers.get(HEADER_LENGTH)

        def parse(body: bytes, limit: int) -> InferRequest:
            asked = parse_infer(body, limit, announced, tuple(OUTPUTS))
            return asked.addressed_to(model, version)

        answered = await desk.answer(request, parse)
        asked, predictions = answered.asked, answered.answer.predictions
        reply = {
            "model_name": answered.service.name,
            "model_version": answered.service.version,
            "outputs": [_output(name, predictions) for name in asked.output_names or OUTPUTS],
        }
        return _json(reply if asked.id is None else {**reply, "id": asked.id})


def describe_model(
    registry: ModelRegistry, name: str, version: str | None = None
) -> dict[str, Any]:
    """Describe the tensors of a model, in the words of the protocol.

    Raises:
        UnknownModelError: It is not served.
    """
    model = registry.find(name)
    if version is not None:
        model.choose(version)
    outputs = [
        {"name": output, "datatype": datatype, "shape": [-1]}
        for output, (datatype, _) in OUTPUTS.items()
    ]
    return {
        "name": model.name,
        "versions": list(model.versions),
        "platform": "longform",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": outputs,
    }


def _output(name: str, predictions: list[Prediction]) -> dict[str, Any]:
    datatype, value = OUTPUTS[name]
    data = [value(prediction) for prediction in predictions]
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return json_reply(json.dumps(content, allow_nan=False), status)


EXTENSIONS = ["binary_tensor_data"]
_UNWELL: dict[int | str, dict[str, Any]] = {503: {"description": "Not now."}}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorReply, "description": "No such model."}
}
