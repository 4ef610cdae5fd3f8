"""The flags of `longform serve`, one for each setting of the server."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from longform.serving.settings import ServerSettings

_GIVEN = "settings"


def with_server_flags(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb a flag for each field of `ServerSettings`, and hand it those that were given.

    Args:
        verb: Takes its own arguments and `settings`, a dictionary of field name to value.
    """

    @functools.wraps(verb)
    def wrapped(**given: Any) -> None:
        settings = {name: given.pop(name) for name in ServerSettings.model_fields}
        verb(**given, **{_GIVEN: settings})

    own = inspect.signature(verb, eval_str=True)
    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in own.parameters.values()
        if parameter.name != _GIVEN
    ]
    flags = [_flag(name, field) for name, field in ServerSettings.model_fields.items()]
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
