"""The reading of untrusted requests: bytes to documents, or a refusal that repeats no document."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from longform.errors import InputError
from longform.serving.reply_schemas import ErrorType
from longform.serving.schemas import PredictParameters, PredictRequest, TextInput
from longform.types import Document

ShapeT = TypeVar("ShapeT", bound=BaseModel)

_FAULTS_SHOWN = 5


class RequestError(InputError):
    """A request that cannot be answered.

    Args:
        status: HTTP status code.
        error_type: Kind of the fault for programs.
        rule: What must hold.
        found: What was found; never the text of a document.
        fix: The way out.
    """

    def __init__(
        self,
        status: int,
        rule: str,
        *,
        found: str = "",
        fix: str = "",
        error_type: ErrorType = "validation",
    ) -> None:
        super().__init__(rule, found=found, fix=fix)
        self.status = status
        self.error_type: ErrorType = error_type


def parse_request(body: bytes, max_client_batch_size: int) -> PredictRequest:
    """Read an untrusted request body.

    Args:
        body: The bytes as received.
        max_client_batch_size: Most documents allowed; a pair is one.

    Raises:
        RequestError: 400 when it is not JSON, 422 when it is JSON of another shape. Messages name
            keys and positions and never repeat a document.
    """
    content = _parse_json(body)
    inputs = content.get("inputs") if isinstance(content, dict) else None
    if isinstance(inputs, list):
        # Before each is looked at: a body may hold millions.
        check_count(len(inputs), max_client_batch_size)
    try:
        request = PredictRequest.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        raise RequestError(
            422,
            "The request must hold 'inputs': a document or a list of documents, each a string or "
            "an object with 'text' (and 'text_pair' for a model of pairs).",
            found="; ".join(_describe(fault) for fault in faults[:_FAULTS_SHOWN]),
            fix="See /docs for the shape of a request.",
        ) from error
    unreadable = find_faults(request.documents())
    if unreadable and not request.is_batch:
        raise unreadable[0]
    request.faults.update(unreadable)
    return request


def parse_options(written: str, inputs: Sequence[str]) -> PredictRequest:
    """Read the options of texts that came another way.

    Args:
        written: JSON object: a request without its texts.
        inputs: The texts.

    Raises:
        RequestError: 400 when it is not JSON, 422 for another shape.
    """
    content = _parse_json(written.encode("utf-8", "surrogatepass"))
    if not isinstance(content, dict) or {"inputs", "text", "text_pair"} & content.keys():
        raise RequestError(422, "'options' must be an object without texts.", found="another one")
    rule = "'options' must be a JSON object: a body of /predict without its texts."
    return check_shape({**content, "inputs": list(inputs)}, PredictRequest, rule)


def read_shape(body: bytes, shape: type[ShapeT], rule: str) -> ShapeT:
    """Read a body of one of the shapes of other servers.

    Args:
        body: JSON in UTF-8.
        shape: The model that it must fulfil.
        rule: What must hold, for the message.

    Raises:
        RequestError: 400 when it is not JSON, 422 when it is JSON of another shape.
    """
    return check_shape(_parse_json(body), shape, rule)


def check_shape(content: Any, shape: type[ShapeT], rule: str) -> ShapeT:
    """Check what was read of a body; see `read_shape`."""
    try:
        return shape.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        found = [
            f"{'.'.join(map(str, fault['loc']))[:80]!a}: {fault['msg']}"
            for fault in faults[:_FAULTS_SHOWN]
        ]
        raise RequestError(
            422, rule, found="; ".join(found), fix="See /docs for the shape of a request."
        ) from error


def check_documents(documents: Sequence[Document], limit: int) -> None:
    """Refuse too few or too many documents, and texts that hold nothing.

    Raises:
        RequestError: 422; the message names positions and never repeats a document.
    """
    check_count(len(documents), limit)
    for fault in find_faults(documents).values():
        raise fault


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise RequestError(
            400,
            "The request body must be JSON in UTF-8.",
            found=f"a byte that is not UTF-8 at offset {error.start}",
            fix="Encode the body as UTF-8; compressed bodies are not taken.",
        ) from error
    except RecursionError as error:
        raise RequestError(
            400, "The request body must be JSON.", found="lists or objects nested too deeply"
        ) from error
    except ValueError as error:
        raise RequestError(
            400,
            "The request body must be JSON.",
            found=str(error),
            fix='Send for example {"inputs": "the document"}.',
        ) from error


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        # json.loads would keep the last one and drop the others without a word.
        raise ValueError("an object that has the same key twice")
    return content


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name}, which is not JSON")


def check_count(documents: int, limit: int) -> None:
    """Refuse no documents, and more than there may be.

    Raises:
        RequestError: 422.
    """
    if not documents:
        raise RequestError(
            422,
            "A request must hold at least one document.",
            found="an empty list",
            error_type="empty",
        )
    if documents > limit:
        raise RequestError(
            422,
            f"A request may hold at most {limit} documents.",
            found=f"{documents}",
            fix="Send several requests, or raise --max-client-batch-size on the server.",
        )


def find_faults(documents: Sequence[Document]) -> dict[int, RequestError]:
    """Return what is wrong with texts, by their places; empty for most requests."""
    faults: dict[int, RequestError] = {}
    for index, document in enumerate(documents):
        texts = {f"document {index}": document.text}
        if document.text_pair is not None:
            texts = {
                f"the first text of document {index}": document.text,
                f"the second text of document {index}": document.text_pair,
            }
        for place, text in texts.items():
            fault = _fault(text, place)
            if fault is not None:
                faults.setdefault(index, fault)
    return faults


def _fault(text: str, place: str) -> RequestError | None:
    if not text or text.isspace():
        return RequestError(
            422,
            "A text must hold more than white space.",
            found=f"{place} is {'blank' if text else 'empty'}",
            fix="Leave the document out, or give its text.",
            error_type="empty",
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return RequestError(
            422,
            "A text must be Unicode.",
            found=f"half of a surrogate pair in {place} at character {error.start}",
            fix="Send the whole pair, or leave the character out.",
        )
    return None


def _describe(fault: Any) -> str:
    """Say one fault of the shape, by its key and place."""
    place, keys = _place(fault["loc"])
    if fault["type"] == "extra_forbidden":
        return _describe_unknown_key(place, keys)
    if fault["type"] == "value_error":
        return str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"].startswith("union_tag"):
        kinds = "neither a string nor an object with 'text'"
        return f"{place}: {kinds}{', nor a list of these' if place == 'inputs' else ''}"
    where = ".".join([*([place] if place else []), *keys]) or "the request"
    if fault["type"] == "model_type":
        return f"{where}: no object"
    return f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _describe_unknown_key(place: str, keys: list[str]) -> str:
    names = list(
        TextInput.model_fields
        if place
        else {**PredictRequest.model_fields, **PredictParameters.model_fields}
    )
    near = difflib.get_close_matches(keys[-1], names, n=1, cutoff=0.5)
    hint = f", did you mean '{near[0]}'?" if near else ""
    return f"unknown key {keys[-1][:60]!a}{f' in {place}' if place else ''}{hint}"


def _place(location: Sequence[int | str]) -> tuple[str, list[str]]:
    """Split a location into the document, such as `inputs[1]`, and the keys within it."""
    if location[:1] != ("inputs",):
        return "", [str(key) for key in location]
    # After `inputs` stand the branches taken (`list`, `object`), which are not in the request.
    rest = list(location[1:])
    place = "inputs"
    if rest[:1] == ["list"]:
        place = f"inputs[{rest[1]}]"
        rest = rest[2:]
    return place, [str(key) for key in rest[1:]]
