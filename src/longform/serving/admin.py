"""The administrators' interface, an application on its own port: which models are served.

Bundles are named by folders of this machine, which must lie in the folders that the server was
started with; no address is ever fetched.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr
from starlette.exceptions import HTTPException

from longform import __version__
from longform.errors import BundleError, GateError, LongformError
from longform.serving.models import ModelRegistry
from longform.serving.parsing import RequestError, read_shape
from longform.serving.refusals import describe_error
from longform.serving.replies import json_reply, request_body
from longform.serving.reply_schemas import ErrorReply
from longform.serving.trials import Trial
from longform.serving.versions import ModelRefusedError, ServedModel

_MOST_BYTES = 65_536


class LoadRequest(BaseModel):
    """Which bundle is to be served, and how."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    bundle: StrictStr | None = None
    """Folder of the bundle; null for the one that the current version came from."""
    trial: Literal["canary", "shadow"] | None = None
    """`canary` answers a share of the requests, `shadow` is asked a share of them and never
    answers; null lets the bundle take the place of the current version."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the requests of a trial."""
    allow_other_labels: StrictBool = False
    """Take a bundle that does not judge the same labels."""


class VersionReply(BaseModel):
    """One version that is loaded."""

    version: str
    state: str
    ready: bool
    digest: str
    folder: str
    role: Literal["current", "canary", "shadow"]
    requests_running: int
    queued_tokens: int


class TrialReply(BaseModel):
    """How a version on trial does, or did."""

    kind: Literal["canary", "shadow"]
    version: str
    share: float
    requests: int
    errors: int
    documents_compared: int
    agreement: float | None
    ended_because: str | None


class ServedModelReply(BaseModel):
    """A model and its versions."""

    name: str
    current: str
    versions: list[VersionReply]
    trial: TrialReply | None
    last_trial: TrialReply | None


def create_admin_app(registry: ModelRegistry, allowed: list[Path]) -> FastAPI:
    """Build the application.

    Args:
        registry: The models.
        allowed: Folders in which bundles may lie.
    """
    app = FastAPI(
        title="longform administration",
        version=__version__,
        description="Loads, exchanges, tries and removes models while the server runs.",
        docs_url=None,
        redoc_url=None,
    )
    _add_errors(app)
    _add_reading(app, registry)
    _add_changes(app, registry, [folder.resolve() for folder in allowed])
    return app


def _add_reading(app: FastAPI, registry: ModelRegistry) -> None:
    @app.get("/models", response_model=list[ServedModelReply])
    async def models() -> list[ServedModelReply]:
        """List the models, their versions and trials."""
        return [_describe(model) for model in list(registry.models.values())]

    @app.get("/models/{name}", response_model=ServedModelReply, responses=_errors(404))
    async def model(name: str) -> ServedModelReply:
        """Describe one model."""
        return _describe(registry.find(name))


def _add_changes(app: FastAPI, registry: ModelRegistry, allowed: list[Path]) -> None:
    @app.post(
        "/models/{name}/load",
        response_model=ServedModelReply,
        responses=_errors(400, 403, 404, 409, 413, 422),
        openapi_extra=request_body(
            LoadRequest, {"a canary": {"value": {"bundle": "runs/new", "trial": "canary"}}}
        ),
    )
    async def load(request: Request, name: str) -> ServedModelReply:
        """Load a bundle: it is verified, warmed and checked before it answers anything."""
        asked = read_shape(await _small_body(request), LoadRequest, "A bundle may be named.")
        folder = None if asked.bundle is None else _allowed(Path(asked.bundle), allowed)
        await asyncio.to_thread(
            registry.load,
            name,
            folder,
            trial=None if asked.trial is None else (asked.trial, asked.share),
            allow_other_labels=asked.allow_other_labels,
        )
        return _describe(registry.find(name))

    @app.post(
        "/models/{name}/promote", response_model=ServedModelReply, responses=_errors(404, 409)
    )
    async def promote(name: str) -> ServedModelReply:
        """Let the version on trial take the place of the current one."""
        await asyncio.to_thread(registry.promote, name)
        return _describe(registry.find(name))

    @app.post(
        "/models/{name}/rollback",
        response_model=ServedModelReply,
        responses=_errors(404, 409, 422),
    )
    async def rollback(name: str) -> ServedModelReply:
        """End a trial; where there is none, load again what was current before."""
        await asyncio.to_thread(registry.roll_back, name)
        return _describe(registry.find(name))

    @app.delete("/models/{name}", status_code=204, responses=_errors(404, 409))
    async def remove(name: str) -> Response:
        """Serve a model no longer; requests under way are answered."""
        await asyncio.to_thread(registry.remove, name)
        return Response(status_code=204)


def _allowed(folder: Path, allowed: list[Path]) -> Path:
    # Resolved, so that neither `..` nor a link leads out.
    resolved = folder.resolve()
    if any(resolved.is_relative_to(root) for root in allowed):
        return folder
    raise RequestError(
        403,
        "A bundle must lie in a folder that the server may load from.",
        found=f"{str(folder)[:200]!a}",
        fix="Name its folder when the server starts: --model-root DIR.",
    )


async def _small_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise RequestError(413, f"A request may hold {_MOST_BYTES:,} bytes.", found="more")
    return bytes(body) or b"{}"


def _describe(model: ServedModel) -> ServedModelReply:
    trial = model.trial
    versions = []
    for version, loaded in list(model.versions.items()):
        is_trial = trial is not None and trial.version == version
        versions.append(
            VersionReply(
                version=version,
                state=loaded.service.state.value,
                ready=loaded.service.is_ready,
                digest=loaded.digest,
                folder=str(loaded.folder),
                role=trial.kind if is_trial and trial is not None else "current",
                requests_running=loaded.leases,
                queued_tokens=loaded.service.queued_tokens,
            )
        )
    return ServedModelReply(
        name=model.name,
        current=model.current,
        versions=versions,
        trial=_describe_trial(trial),
        last_trial=_describe_trial(model.last_trial),
    )


def _describe_trial(trial: Trial | None) -> TrialReply | None:
    if trial is None:
        return None
    return TrialReply(
        kind=trial.kind,
        version=trial.version,
        share=trial.share,
        requests=trial.requests,
        errors=trial.errors,
        documents_compared=trial.compared,
        agreement=trial.agreement,
        ended_because=trial.ended_because,
    )


def _add_errors(app: FastAPI) -> None:
    async def reply(_: Request, error: Exception) -> Response:
        if isinstance(error, BundleError | GateError):
            # The bundle was refused; what was served before still is.
            content = ErrorReply(error=str(error), error_type="validation")
            return json_reply(content.model_dump_json(), 422)
        status, error_type, message, headers = describe_error(error)
        content = ErrorReply(error=message, error_type=error_type)
        return json_reply(content.model_dump_json(), status, headers)

    for kind in (LongformError, ModelRefusedError, HTTPException, Exception):
        app.add_exception_handler(kind, reply)


def _errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": ErrorReply} for code in (*codes, 500, 503)}
