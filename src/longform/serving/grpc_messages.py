"""The messages and services that gRPC speaks, described at run time.

Described here and not generated, since generated code is bound to a version of protobuf. The
`inference` package is KServe's V2 protocol (github.com/kserve/open-inference-protocol), names and
numbers as specified there; the `longform.v1` package is our own. `proto_text` writes either as a
`.proto` file for clients.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = re.compile(
    r"(?P<map>map<string, (?P<value>[\w.]+)> |(?P<label>repeated |oneof )?(?P<type>[\w.]+) )"
    r"(?P<name>\w+) = (?P<number>\d+)"
)
_SCALARS = {
    name: getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in (
        "bool", "bytes", "double", "float", "int32", "int64", "string", "uint32", "uint64"
    )
}  # fmt: skip
_CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Method:
    """One call of a service; `streams` tells whether it answers more than once."""

    name: str
    request: str
    reply: str
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Protocol:
    """A package of messages with one service.

    Attributes:
        package: Name of the package.
        service: Name of the service.
        methods: Its calls.
        messages: Fields of each message as `.proto` writes them; `oneof` marks those of which
            there is one at most.
    """

    package: str
    service: str
    methods: tuple[Method, ...]
    messages: dict[str, tuple[str, ...]]

    @property
    def full_name(self) -> str:
        """Of the service."""
        return f"{self.package}.{self.service}"


_PARAMETERS = "map<string, InferParameter> parameters"
OPEN_INFERENCE = Protocol(
    package="inference",
    service="GRPCInferenceService",
    methods=tuple(
        Method(name, f"{name}Request", f"{name}Response")
        for name in (
            "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata",
            "ModelInfer",
        )
    ),
    messages={
        "ServerLiveRequest": (),
        "ServerLiveResponse": ("bool live = 1",),
        "ServerReadyRequest": (),
        "ServerReadyResponse": ("bool ready = 1",),
        "ModelReadyRequest": ("string name = 1", "string version = 2"),
        "ModelReadyResponse": ("bool ready = 1",),
        "ServerMetadataRequest": (),
        "ServerMetadataResponse": (
            "string name = 1", "string version = 2", "repeated string extensions = 3"
        ),
        "ModelMetadataRequest": ("string name = 1", "string version = 2"),
        "ModelMetadataResponse.TensorMetadata": (
            "string name = 1", "string datatype = 2", "repeated int64 shape = 3"
        ),
        "ModelMetadataResponse": (
            "string name = 1",
            "repeated string versions = 2",
            "string platform = 3",
            "repeated ModelMetadataResponse.TensorMetadata inputs = 4",
            "repeated ModelMetadataResponse.TensorMetadata outputs = 5",
        ),
        "InferParameter": (
            "oneof bool bool_param = 1",
            "oneof int64 int64_param = 2",
            "oneof string string_param = 3",
            "oneof double double_param = 4",
            "oneof uint64 uint64_param = 5",
        ),
        "InferTensorContents": (
            "repeated bool bool_contents = 1",
            "repeated int32 int_contents = 2",
            "repeated int64 int64_contents = 3",
            "repeated uint32 uint_contents = 4",
            "repeated uint64 uint64_contents = 5",
            "repeated float fp32_contents = 6",
            "repeated double fp64_contents = 7",
            "repeated bytes bytes_contents = 8",
        ),
        "ModelInferRequest.InferInputTensor": (
            "string name = 1",
            "string datatype = 2",
            "repeated int64 shape = 3",
            f"{_PARAMETERS} = 4",
            "InferTensorContents contents = 5",
        ),
        "ModelInferRequest.InferRequestedOutputTensor": ("string name = 1", f"{_PARAMETERS} = 2"),
        "ModelInferRequest": (
            "string model_name = 1",
            "string model_version = 2",
            "string id = 3",
            f"{_PARAMETERS} = 4",
            "repeated ModelInferRequest.InferInputTensor inputs = 5",
            "repeated ModelInferRequest.InferRequestedOutputTensor outputs = 6",
            "repeated bytes raw_input_contents = 7",
        ),
        "ModelInferResponse.InferOutputTensor": (
            "string name = 1",
            "string datatype = 2",
            "repeated int64 shape = 3",
            f"{_PARAMETERS} = 4",
            "InferTensorContents contents = 5",
        ),
        "ModelInferResponse": (
            "string model_name = 1",
            "string model_version = 2",
            "string id = 3",
            f"{_PARAMETERS} = 4",
            "repeated ModelInferResponse.InferOutputTensor outputs = 5",
            "repeated bytes raw_output_contents = 6",
        ),
    },
)  # fmt: skip

CLASSIFIER = Protocol(
    package="longform.v1",
    service="Classifier",
    methods=(Method("Classify", "ClassifyRequest", "ClassifyEvent", streams=True),),
    messages={
        "Text": ("string text = 1", "string text_pair = 2"),
        "ClassifyRequest": (
            "repeated Text documents = 1",
            "string model = 2",
            "string version = 3",
            "int32 top_k = 4",
            "bool evidence = 5",
            "bool raw_scores = 6",
            "bool strict = 7",
            "int32 deadline_ms = 8",
            "bool low_priority = 9",
            "bool refine_evidence = 10",
        ),
        "LabelScore": ("string label = 1", "float score = 2"),
        "Coverage": (
            "int64 tokens_total = 1",
            "int64 tokens_used = 2",
            "int64 segments_total = 3",
            "int64 segments_used = 4",
            "bool truncated = 5",
            "string reason = 6",
        ),
        "Evidence": (
            "int64 segment = 1",
            "int64 start = 2",
            "int64 end = 3",
            "float score = 4",
            "string label = 5",
            "int32 part = 6",
            "float contribution = 7",
            "float log_odds = 8",
        ),
        "Explanation": (
            "string method = 1",
            "string label = 2",
            "float logit = 3",
            "float base = 4",
        ),
        "ClassifyEvent": (
            "int32 index = 1",
            "bool final = 2",
            "string label = 3",
            "float score = 4",
            "repeated LabelScore scores = 5",
            "repeated LabelScore labels = 6",
            "Coverage coverage = 7",
            "repeated Evidence evidence = 8",
            "repeated string warnings = 9",
            "string error = 10",
            "string model = 11",
            "string version = 12",
            "bool calibrated = 13",
            "bool abstained = 14",
            "repeated string prediction_set = 15",
            "Explanation explanation = 16",
        ),
    },
)

_POOL = descriptor_pool.DescriptorPool()


def load(protocol: Protocol) -> dict[str, Any]:
    """Return the message classes of a protocol by their names."""
    file_name = f"{protocol.package.replace('.', '/')}.proto"
    try:
        _POOL.FindFileByName(file_name)
    except KeyError:
        _POOL.Add(_describe(protocol, file_name))
    return {
        name: message_factory.GetMessageClass(
            _POOL.FindMessageTypeByName(f"{protocol.package}.{name}")
        )
        for name in protocol.messages
    }


def pool() -> descriptor_pool.DescriptorPool:
    """Return the pool of the messages that were loaded, for reflection."""
    return _POOL


def proto_text(protocol: Protocol) -> str:
    """Write a protocol as a `.proto` file."""
    lines = ['syntax = "proto3";', "", f"package {protocol.package};", ""]
    lines += [f"service {protocol.service} {{"]
    for method in protocol.methods:
        stream = "stream " if method.streams else ""
        lines.append(f"  rpc {method.name}({method.request}) returns ({stream}{method.reply});")
    lines += ["}", ""]
    for name in protocol.messages:
        if "." not in name:
            lines += [*_message_text(protocol, name, ""), ""]
    return "\n".join(lines)


def _message_text(protocol: Protocol, name: str, indent: str) -> list[str]:
    inner = indent + "  "
    lines = [f"{indent}message {name.rpartition('.')[2]} {{"]
    for nested in protocol.messages:
        if nested.rpartition(".")[0] == name:
            lines += _message_text(protocol, nested, inner)
    fields = protocol.messages[name]
    choices = [field.removeprefix("oneof ") for field in fields if field.startswith("oneof ")]
    lines += [f"{inner}{field};" for field in fields if not field.startswith("oneof ")]
    if choices:
        lines += [f"{inner}oneof {_CHOICE} {{", *(f"{inner}  {each};" for each in choices)]
        lines.append(f"{inner}}}")
    return [*lines, f"{indent}}}"]


def _describe(protocol: Protocol, file_name: str) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name=file_name, package=protocol.package, syntax="proto3"
    )
    made: dict[str, Any] = {}
    # Outer messages first: an inner one is added to its outer.
    for name in sorted(protocol.messages, key=lambda name: name.count(".")):
        outer, _, own = name.rpartition(".")
        message = made[outer].nested_type.add() if outer else file.message_type.add()
        message.name = own
        made[name] = message
        for field in protocol.messages[name]:
            _add_field(message, field, f".{protocol.package}", name)
    service = file.service.add(name=protocol.service)
    for method in protocol.methods:
        service.method.add(
            name=method.name,
            input_type=f".{protocol.package}.{method.request}",
            output_type=f".{protocol.package}.{method.reply}",
            server_streaming=method.streams,
        )
    return file


def _add_field(message: Any, written: str, package: str, owner: str) -> None:
    match = _FIELD.fullmatch(written)
    assert match is not None, written
    kinds = descriptor_pb2.FieldDescriptorProto
    field = message.field.add(name=match["name"], number=int(match["number"]))
    field.label = kinds.LABEL_OPTIONAL
    if match["value"]:
        entry = message.nested_type.add(name=f"{match['name'].title()}Entry")
        entry.options.map_entry = True
        for name, kind in (("key", "string"), ("value", match["value"])):
            number = len(entry.field) + 1
            inner = entry.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL)
            _set_type(inner, kind, package)
        field.label = kinds.LABEL_REPEATED
        _set_type(field, f"{owner}.{entry.name}", package)
        return
    if match["label"] == "repeated ":
        field.label = kinds.LABEL_REPEATED
    elif match["label"] == "oneof ":
        if not message.oneof_decl:
            message.oneof_decl.add(name=_CHOICE)
        field.oneof_index = 0
    _set_type(field, match["type"], package)


def _set_type(field: Any, kind: str, package: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f"{package}.{kind}"
