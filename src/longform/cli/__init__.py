"""The command line: parsing and wiring only. A verb imports what it needs when it runs."""

from __future__ import annotations

from longform.cli.app import main

__all__ = ["main"]
