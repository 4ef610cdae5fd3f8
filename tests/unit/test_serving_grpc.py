from __future__ import annotations

import asyncio
import struct

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from serving_stub import StubPredictor, expected_score, registry_of, wait_until_opened

from longform.serving import grpc_messages
from longform.serving.grpc_messages import CLASSIFIER, OPEN_INFERENCE
from longform.serving.grpc_server import GrpcServer
from longform.serving.rest import create_desk
from longform.serving.security import new_key
from longform.serving.settings import ServerSettings

INFER = grpc_messages.load(OPEN_INFERENCE)
CLASSIFY = grpc_messages.load(CLASSIFIER)


class Served:
    """A gRPC server in this event loop, and calls to it."""

    def __init__(self, stub=None, **settings):
        self.stub = stub or StubPredictor()
        self.settings = ServerSettings(**settings)
        self.metadata = ()

    async def __aenter__(self):
        self.registry = registry_of(lambda: self.stub, "demo")
        self.registry.start()
        await asyncio.to_thread(wait_until_opened, self.registry)
        self.desk = create_desk(self.registry, self.settings)
        self.server = GrpcServer(self.desk, self.settings)
        port = await self.server.start("127.0.0.1", 0)
        self.address = f"127.0.0.1:{port}"
        self.channel = grpc.aio.insecure_channel(self.address)
        return self

    async def __aexit__(self, *_):
        self.stub.release.set()
        await self.channel.close()
        await self.server.stop(1)
        await asyncio.to_thread(self.registry.close)

    async def call(self, method, request):
        path = f"/inference.GRPCInferenceService/{method}"
        reply = INFER[f"{method}Response"].FromString
        stub = self.channel.unary_unary(path, lambda one: one.SerializeToString(), reply)
        return await stub(request, metadata=self.metadata, timeout=10)

    def classify(self, request, **options):
        stub = self.channel.unary_stream(
            "/longform.v1.Classifier/Classify",
            lambda one: one.SerializeToString(),
            CLASSIFY["ClassifyEvent"].FromString,
        )
        return stub(request, metadata=self.metadata, **options)


def run(test):
    return asyncio.run(test)


def infer_request(texts, raw=False, **fields):
    request = INFER["ModelInferRequest"](model_name="demo", **fields)
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
    encoded = [text.encode() for text in texts]
    if raw:
        joined = b"".join(struct.pack("<I", len(text)) + text for text in encoded)
        request.raw_input_contents.append(joined)
    else:
        tensor.contents.bytes_contents.extend(encoded)
    return request


@pytest.mark.parametrize("raw", [False, True])
def test_documents_are_inferred_from_typed_and_raw_contents(raw):
    async def test():
        async with Served() as served:
            request = infer_request(["甲" * 10, "b" * 20], raw, id="7")
            reply = await served.call("ModelInfer", request)
            assert (reply.model_name, reply.model_version, reply.id) == ("demo", "1", "7")
            tensors = dict(
                zip([one.name for one in reply.outputs], reply.raw_output_contents, strict=True)
            )
            assert [list(one.shape) for one in reply.outputs] == [[2]] * 3
            scores = struct.unpack("<2f", tensors["score"])
            assert scores == pytest.approx((expected_score("甲" * 10), expected_score("b" * 20)))
            assert tensors["label"] == 2 * (struct.pack("<I", 8) + b"judgment")
            assert struct.unpack("<2f", tensors["coverage"]) == (1.0, 1.0)
            chosen = infer_request(["a"])
            chosen.outputs.add(name="score")
            reply = await served.call("ModelInfer", chosen)
            assert [one.name for one in reply.outputs] == ["score"]

    run(test())


def test_the_final_event_tells_of_abstaining():
    async def test():
        async with Served() as served:
            request = CLASSIFY["ClassifyRequest"]()
            for text in ("a", "unsure"):
                request.documents.add(text=text)
            last = {event.index: event async for event in served.classify(request) if event.final}
            assert (last[0].calibrated, last[0].abstained) == (False, False)
            assert list(last[0].prediction_set) == []
            assert (last[1].calibrated, last[1].abstained) == (True, True)
            assert list(last[1].prediction_set) == ["judgment", "news"]

    run(test())


def test_health_and_metadata():
    async def test():
        async with Served() as served:
            assert (await served.call("ServerLive", INFER["ServerLiveRequest"]())).live
            assert (await served.call("ServerReady", INFER["ServerReadyRequest"]())).ready
            ready = await served.call("ModelReady", INFER["ModelReadyRequest"](name="demo"))
            assert ready.ready
            server = await served.call("ServerMetadata", INFER["ServerMetadataRequest"]())
            assert server.name == "longform"
            model = await served.call("ModelMetadata", INFER["ModelMetadataRequest"](name="demo"))
            assert [one.name for one in model.outputs] == ["label", "score", "coverage"]
            assert (model.inputs[0].datatype, list(model.inputs[0].shape)) == ("BYTES", [-1])
            stub = health_pb2_grpc.HealthStub(served.channel)
            check = health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService")
            for _ in range(50):
                status = (await stub.Check(check)).status
                if status == health_pb2.HealthCheckResponse.SERVING:
                    break
                await asyncio.sleep(0.05)
            assert status == health_pb2.HealthCheckResponse.SERVING
            served.registry.drain()
            assert not (await served.call("ServerReady", INFER["ServerReadyRequest"]())).ready

    run(test())


