"""Who may ask: keys that the server knows only as hashes, compared in constant time.

A file of keys has one line each, `NAME:SHA-256 of the key in hexadecimal`; `longform key NAME`
makes one. Keys are 256 random bits, so that a plain hash is as good as a slow one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from longform.errors import ConfigError
from longform.serving.replies import json_reply
from longform.serving.reply_schemas import ErrorReply

_LINE = re.compile(r"(?P<name>[\w.-]+):(?P<digest>[0-9a-fA-F]{64})")
UNAUTHORIZED = "A key must come with the request: 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."


def new_key(name: str) -> tuple[str, str]:
    """Make a key.

    Returns:
        The key, and the line for the file of keys.
    """
    key = f"lf-{secrets.token_urlsafe(32)}"
    return key, f"{name}:{_digest(key).hex()}"


class KeyRing:
    """The keys that are known.

    Args:
        digests: SHA-256 of each key, under the name of whom it was given to.
    """

    def __init__(self, digests: dict[str, bytes]) -> None:
        self._digests = digests

    @classmethod
    def from_file(cls, path: Path) -> KeyRing:
        """Read a file of keys.

        Raises:
            ConfigError: It cannot be read, or a line is of another form.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                "The file of API keys must be readable.", found=f"{path}: {error}"
            ) from error
        digests: dict[str, bytes] = {}
        for number, line in enumerate(map(str.strip, lines), start=1):
            if not line or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line)
            if match is None or match["name"] in digests:
                # Not the line itself: it may hold a key that someone forgot to hash.
                raise ConfigError(
                    "Each line of the file of API keys must be NAME:SHA-256, each name once.",
                    found=f"{path}, line {number}, of another form",
                    fix="Make a line with 'longform key NAME'.",
                )
            digests[match["name"]] = bytes.fromhex(match["digest"])
        if not digests:
            raise ConfigError("A file of API keys must hold a key.", found=f"none in {path}")
        return cls(digests)

    def owner(self, key: str | None) -> str | None:
        """Return whom a key was given to; None when it is not known.

        Every known key is compared, so that the time tells nothing.
        """
        given = _digest(key or "")
        owner = None
        for name, digest in self._digests.items():
            if hmac.compare_digest(given, digest):
                owner = name
        return owner


def key_of(headers: Iterable[tuple[str, str]]) -> str | None:
    """Return the key that came with a request."""
    found = {name.lower(): value for name, value in headers}
    scheme, _, token = found.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    return found.get("x-api-key")


class KeyGuard:
    """Lets only requests with a known key through to an application.

    Args:
        app: The application.
        keys: The known keys.
        open_paths: Paths that need none: health checks, and the files of the page.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing, open_paths: frozenset[str]) -> None:
        self._app = app
        self._keys = keys
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401."""
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        owner = self._keys.owner(key_of(Headers(scope=scope).items()))
        if owner is None:
            content = ErrorReply(error=UNAUTHORIZED, error_type="unauthorized")
            headers = {"WWW-Authenticate": "Bearer"}
            await json_reply(content.model_dump_json(), 401, headers)(scope, receive, send)
            return
        scope["longform.key"] = owner
        await self._app(scope, receive, send)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
