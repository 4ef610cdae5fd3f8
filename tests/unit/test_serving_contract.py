"""The OpenAPI documents, held against what the servers do, by schemathesis."""

from __future__ import annotations

import contextlib
import threading

import hypothesis
import numpy as np
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from serving_stub import StubPredictor, registry_of, wait_until_opened

from longform.serving.admin import create_admin_app
from longform.serving.rest import create_app
from longform.serving.server import bind_to
from longform.serving.settings import ServerSettings

schemathesis = pytest.importorskip("schemathesis")
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def steady():
    stub = StubPredictor()
    real = stub.encode_segments

    def encode(segments):
        # Texts steer the stub: here none may.
        count = len(segments)
        encoded = real([])
        object.__setattr__(encoded, "vectors", np.zeros((count, 1), dtype=np.float32))
        return encoded

    stub.encode_segments = encode
    return stub


@contextlib.contextmanager
def listening(app):
    """Serve an application on a free port of this machine."""
    listener = bind_to("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture(scope="module")
def addresses():
    registry = registry_of(steady, "demo")
    with listening(create_app(registry, ServerSettings())) as main:
        wait_until_opened(registry)
        with listening(create_admin_app(registry, [])) as admin:
            yield main, admin


FEW = settings(
    max_examples=8,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def hold(address: str, left_out: set[str]) -> int:
    """Send what the document allows to each of its operations, and what it does not."""
    api = schemathesis.openapi.from_url(f"{address}/openapi.json")
    held = 0
    for operation in (result.ok() for result in api.get_all_operations()):
        if operation.path in left_out:
            continue
        held += 1
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @FEW
            @given(case=operation.as_strategy(generation_mode=mode))
            def answers_as_described(case):
                case.call_and_validate(checks=CHECKS)

            with contextlib.suppress(hypothesis.errors.Unsatisfiable):
                # Nothing can be wrong with a request that takes nothing.
                answers_as_described()
    return held


def test_r85_the_server_answers_as_its_openapi_document_says(addresses):
    assert hold(addresses[0], {"/predict/stream"}) >= 18


def test_r85_the_administration_answers_as_its_openapi_document_says(addresses):
    assert hold(addresses[1], set()) >= 6
