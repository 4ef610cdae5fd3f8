"""The page and the description of the interface: a few files, which load nothing from outside."""

from __future__ import annotations

from importlib import resources

from fastapi import FastAPI, Response

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_SCRIPTS = (
    "answer.js", "batch.js", "choices.js", "compare.js", "elements.js", "files.js", "metrics.js",
    "operations.js", "page.js", "reader.js", "server.js", "words.js",
)  # fmt: skip
_FILES = {
    "/": ("index.html", "html"),
    "/docs": ("docs.html", "html"),
    "/operations": ("operations.html", "html"),
    "/page.css": ("page.css", "css"),
    **{f"/{name}": (name, "javascript") for name in _SCRIPTS},
}
PAGE_PATHS = frozenset(_FILES)


def add_pages(app: FastAPI) -> None:
    """Serve the files of the folder `web`, which are read once."""
    folder = resources.files("longform.serving") / "web"
    for path, (name, kind) in _FILES.items():
        _add_file(app, path, (folder / name).read_bytes(), f"text/{kind}; charset=utf-8")


def _add_file(app: FastAPI, path: str, content: bytes, media_type: str) -> None:
    @app.api_route(path, methods=["GET", "HEAD"], include_in_schema=False)
    async def file() -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)
