"""Writes what the documents repeat of the code: tables of settings, the tree of modules.

Run it (`make docs` does) after a change of settings or modules. `--check` only compares; tests and
pre-commit do that.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import sys
import tomllib
import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel

from longform import config
from longform.serving.settings import ENVIRONMENT_PREFIX, ServerSettings

DOCUMENTS = Path(__file__).parent
PACKAGE = DOCUMENTS.parent / "src" / "longform"
PAGES = tuple(
    DOCUMENTS / name
    for name in ("configuration.md", "architecture.md", "serving.md", "openapi.json")
)

ROOMS: dict[str, type[BaseModel]] = {
    "segments": config.SegmentSettings,
    "model": config.ModelSettings,
    "linear": config.LinearSettings,
    "optimization": config.OptimizationSettings,
    "training": config.TrainingSettings,
    "data": config.DataSettings,
    "augmentation": config.AugmentationSettings,
    "files": config.RunConfig,
    "pretraining": config.PretrainingSettings,
}
"""Marker on a page -> the class whose own fields are listed there."""

NOT_PYTHON = {"serving/web": "The page: HTML, CSS and JavaScript, nothing from outside."}
"""Folders of the package without a docstring -> what they hold."""


def field_docstrings(settings: type[BaseModel]) -> dict[str, str]:
    """Read the docstring under each field that `settings` itself declares.

    Raises:
        LookupError: A field has none: every key is explained to users.
    """
    (definition,) = ast.parse(inspect.getsource(settings)).body
    assert isinstance(definition, ast.ClassDef)
    docstrings: dict[str, str] = {}
    for statement, following in zip(definition.body, [*definition.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        match following:
            case ast.Expr(value=ast.Constant(value=str(text))):
                docstrings[statement.target.id] = " ".join(text.split())
            case _:
                raise LookupError(f"{settings.__name__}.{statement.target.id} has no docstring")
    return docstrings


def settings_table(settings: type[BaseModel]) -> str:
    """Lay the fields that `settings` itself declares out as a Markdown table."""
    rows = ["| key | values | default | what it does |", "|---|---|---|---|"]
    for name, text in field_docstrings(settings).items():
        field = settings.model_fields[name]
        rows.append(f"| `{name}` | {_values(field)} | {_default(field.default)} | {text} |")
    return "\n".join(rows)


def alias_table() -> str:
    """Lay out the names of other tools that are understood."""
    rows = ["| written as | taken as |", "|---|---|"]
    rows += [f"| `{theirs}` | `{ours}` |" for theirs, ours in sorted(config.ALIASES.items())]
    return "\n".join(rows)


def classifier_messages() -> str:
    """Write the streaming service as a client needs it."""
    from longform.serving.grpc_messages import CLASSIFIER, proto_text

    return f"```proto\n{proto_text(CLASSIFIER).rstrip()}\n```"


def server_table() -> str:
    """Lay out the settings of the server with their environment variables."""
    rows = ["| environment variable | values | default | what it does |", "|---|---|---|---|"]
    for name, text in field_docstrings(ServerSettings).items():
        field = ServerSettings.model_fields[name]
        variable = ENVIRONMENT_PREFIX + name.upper()
        rows.append(f"| `{variable}` | {_values(field)} | {_default(field.default)} | {text} |")
    return "\n".join(rows)


def openapi_document() -> str:
    """Write the OpenAPI document of the server, as it answers it at /openapi.json."""
    from longform.serving.models import ModelRegistry
    from longform.serving.rest import create_app

    def refuse(folder: Path) -> NoReturn:
        raise LookupError(f"{folder}: nothing is served here")

    document = create_app(ModelRegistry(refuse), ServerSettings()).openapi()
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def module_tree() -> str:
    """Lay out the package, from the foundation up, one line a module: its docstring's summary.

    Raises:
        LookupError: A module has no docstring, or a room has no place in the import contract.
    """
    linter = tomllib.loads((DOCUMENTS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    rooms = linter["tool"]["importlinter"]["contracts"][0]["layers"][::-1]
    present = {path.stem for path in PACKAGE.iterdir() if _is_module(path)}
    if unplaced := present - set(rooms):
        raise LookupError(f"{sorted(unplaced)} are not in the layers of pyproject.toml")
    lines = ["```text", "src/longform/"]
    for room in rooms:
        folder = PACKAGE / room
        if room not in present:
            continue
        if not folder.is_dir():
            lines.append(_line(f"  {room}.py", _summary(folder.with_suffix(".py"))))
            continue
        lines.append(_line(f"  {room}/", _summary(folder / "__init__.py")))
        for path in sorted(folder.iterdir()):
            if _is_module(path):
                name = f"    {path.name}/" if path.is_dir() else f"    {path.name}"
                lines.append(_line(name, _summary(path)))
    return "\n".join([*lines, "```"])


def render(page: str) -> str:
    """Replace what stands between the markers of `page` by what the code says now.

    A page of JSON is the OpenAPI document, as a whole.
    """
    if page.lstrip().startswith("{"):
        return openapi_document()
    writers: dict[str, Callable[[], str]] = {
        **{marker: partial(settings_table, room) for marker, room in ROOMS.items()},
        "aliases": alias_table,
        "server": server_table,
        "classifier": classifier_messages,
        "modules": module_tree,
    }
    for marker, write in writers.items():
        begin, end = f"<!-- generated: {marker} -->", "<!-- end -->"
        if begin in page:
            before, _, rest = page.partition(begin)
            _, _, after = rest.partition(end)
            page = f"{before}{begin}\n{write()}\n{end}{after}"
    return page


def _is_module(path: Path) -> bool:
    if path.is_dir():
        return any(item.is_file() for item in path.iterdir())
    return path.suffix == ".py" and path.stem != "__init__"


def _summary(path: Path) -> str:
    key = path.relative_to(PACKAGE).as_posix()
    if key in NOT_PYTHON:
        return NOT_PYTHON[key]
    source = path / "__init__.py" if path.is_dir() else path
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8")))
    if not docstring:
        raise LookupError(f"{key} has no docstring")
    return docstring.splitlines()[0]


def _line(name: str, text: str) -> str:
    return f"{name:<24} {text}"


def _values(field: Any) -> str:
    optional, named = _choices(field.annotation), "list of " if _is_list(field.annotation) else ""
    if optional:
        return named + ", ".join(f"`{name}`" for name in optional)
    arguments = getattr(field.annotation, "__args__", ())
    types = [item for item in arguments if item is not type(None)] or [field.annotation]
    if any(_is_list(item) for item in types):
        return "list of names"
    if typing.get_origin(field.annotation) is dict:
        return "keys and values"
    word = {"int": "integer", "float": "number", "bool": "true, false", "str": "text"}
    shown = word[types[0].__name__]
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign} {getattr(limit, name):,}"
        for limit in field.metadata
        for name, sign in signs.items()
        if getattr(limit, name, None) is not None
    ]
    return " ".join([shown, ", ".join(bounds)]).strip()


def _is_list(annotation: Any) -> bool:
    return typing.get_origin(annotation) is tuple


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the values that a Literal allows, alone, optional or in a list."""
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    nested = (_choices(item) for item in typing.get_args(annotation))
    return next((choices for choices in nested if choices), ())


def _default(value: Any) -> str:
    if isinstance(value, tuple):
        return f"`[{', '.join(value)}]`"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if value == "" else f"`{value}`"


def main() -> None:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 when out of date")
    only_check = parser.parse_args().check
    for page in PAGES:
        written = page.read_text(encoding="utf-8")
        rendered = render(written)
        if rendered != written and only_check:
            sys.exit(f"docs/{page.name} is out of date. Run: make docs")
        if rendered != written:
            page.write_text(rendered, encoding="utf-8")


if __name__ == "__main__":
    main()