def test_services_and_messages_can_be_looked_up():
    async def test():
        async with Served() as served:

            def look_up():
                with grpc.insecure_channel(served.address) as channel:
                    database = ProtoReflectionDescriptorDatabase(channel)
                    names = set(database.get_services())
                    file = database.FindFileContainingSymbol("longform.v1.Classifier")
                    return names, file

            names, file = await asyncio.to_thread(look_up)
            assert {"inference.GRPCInferenceService", "longform.v1.Classifier"} <= names
            assert "grpc.health.v1.Health" in names
            assert "ClassifyRequest" in {message.name for message in file.message_type}

    run(test())


def test_s1_29_classification_streams_and_ends_with_the_answers():
    async def test():
        stub = StubPredictor()
        stub.segment_length = 10
        stub.bundle.description.knobs.segments.segment_length = 10
        stub.seconds_per_batch = 0.01
        async with Served(stub) as served:
            request = CLASSIFY["ClassifyRequest"](top_k=1)
            request.documents.add(text="x" * 100)
            request.documents.add(text=" ")
            request.documents.add(text="y")
            events = [event async for event in served.classify(request)]
            final = {event.index: event for event in events if event.final}
            assert final[0].coverage.segments_used == 10
            assert len(final[0].scores) == 1
            assert "white space" in final[1].error
            assert final[2].score == pytest.approx(expected_score("y"))
            assert events[-1].final
            assert any(not event.final for event in events)

    run(test())


@pytest.mark.parametrize(
    ("change", "code", "found"),
    [
        (lambda one: setattr(one, "model_name", "other"), "NOT_FOUND", "other"),
        (lambda one: setattr(one, "model_version", "9"), "NOT_FOUND", "9"),
        (lambda one: one.ClearField("inputs"), "INVALID_ARGUMENT", "0 inputs"),
        (lambda one: setattr(one.inputs[0], "datatype", "FP32"), "INVALID_ARGUMENT", "datatype"),
        (lambda one: one.inputs[0].shape.append(2), "INVALID_ARGUMENT", "shape"),
        (
            lambda one: one.inputs[0].contents.bytes_contents.__setitem__(0, b"\xff"),
            "INVALID_ARGUMENT",
            "UTF-8",
        ),
        (
            lambda one: one.inputs[0].contents.bytes_contents.__setitem__(0, b"crash"),
            "INTERNAL",
            "could not answer",
        ),
        (
            lambda one: one.inputs[0].contents.bytes_contents.__setitem__(0, b"away"),
            "UNAVAILABLE",
            "away",
        ),
        (
            lambda one: one.inputs[0].contents.bytes_contents.__setitem__(0, b" "),
            "INVALID_ARGUMENT",
            "white space",
        ),
        (lambda one: one.raw_input_contents.append(b"\xff" * 9), "INVALID_ARGUMENT", "length"),
    ],
)
def test_errors_have_the_codes_of_grpc(change, code, found):
    async def test():
        async with Served() as served:
            request = infer_request(["a"])
            change(request)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await served.call("ModelInfer", request)
            assert refused.value.code().name == code
            assert found in refused.value.details()
            assert "Traceback" not in refused.value.details()
            # A call is counted at its very end, which its caller may be ahead of.
            for _ in range(100):
                counted = [
                    line
                    for line in served.desk.telemetry.render().decode().splitlines()
                    if line.startswith("longform_requests_total{") and "ModelInfer" in line
                ]
                if counted:
                    break
                await asyncio.sleep(0.02)
            assert [f'code="{code}"' in line and line.endswith(" 1.0") for line in counted] == [
                True
            ]

    run(test())


def test_r101_calls_need_a_key_where_keys_are_set(tmp_path):
    key, line = new_key("clients")
    (tmp_path / "keys").write_text(line)

    async def test():
        async with Served(api_keys=str(tmp_path / "keys")) as served:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await served.call("ModelInfer", infer_request(["a"]))
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            call = served.classify(CLASSIFY["ClassifyRequest"]())
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call.read()
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            served.metadata = (("authorization", f"Bearer {key}"),)
            assert (await served.call("ModelInfer", infer_request(["a"]))).outputs

    run(test())


def test_r74_overload_is_resource_exhausted_with_retry_after():
    async def test():
        async with Served() as served:
            served.registry.max_concurrent_requests = 1
            held = asyncio.create_task(served.call("ModelInfer", infer_request(["hold"])))
            assert await asyncio.to_thread(served.stub.started.wait, 5)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await served.call("ModelInfer", infer_request(["a"]))
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert int(dict(refused.value.trailing_metadata())["retry-after"]) >= 1
            served.stub.release.set()
            assert (await held).outputs

    run(test())


def test_r73_a_call_that_is_cancelled_drops_its_work():
    async def test():
        async with Served() as served:
            held = asyncio.create_task(served.call("ModelInfer", infer_request(["hold"])))
            assert await asyncio.to_thread(served.stub.started.wait, 5)
            request = CLASSIFY["ClassifyRequest"]()
            request.documents.add(text="left by its client")
            call = served.classify(request)
            reading = asyncio.create_task(anext(aiter(call)))
            service = served.registry.current_services[0]
            while service.queued_tokens < 10:
                await asyncio.sleep(0.01)
            call.cancel()
            reading.cancel()
            while served.registry.pending_requests > 1:
                await asyncio.sleep(0.01)
            served.stub.release.set()
            assert (await held).outputs
            assert "left by its client" not in served.stub.seen

    run(asyncio.wait_for(test(), 20))


def test_clients_get_the_protocol_as_a_file():
    text = grpc_messages.proto_text(CLASSIFIER)
    assert "rpc Classify(ClassifyRequest) returns (stream ClassifyEvent);" in text
    inference = grpc_messages.proto_text(OPEN_INFERENCE)
    assert "    map<string, InferParameter> parameters = 4;" in inference
    assert "  message InferInputTensor {" in inference
    assert "  oneof choice {" in inference
