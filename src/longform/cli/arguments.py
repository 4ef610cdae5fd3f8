"""Flags that several verbs share, declared once."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from longform.bundle import Bundle
    from longform.config import DataSettings, RunConfig
    from longform.inference.cache import CacheSettings
    from longform.inference.predictor import Predictor
    from longform.reporting import Reporter

Settings = TypeVar("Settings", bound="BaseModel")


class MetricName(StrEnum):
    """What a comparison of models can be for."""

    macro_f1 = "macro_f1"
    accuracy = "accuracy"


class EngineName(StrEnum):
    """What scores many documents, or runs a service: this machine, or a Ray cluster."""

    local = "local"
    ray = "ray"


BundleFolder = Annotated[
    Path, typer.Argument(help="The folder of a bundle, as 'longform train' writes it.")
]
TextColumn = Annotated[
    str | None, typer.Option(help="Column or key that holds the text.", show_default="as trained")
]
LabelColumn = Annotated[
    str | None,
    typer.Option(help="Column or key that holds the label.", show_default="as trained"),
]
TextPairColumn = Annotated[
    str | None,
    typer.Option(help="Column of the second text of a pair.", show_default="as trained"),
]
LabelSeparator = Annotated[
    str | None,
    typer.Option(help="What separates several labels in a field.", show_default="as trained"),
]
Encoding = Annotated[
    str | None,
    typer.Option(help="Encoding of the file, for example gb18030.", show_default="detected"),
]
EncodingErrors = Annotated[
    str | None,
    typer.Option(
        help="Bytes that are not in the encoding: strict refuses the file, replace puts U+FFFD, "
        "skip leaves the row out.",
        show_default="strict",
    ),
]
BackendName = Annotated[
    str,
    typer.Option(
        help="onnx, openvino or torch, each also with a precision (openvino:int8); auto takes "
        "the fastest that is installed, by a short measurement made once for each machine."
    ),
]
CacheMemory = Annotated[
    str,
    typer.Option(
        help="Keep vectors of segments in so much memory, for texts that grow or repeat passages; "
        "0 keeps none. For example 64MB, 1GiB."
    ),
]
CacheFolder = Annotated[
    Path | None,
    typer.Option(help="Also keep them in this folder, for the next time.", show_default="nowhere"),
]
RunSettings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG.yaml] [key=value ...]",
        help="A YAML file with settings of the run; further settings after --set.",
    ),
]
SetSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="key=value ...",
        help="Settings of the run, for example: --set aggregator=lstm frozen=true",
    ),
]
RunTextColumn = Annotated[str | None, typer.Option(help="Column of the text; 'text'.")]
RunLabelColumn = Annotated[str | None, typer.Option(help="Column of the label; 'label'.")]
RunTextPairColumn = Annotated[
    str | None, typer.Option(help="Column of a second text, if the label is about two.")
]
RunLabelSeparator = Annotated[
    str | None, typer.Option(help="What separates several labels in a field.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


def print_json(content: dict[str, Any]) -> None:
    """Print the one object that `--json` promises."""
    sys.stdout.write(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n")


def data_settings(bundle: Bundle, **flags: str | None) -> DataSettings:
    """Say how to read a file for a bundle: as it was trained, unless a flag says otherwise.

    Raises:
        ConfigError: A flag has a value that is not known.
    """
    from longform.config import DataSettings, read_settings

    described = bundle.description
    trained = described.training.get("config", {})
    kept = ("text_column", "label_column", "text_pair_column", "label_separator")
    values = {name: trained[name] for name in kept if trained.get(name) is not None}
    values["problem_type"] = described.problem_type
    values |= {name: value for name, value in flags.items() if value is not None}
    return read_settings(DataSettings, values)


def resolve_config(
    plain: list[str], assigned: list[str], flags: dict[str, str | None]
) -> RunConfig:
    """Lay settings over the configuration file of a training run; see `resolve_settings`."""
    from longform.config import RunConfig

    return resolve_settings(RunConfig, plain, assigned, flags)


def resolve_settings(
    model: type[Settings], plain: list[str], assigned: list[str], flags: dict[str, str | None]
) -> Settings:
    """Lay settings over the configuration file, and flags over both.

    Args:
        model: The settings that are wanted.
        plain: Arguments without a flag: a configuration file, and what follows the first setting
            of `--set`.
        assigned: Values of `--set`.
        flags: Setting -> value of its flag, None where it is not given.

    Raises:
        InputError: Two configuration files.
        ConfigError: A setting is unknown or has a value that is.
    """
    from longform.config import load_settings, parse_assignments

    files = [argument for argument in plain if "=" not in argument]
    assignments = [argument for argument in plain if "=" in argument]
    overrides = parse_assignments([*assignments, *assigned])
    # A flag that is not given must not undo what the file says; `--set key=null` may.
    overrides |= {name: value for name, value in flags.items() if value is not None}
    return load_settings(model, _only_config(files), overrides)


def cache_settings(memory: str, folder: Path | None) -> CacheSettings:
    """Read the flags of the cache.

    Raises:
        InputError: The memory is no number of bytes.
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError

    from longform.errors import InputError
    from longform.inference.cache import CacheSettings

    try:
        size = TypeAdapter(ByteSize).validate_python(memory)
    except ValidationError as error:
        raise InputError(
            "--cache-memory must be a number of bytes, with a unit or without.",
            found=f"'{memory}'",
            fix="Give for example 256MB, 1GiB or 0.",
        ) from error
    return CacheSettings(int(size), folder)


def open_predictor(
    bundle: Bundle, backend: str, reporter: Reporter, cache: CacheSettings | None = None
) -> Predictor:
    """Open a bundle that was verified, and say what it runs on."""
    from longform.inference.predictor import load

    predictor = load(bundle, backend, reporter, cache)
    reporter.say(f"Bundle {bundle.folder} verified, running on {predictor.backend_info}.")
    return predictor


def _only_config(files: list[str]) -> Path | None:
    from longform.errors import InputError

    if len(files) > 1:
        raise InputError(
            "A run takes one configuration file.",
            found=", ".join(files),
            fix="Give one YAML file; write settings as key=value.",
        )
    return Path(files[0]) if files else None
