"""Files that clients send, to texts: plain text in any encoding, Word documents, PDF.

A file is data from outside: how large it may become is checked before it is unpacked, no more
pages are read than there may be, and what a library stumbles over is the sender's error.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from longform.data.files.encodings import detect_encoding
from longform.errors import InputError
from longform.extras import require
from longform.serving.parsing import RequestError

_MOST_PAGES = 5_000
_WORD = "word/document.xml"


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file as it came.

    Attributes:
        name: What the client calls it.
        content: Its bytes.
    """

    name: str
    content: bytes


def text_of(file: SentFile, limit: int) -> str:
    """Return the text of a file, by what it begins with and not by its name.

    Args:
        file: The file.
        limit: Most bytes that it may unpack to.

    Raises:
        RequestError: 413 for one that would become too large, 415 for one of another kind, 422
            for one that cannot be read, or where the library for its kind is not installed.
    """
    read = _reader(file)
    try:
        return read(file.content, limit)
    except RequestError:
        raise
    except InputError as error:
        raise RequestError(422, str(error)) from error
    except Exception as error:
        # The library's message may quote the document.
        raise RequestError(
            422,
            "A file must be readable.",
            found=f"{_shown(file)}: {type(error).__name__}",
            fix="Open it with the program that it is of, and save it again; or send its text.",
        ) from error


def is_plain(file: SentFile) -> bool:
    """Tell whether a file is plain text, which takes no library to read.

    Raises:
        RequestError: 415, it is neither that nor of another known kind.
    """
    return _reader(file) is _text_of_plain


def _reader(file: SentFile) -> Callable[[bytes, int], str]:
    if file.content.startswith(b"%PDF-"):
        return _text_of_pdf
    if file.content.startswith(b"PK\x03\x04"):
        return _text_of_word
    if b"\0" in file.content[:4096] and not file.content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RequestError(
            415,
            "A file must be plain text, a Word document (.docx) or a PDF.",
            found=f"{_shown(file)}, which is something else",
        )
    return _text_of_plain


def _text_of_plain(content: bytes, limit: int) -> str:
    detected = detect_encoding(lambda: io.BytesIO(content), Path("the file"))
    return content.decode(detected.name)


def _text_of_pdf(content: bytes, limit: int) -> str:
    pypdf = require("pypdf", "Reading PDF files")
    reader = pypdf.PdfReader(io.BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        raise RequestError(422, "A PDF must be readable without a password.", found="one with")
    if len(reader.pages) > _MOST_PAGES:
        raise _too_large(f"{len(reader.pages):,} pages")
    texts: list[str] = []
    size = 0
    for page in reader.pages:
        texts.append(page.extract_text())
        size += len(texts[-1])
        if size > limit:
            raise _too_large("more text than a request may hold")
    text = "\n".join(texts)
    if not text.strip():
        raise RequestError(
            422,
            "A PDF must hold text.",
            found=f"{len(reader.pages)} pages without any, pictures perhaps",
            fix="Run text recognition over it first.",
        )
    return text


def _text_of_word(content: bytes, limit: int) -> str:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if _WORD not in archive.namelist():
            raise RequestError(
                415,
                "A file must be plain text, a Word document (.docx) or a PDF.",
                found="an archive of another kind",
            )
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > limit:
            raise _too_large(f"{unpacked:,} bytes when unpacked")
    docx = require("docx", "Reading Word documents")
    document = docx.Document(io.BytesIO(content))
    parts = []
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            cells = ("\t".join(cell.text for cell in row.cells) for row in block.rows)
            parts.append("\n".join(cells))
        else:
            parts.append(block.text)
    return "\n".join(parts)


def _too_large(found: str) -> RequestError:
    return RequestError(413, "A file must not be larger than a request may be.", found=found)


def _shown(file: SentFile) -> str:
    return f"{file.name[:60]!a}"
