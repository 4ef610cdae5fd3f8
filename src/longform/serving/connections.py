"""HTTP connections that must say something: a client that sends its header byte by byte is let go.

uvicorn limits the size of a header and the time between requests, not the time of a header.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 20.0
"""Seconds in which the header of the first request of a connection must have come."""


class PromptProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a time limit on the first header."""

    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the clock."""
        super().connection_made(transport)
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._let_go)

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def _stop_clock(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _let_go(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
