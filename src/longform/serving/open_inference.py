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
from longform.serving.open_inference_request import InferRequest, parse_infer
from longform.serving.replies import error_replies, json_reply, request_body
from longform.serving.schemas import ErrorReply
from longform.serving.service import Answer, ServiceState
from longform.types import Prediction

HEADER_LENGTH = "inference-header-content-length"
_OUTPUTS: dict[str, tuple[str, Callable[[Prediction], str | float]]] = {
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
    service = desk.service

    def is_ready() -> bool:
        return service.is_alive and service.state is ServiceState.READY

    @app.get("/v2")
    async def server() -> Response:
        """Name the server and what it can do beyond the protocol."""
        return _json({"name": "longform", "version": __version__, "extensions": _EXTENSIONS})

    @app.get("/v2/health/live", responses=_UNWELL)
    async def live() -> Response:
        """Tell whether the process is worth keeping."""
        return _json({"live": service.is_alive}, 200 if service.is_alive else 503)

    @app.get("/v2/health/ready", responses=_UNWELL)
    async def ready() -> Response:
        """Tell whether the model takes work now."""
        return _json({"ready": is_ready()}, 200 if is_ready() else 503)

    @app.get("/v2/models/{model}/ready", responses=_NOT_FOUND | _UNWELL)
    @app.get("/v2/models/{model}/versions/{version}/ready", responses=_NOT_FOUND | _UNWELL)
    async def model_ready(model: str, version: str | None = None) -> Response:
        """Tell whether one model takes work now."""
        desk.require_model(model, version)
        return _json({"name": model, "ready": is_ready()}, 200 if is_ready() else 503)


def _add_model(app: FastAPI, desk: AnswerDesk) -> None:
    @app.get("/v2/models/{model}", responses=_NOT_FOUND)
    @app.get("/v2/models/{model}/versions/{version}", responses=_NOT_FOUND)
    async def metadata(model: str, version: str | None = None) -> Response:
        """Describe the tensors of a model."""
        desk.require_model(model, version)
        outputs = [
            {"name": name, "datatype": datatype, "shape": [-1]}
            for name, (datatype, _) in _OUTPUTS.items()
        ]
        return _json(
            {
                "name": desk.service.name,
                "versions": [desk.service.version],
                "platform": "longform",
                "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
                "outputs": outputs,
            }
        )


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
        desk.require_model(model, version)
        announced = request.headers.get(HEADER_LENGTH)
        asked, answer = await desk.answer(
            request, lambda body, limit: parse_infer(body, limit, announced, tuple(_OUTPUTS))
        )
        reply = {
            "model_name": desk.service.name,
            "model_version": desk.service.version,
            "outputs": [_output(name, answer) for name in asked.output_names or _OUTPUTS],
        }
        return _json(reply if asked.id is None else {**reply, "id": asked.id})


def _output(name: str, answer: Answer) -> dict[str, Any]:
    datatype, value = _OUTPUTS[name]
    data = [value(prediction) for prediction in answer.predictions]
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return json_reply(json.dumps(content, allow_nan=False), status)


_EXTENSIONS = ["binary_tensor_data"]
_UNWELL: dict[int | str, dict[str, Any]] = {503: {"description": "Not now."}}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorReply, "description": "No such model."}
}
