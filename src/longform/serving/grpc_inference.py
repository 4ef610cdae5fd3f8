"""`inference.GRPCInferenceService`: KServe's V2 protocol over gRPC."""

from __future__ import annotations

import struct
from typing import Any

from longform import __version__
from longform.serving.answering import AnswerDesk
from longform.serving.grpc_messages import OPEN_INFERENCE, load
from longform.serving.open_inference import EXTENSIONS, OUTPUTS, describe_model
from longform.serving.open_inference_request import InferRequest, check_infer, read_strings
from longform.serving.parsing import RequestError


class InferenceService:
    """The calls of the service.

    Args:
        desk: Where requests are answered.
    """

    def __init__(self, desk: AnswerDesk) -> None:
        self._desk = desk
        self._messages = load(OPEN_INFERENCE)

    async def ServerLive(self, _: Any) -> Any:
        """Tell whether the process is worth keeping."""
        return self._messages["ServerLiveResponse"](live=self._desk.registry.is_alive)

    async def ServerReady(self, _: Any) -> Any:
        """Tell whether every model takes work now."""
        return self._messages["ServerReadyResponse"](ready=self._desk.registry.is_ready)

    async def ModelReady(self, request: Any) -> Any:
        """Tell whether one model takes work now."""
        model = self._desk.registry.find(request.name)
        loaded = model.choose(request.version) if request.version else model.serving
        return self._messages["ModelReadyResponse"](ready=loaded.service.is_ready)

    async def ServerMetadata(self, _: Any) -> Any:
        """Name the server."""
        return self._messages["ServerMetadataResponse"](
            name="longform", version=__version__, extensions=EXTENSIONS
        )

    async def ModelMetadata(self, request: Any) -> Any:
        """Describe the tensors of a model."""
        described = describe_model(self._desk.registry, request.name, request.version or None)
        return self._messages["ModelMetadataResponse"](**described)

    async def ModelInfer(self, request: Any) -> Any:
        """Classify documents."""
        limit = self._desk.settings.max_client_batch_size
        asked = _read(request, limit).addressed_to(
            request.model_name or None, request.model_version or None
        )
        answered = await self._desk.answer_asked(asked)
        predictions = answered.answer.predictions
        reply = self._messages["ModelInferResponse"](
            model_name=answered.service.name,
            model_version=answered.service.version,
            id=request.id,
        )
        for name in asked.output_names or OUTPUTS:
            datatype, value = OUTPUTS[name]
            reply.outputs.add(name=name, datatype=datatype, shape=[len(predictions)])
            # Raw contents: a reply holds either these or typed ones, and clients read both.
            reply.raw_output_contents.append(
                b"".join(_raw(datatype, value(prediction)) for prediction in predictions)
            )
        return reply


def _read(request: Any, limit: int) -> InferRequest:
    if len(request.inputs) != 1:
        raise RequestError(
            422, "A request must hold one input, 'text'.", found=f"{len(request.inputs)} inputs"
        )
    tensor = request.inputs[0]
    if request.raw_input_contents:
        content = b"".join(request.raw_input_contents)
        texts = read_strings(content, len(content), limit)
    else:
        texts = [_decode(index, raw) for index, raw in enumerate(tensor.contents.bytes_contents)]
    shaped: dict[str, Any] = {
        "inputs": [
            {
                "name": tensor.name,
                "shape": list(tensor.shape),
                "datatype": tensor.datatype,
                "data": texts,
            }
        ],
        "outputs": [{"name": output.name} for output in request.outputs] or None,
    }
    return check_infer(shaped, limit, tuple(OUTPUTS))


def _decode(index: int, raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(
            400,
            "Every element of a BYTES tensor must be UTF-8.",
            found=f"element {index}, byte {error.start}",
        ) from error


def _raw(datatype: str, value: str | float) -> bytes:
    if datatype == "FP32":
        return struct.pack("<f", value)
    content = str(value).encode()
    return struct.pack("<I", len(content)) + content
