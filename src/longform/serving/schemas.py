"""The shapes of requests and replies on the wire.

Knows no HTTP library: `rest` carries these shapes, and other front doors may.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    model_validator,
)

from longform.decision.evidence import EvidenceOptions
from longform.errors import LongformError
from longform.serving.jobs import JobOptions, Weight
from longform.types import Document

_FROM_CLIENTS = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class PredictParameters(BaseModel):
    """Options of a request, under the names of the Hugging Face task schema."""

    model_config = _FROM_CLIENTS

    top_k: Annotated[StrictInt, Field(ge=1)] | None = None
    """Most labels in `scores`; null gives all, or what the server is set to."""
    raw_scores: StrictBool = False
    """Give logits as scores. Labels are decided by probabilities either way."""
    explain: StrictBool = False
    """The same as `evidence`."""
    strict: StrictBool = False
    """Refuse a document of which only a part would be read."""
    deadline_ms: Annotated[StrictInt, Field(ge=1, le=86_400_000)] | None = None
    """Milliseconds after which the answer rests on what was read until then, one segment of each
    document at least. `coverage` tells how much that is, with `deadline` as its reason."""
    priority: Literal["normal", "low"] = "normal"
    """`low` lets requests of normal priority have four turns for each of its own."""


class TextInput(BaseModel):
    """A document as an object, under the names that Hugging Face pipelines use."""

    model_config = _FROM_CLIENTS

    text: StrictStr
    """The text, or the first of two."""
    text_pair: StrictStr | None = None
    """The second text, for a model that judges two together."""

    def as_document(self, index: int) -> Document:
        """Return the document, with its place in the request as id."""
        return Document(str(index), self.text, text_pair=self.text_pair)


def _kind(value: Any) -> str | None:
    """Choose the branch of `inputs` by the JSON type, so that faults are told of one branch."""
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict | TextInput):
        return "object"
    return "list" if isinstance(value, list) else None


_String = Annotated[StrictStr, Tag("string")]
_Object = Annotated[TextInput, Tag("object")]
_DocumentInput = Annotated[_String | _Object, Discriminator(_kind)]
_List = Annotated[list[_DocumentInput], Field(fail_fast=True), Tag("list")]


class PredictRequest(BaseModel):
    """One document or several. Exactly one of `inputs` and `text` is given."""

    model_config = _FROM_CLIENTS

    inputs: Annotated[_String | _Object | _List, Discriminator(_kind)] | None = None
    """A document, or a list of documents. Each is a string, or an object with `text` and, for a
    model that judges two texts together, `text_pair`. A flat list of two strings is two documents,
    not a pair."""
    text: StrictStr | None = None
    """A single document; the same as `inputs` with a string."""
    text_pair: StrictStr | None = None
    """The second text, beside `text`."""
    model: StrictStr | None = None
    """Name of the model, where several are served; null for the first one."""
    version: StrictStr | None = None
    """Version of the model; null for the one that serves."""
    parameters: PredictParameters = PredictParameters()
    evidence: StrictBool = False
    """Also tell how much each stretch of the document supports the likeliest label."""
    refine_evidence: StrictBool = False
    """With `evidence`: look closer at the stretches of a long document that matter most."""

    _faults: dict[int, LongformError] = PrivateAttr(default_factory=dict)

    @property
    def model_name(self) -> str | None:
        """The model asked for."""
        return self.model

    @property
    def model_version(self) -> str | None:
        """The version asked for."""
        return self.version

    @property
    def is_strict(self) -> bool:
        """Whether a document that would be read in part is refused."""
        return self.parameters.strict

    @property
    def is_batch(self) -> bool:
        """Whether documents came as a list, which is answered item by item."""
        return isinstance(self.inputs, list)

    @property
    def faults(self) -> dict[int, LongformError]:
        """What is wrong with documents of a list, by their places."""
        return self._faults

    def options(self) -> JobOptions:
        """Return what is wanted beside the answer."""
        asked = self.parameters
        evidence: bool | EvidenceOptions = self.evidence or asked.explain
        if evidence and self.refine_evidence:
            evidence = EvidenceOptions(refine=True)
        return JobOptions(
            evidence=evidence,
            raw_scores=asked.raw_scores,
            deadline_seconds=None if asked.deadline_ms is None else asked.deadline_ms / 1000,
            weight=Weight.LOW if asked.priority == "low" else Weight.NORMAL,
        )

    @model_validator(mode="after")
    def _has_one_input(self) -> PredictRequest:
        if (self.inputs is None) == (self.text is None):
            raise ValueError("give exactly one of 'inputs' and 'text'")
        if self.text_pair is not None and self.text is None:
            raise ValueError("'text_pair' stands beside 'text', in one object")
        return self

    def documents(self) -> list[Document]:
        """Return the documents in the order given."""
        given: list[str | TextInput]
        if isinstance(self.inputs, list):
            given = self.inputs
        elif self.inputs is not None:
            given = [self.inputs]
        else:
            given = [TextInput(text=self.text or "", text_pair=self.text_pair)]
        return [
            Document(str(index), item) if isinstance(item, str) else item.as_document(index)
            for index, item in enumerate(given)
        ]


class ForeignRequest(BaseModel):
    """A request in the shape of another server; what that shape lacks has its default."""

    model_config = _FROM_CLIENTS

    _address: tuple[str | None, str | None] = PrivateAttr(default=(None, None))

    @property
    def model_name(self) -> str | None:
        """The model asked for."""
        return self._address[0]

    @property
    def model_version(self) -> str | None:
        """The version asked for."""
        return self._address[1]

    @property
    def is_strict(self) -> bool:
        """Never by itself; the server may be."""
        return False

    @property
    def faults(self) -> dict[int, LongformError]:
        """None: these shapes have no place for the fault of one document."""
        return {}

    def options(self) -> JobOptions:
        """Return what is wanted beside the answer: nothing."""
        return JobOptions()

    def addressed_to(self, name: str | None, version: str | None = None) -> Self:
        """Keep which model the address asks for."""
        self._address = (name, version)
        return self


def request_schema(shape: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a request in one piece, without references."""
    schema = shape.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        content = {key: inline(value) for key, value in node.items() if key != "$ref"}
        if "$ref" in node:
            content = {**inline(definitions[node["$ref"].rpartition("/")[2]]), **content}
        return content

    inlined: dict[str, Any] = inline(schema)
    return inlined
