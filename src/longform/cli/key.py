"""`longform key`: an API key for a server."""

from __future__ import annotations

from typing import Annotated

import typer


def key(
    name: Annotated[
        str, typer.Argument(help="Whom the key is for: letters, digits, '.', '_', '-'.")
    ],
) -> None:
    """Make an API key: the key on the first line, on the second what the server's file needs.

    The server is started with --api-keys FILE (or --admin-keys FILE) and knows the hash alone, so
    that the key cannot be shown again.
    """
    import re

    from longform.errors import InputError
    from longform.extras import require

    require("fastapi", "Serving")
    from longform.serving.security import new_key

    if not re.fullmatch(r"[\w.-]+", name):
        raise InputError(
            "The name must be made of letters, digits, '.', '_' and '-'.", found=repr(name)
        )
    made, line = new_key(name)
    typer.echo(made)
    typer.echo(line)
