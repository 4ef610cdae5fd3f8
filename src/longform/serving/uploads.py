"""Files instead of texts: `POST /predict/files` and `POST /files/text`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from longform.errors import LongformError
from longform.serving.answering import AnswerDesk
from longform.serving.bodies import read_body
from longform.serving.extraction import extract
from longform.serving.parsing import RequestError, check_count, find_faults, parse_options
from longform.serving.prediction import build_reply
from longform.serving.replies import error_replies, json_reply
from longform.serving.reply_schemas import PredictReply
from longform.serving.schemas import PredictRequest
from longform.serving.settings import ServerSettings
from longform.serving.texts_of_files import SentFile
from longform.types import Document

_OPTIONS = "options"
_RULE = "The request must be multipart/form-data with parts 'files', and perhaps 'options'."
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "Plain text in any encoding, .docx, or PDF with text.",
                        },
                        "options": {
                            "type": "string",
                            "description": "JSON object: a body of /predict without its texts.",
                        },
                    },
                }
            }
        },
    }
}


class FileTextReply(BaseModel):
    """The text of one file, or why there is none."""

    name: str
    text: str | None = None
    error: str | None = None


class FileTextsReply(BaseModel):
    """The texts of files, in the order sent."""

    files: list[FileTextReply]


def add_uploads(app: FastAPI, desk: AnswerDesk) -> None:
    """Add the routes to an application."""

    @app.post(
        "/predict/files",
        summary="Classify files: plain text, Word, PDF",
        response_model=PredictReply,
        responses=error_replies(404, 415),
        openapi_extra=_FORM,
    )
    async def predict(request: Request) -> Response:
        with desk.registry.permit():
            files, options = await _read_form(request, desk.settings)
            texts = [await _text(file, desk.settings.payload_limit) for file in files]
        asked = _request(texts, options)
        answered = await desk.answer_asked(asked, request.scope)
        return json_reply(build_reply(answered, desk.settings.top_k).encode())

    @app.post(
        "/files/text",
        summary="Tell the text of files, as it would be classified",
        response_model=FileTextsReply,
        responses=error_replies(415),
        openapi_extra=_FORM,
    )
    async def text(request: Request) -> Response:
        with desk.registry.permit():
            files, _ = await _read_form(request, desk.settings)
            texts = [await _text(file, desk.settings.payload_limit) for file in files]
        reply = FileTextsReply(
            files=[
                FileTextReply(name=file.name, error=str(result))
                if isinstance(result, LongformError)
                else FileTextReply(name=file.name, text=result)
                for file, result in zip(files, texts, strict=True)
            ]
        )
        return json_reply(reply.model_dump_json(exclude_none=True))


def _request(texts: list[str | RequestError], options: str | None) -> PredictRequest:
    inputs = ["" if isinstance(text, RequestError) else text for text in texts]
    asked = parse_options(options or "{}", inputs)
    documents = [Document(str(index), text) for index, text in enumerate(inputs)]
    asked.faults.update(find_faults(documents))
    # What is wrong with the file, rather than that it gave no text.
    asked.faults.update(
        {index: text for index, text in enumerate(texts) if isinstance(text, RequestError)}
    )
    return asked


async def _text(file: SentFile, limit: int) -> str | RequestError:
    try:
        text = await extract(file, limit)
        text.encode()
    except RequestError as error:
        return error
    except UnicodeEncodeError:
        return RequestError(422, "A text must be Unicode.", found=f"{file.name[:60]!a}")
    return text


async def _read_form(
    request: Request, settings: ServerSettings
) -> tuple[list[SentFile], str | None]:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise RequestError(415, _RULE, found="another content type")
    body = await read_body(request, settings)

    async def stream() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(
        request.headers,
        stream(),  # type: ignore[arg-type]
        max_files=settings.max_client_batch_size + 1,
        max_fields=8,
    )
    # In memory, where the body is already: the file system may be read-only.
    parser.spool_max_size = settings.payload_limit + 1
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise RequestError(400, _RULE, found="a form that cannot be read") from error
    try:
        sent = [part for part in form.getlist("files") if isinstance(part, UploadFile)]
        check_count(len(sent), settings.max_client_batch_size)
        files = [SentFile(part.filename or "", await part.read()) for part in sent]
        options = form.get(_OPTIONS)
    finally:
        await form.close()
    return files, options if isinstance(options, str) else None
