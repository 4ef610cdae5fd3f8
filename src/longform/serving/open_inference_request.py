"""The request of KServe's V2 protocol: JSON, or JSON followed by binary tensors."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from longform.serving.parsing import RequestError, check_documents, check_shape, read_shape
from longform.serving.schemas import ForeignRequest
from longform.types import Document

_LENGTH_BYTES = 4
"""Each element of a binary BYTES tensor follows its length, little-endian."""
_BINARY_SIZE = "binary_data_size"
_RULE = "The request must hold 'inputs': one tensor 'text' of datatype BYTES and shape [documents]."


class InferInput(BaseModel):
    """The input tensor. Its data stand in `data`, or after the JSON as the parameters say."""

    model_config = ConfigDict(extra="forbid")

    name: Literal["text"]
    shape: list[StrictInt] = Field(min_length=1, max_length=1)
    datatype: Literal["BYTES"]
    parameters: dict[str, Any] = {}
    data: list[StrictStr] | None = None


class InferOutput(BaseModel):
    """An output that is wanted. `binary_data` is answered as JSON, which the protocol allows."""

    model_config = ConfigDict(extra="forbid")

    name: StrictStr
    parameters: dict[str, Any] = {}


class InferRequest(ForeignRequest):
    """Documents to classify."""

    id: StrictStr | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[InferInput] = Field(min_length=1, max_length=1)
    outputs: list[InferOutput] | None = None

    @property
    def output_names(self) -> list[str]:
        """The outputs that are wanted; empty for all."""
        return [output.name for output in self.outputs or ()]

    def documents(self) -> list[Document]:
        """Return the documents in the order given."""
        return [Document(str(index), text) for index, text in enumerate(self.inputs[0].data or ())]


def parse_infer(
    body: bytes, limit: int, announced: str | None, outputs: tuple[str, ...]
) -> InferRequest:
    """Read an untrusted body.

    Args:
        body: JSON, or JSON and the bytes of the tensor.
        limit: Most documents.
        announced: The header that tells the length of the JSON in bytes; None: all is JSON.
        outputs: Names of the outputs that there are.

    Raises:
        RequestError: 400 when the bytes cannot be read, 422 for another shape.
    """
    header = len(body) if announced is None else _header_length(announced, body)
    asked = read_shape(body[:header], InferRequest, _RULE)
    tensor = asked.inputs[0]
    if _BINARY_SIZE in tensor.parameters:
        tensor.data = read_strings(body[header:], tensor.parameters[_BINARY_SIZE], limit)
    elif tensor.data is None or header < len(body):
        raise RequestError(
            422,
            "The data of an input stand in 'data', or after the JSON with 'binary_data_size'.",
            found="neither" if tensor.data is None else "bytes after the JSON without it",
        )
    return _checked(asked, limit, outputs)


def check_infer(content: dict[str, Any], limit: int, outputs: tuple[str, ...]) -> InferRequest:
    """Take a request that came in another encoding than JSON.

    Raises:
        RequestError: 422 for another shape.
    """
    return _checked(check_shape(content, InferRequest, _RULE), limit, outputs)


def _checked(asked: InferRequest, limit: int, outputs: tuple[str, ...]) -> InferRequest:
    tensor = asked.inputs[0]
    check_documents(asked.documents(), limit)
    if tensor.shape != [len(tensor.data or ())]:
        raise RequestError(
            422,
            "The shape of an input must be [documents].",
            found=f"shape {tensor.shape} with {len(tensor.data or ())} elements",
        )
    unknown = [name for name in asked.output_names if name not in outputs]
    if unknown:
        raise RequestError(
            422,
            f"The outputs are {', '.join(outputs)}.",
            found=f"{unknown[0][:60]!a}",
        )
    return asked


def _header_length(announced: str, body: bytes) -> int:
    if not (announced.isascii() and announced.isdigit()) or int(announced[:20]) > len(body):
        raise RequestError(
            400,
            "Inference-Header-Content-Length must be the length of the JSON in bytes.",
            found=f"{announced[:40]!a} for a body of {len(body):,} bytes",
        )
    return int(announced)


def read_strings(content: bytes, size: object, limit: int) -> list[str]:
    """Read a binary BYTES tensor: each element after its length.

    Raises:
        RequestError: 400.
    """
    if size != len(content):
        raise RequestError(
            400,
            "binary_data_size must be the number of bytes after the JSON.",
            found=f"{str(size)[:40]!a} for {len(content):,} bytes",
        )
    texts: list[str] = []
    place = 0
    while place < len(content):
        start = place + _LENGTH_BYTES
        place = start + int.from_bytes(content[place:start], "little")
        # One more than the limit is enough to be refused; a body may hold millions.
        if place > len(content) or len(texts) > limit:
            break
        try:
            texts.append(content[start:place].decode("utf-8"))
        except UnicodeDecodeError as error:
            raise RequestError(
                400,
                "Every element of a BYTES tensor must be UTF-8.",
                found=f"element {len(texts)}, byte {error.start}",
            ) from error
    if place > len(content):
        raise RequestError(
            400,
            "Every element of a BYTES tensor must follow its length in 4 bytes, little-endian.",
            found=f"element {len(texts)} ends beyond the tensor",
        )
    return texts
