"""The reading of files in a process of its own, which a hostile file may crash, fill or keep busy.

The server starts it as `python -m longform.serving.extraction LIMIT`, gives it the file on its
standard input and takes a JSON object from its standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from typing import cast

from longform.serving.parsing import RequestError
from longform.serving.reply_schemas import ErrorType
from longform.serving.texts_of_files import SentFile, is_plain, text_of

_SECONDS = 30
_MEMORY = 2 * 2**30


async def extract(file: SentFile, limit: int) -> str:
    """Return the text of a file.

    Args:
        file: The file.
        limit: Most bytes that it may unpack to.

    Raises:
        RequestError: It cannot be read, is of another kind, becomes too large or takes too long.
    """
    if is_plain(file):
        return await asyncio.to_thread(text_of, file, limit)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "longform.serving.extraction", str(limit)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        # Each thread of a numeric library reserves memory, which is limited here.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    try:
        async with asyncio.timeout(_SECONDS):
            said, _ = await process.communicate(file.content)
    except TimeoutError as error:
        raise _gave_up(file, f"it took more than {_SECONDS} s") from error
    finally:
        if process.returncode is None:
            process.kill()
    try:
        answer = json.loads(said)
    except ValueError as error:
        raise _gave_up(file, "it took too much memory or time") from error
    if "text" in answer:
        return str(answer["text"])
    raise RequestError(
        int(answer["status"]),
        str(answer["error"]),
        error_type=cast(ErrorType, answer["error_type"]),
    )


def main() -> None:
    """Read one file and write its text, or what is wrong with it."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    file = SentFile("the file", sys.stdin.buffer.read())
    try:
        answer: dict[str, str | int] = {"text": text_of(file, int(sys.argv[1]))}
    except RequestError as error:
        answer = {
            "status": error.status,
            "error": str(error),
            "error_type": error.error_type,
        }
    # Surrogates, which a damaged file may give, are for the server to refuse.
    sys.stdout.write(json.dumps(answer))


def _gave_up(file: SentFile, found: str) -> RequestError:
    return RequestError(
        422,
        "A file must be readable with the memory and in the time that it is given.",
        found=f"{file.name[:60]!a}: {found}",
        fix="Send its text.",
    )


if __name__ == "__main__":
    main()
