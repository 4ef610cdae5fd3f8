"""The flags of `longform serve`: one for each setting of the server, and of a service on Ray."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from longform.scale.serve_options import RayServeOptions
from longform.serving.settings import ServerSettings

_GIVEN: dict[str, type[BaseModel]] = {"settings": ServerSettings, "ray": RayServeOptions}
"""Argument of the verb -> whose fields are the flags that it is handed."""


def with_server_flags(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb a flag for each field of `ServerSettings` and `RayServeOptions`.

    Args:
        verb: Takes its own arguments, `settings` and `ray`: dictionaries of field name to value,
            which is None where the flag was not given.
    """

    @functools.wraps(verb)
    def wrapped(**given: Any) -> None:
        handed = {
            argument: {name: given.pop(name) for name in kind.model_fields}
            for argument, kind in _GIVEN.items()
        }
        verb(**given, **handed)

    own = inspect.signature(verb, eval_str=True)
    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in own.parameters.values()
        if parameter.name not in _GIVEN
    ]
    flags = [
        _flag(name, field) for kind in _GIVEN.values() for name, field in kind.model_fields.items()
    ]
    signature = own.replace(parameters=[*kept, *flags])
    wrapped.__signature__ = signature  # type: ignore[attr-defined]
    wrapped.__annotations__ = {
        parameter.name: parameter.annotation for parameter in signature.parameters.values()
    }
    return wrapped


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    kind = _plain_type(field.annotation)
    flag = "--" + name.replace("_", "-")
    if field.default is True:
        flag = f"{flag}/--no-{flag[2:]}"
    sentence = (field.description or "").strip().replace("\n", " ")
    shown = "" if field.default in (None, False, ()) else f" Default {field.default}."
    option = typer.Option(flag, help=sentence + shown, show_envvar=False, show_default=False)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _plain_type(annotation: Any) -> Any:
    """Return what a command line can read: the type without its None; a tuple is a list."""
    if get_origin(annotation) in {Union, types.UnionType}:
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    origin = get_origin(annotation)
    if origin is tuple:
        return list[str]
    return str if origin is Literal else annotation
