"""Flags of `longform predict` that are for a folder of answers, and the refusal of idle ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from longform.cli.arguments import EngineName

_FILE_SUFFIX = re.compile(r"\.(jsonl?|ndjson|[ct]sv|txt|xlsx?|parquet|arrow|gz|zst)", re.IGNORECASE)


Engine = Annotated[
    EngineName, typer.Option(help="What scores into a folder: this machine, or a Ray cluster.")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster: auto, HOST:PORT or ray://HOST:PORT.",
        show_default="one of this machine alone",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes that score.", show_default="fill the CPUs"),
]
PartRows = Annotated[int, typer.Option(min=1, help="Most rows of a part, which is written as one.")]
MaxCharacters = Annotated[
    int, typer.Option(min=0, help="Longer documents are errors with a reason; 0 reads all.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Refuse to begin a job: only go on with one.")
]
Restart = Annotated[bool, typer.Option("--restart", help="Forget the job in --output.")]


def is_file(output: str) -> bool:
    """Tell whether answers go into one file; all else is a folder.

    A name that looks like a file's is one: of a kind that cannot be written, it is refused there.
    """
    path = Path(output)
    if "://" in output or (path.is_dir() and path.suffix.lower() not in {".jsonl", ".csv"}):
        return False
    return bool(_FILE_SUFFIX.fullmatch(path.suffix))


def check_fitting(
    output: str | None,
    *,
    bulk: dict[str, bool],
    single: dict[str, bool],
    texts: dict[str, bool],
) -> None:
    """Refuse flags that would have no effect.

    Args:
        output: Where answers go; None prints them.
        bulk: Flag -> whether it was given, of those for a folder of answers.
        single: Of those for anything but a folder.
        texts: Of those for texts given as arguments.

    Raises:
        InputError: One was given that has no effect.
    """
    from longform.errors import InputError

    into_folder = output is not None and not is_file(output)
    idle = (single if into_folder else bulk) | (texts if output is not None else {})
    named = [flag for flag, is_given in idle.items() if is_given]
    if not named:
        return
    fix = "Leave it out" if len(named) == 1 else "Leave them out"
    if set(named) & set(bulk):
        fix += ", or name a folder with --output"
    elif set(named) & set(texts):
        fix += ", or give texts as arguments"
    raise InputError(
        "A flag that would have no effect is refused.",
        found=", ".join(named),
        fix=f"{fix}.",
    )


def check_single(source: str) -> None:
    """Refuse a pattern or URL for one file of answers.

    Raises:
        InputError: There is no such file or folder.
    """
    from longform.errors import InputError

    if not Path(source).exists():
        raise InputError(
            "One file of answers is of one file or folder of documents.",
            found=f"--input {source}",
            fix="Correct --input, or name a folder with --output for any number of files.",
        )
