"""Flags that several verbs share, declared once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from longform.inference.predictor import Predictor
    from longform.reporting import Reporter

BundleFolder = Annotated[
    Path, typer.Argument(help="The folder of a bundle, as 'longform train' writes it.")
]
TextColumn = Annotated[str, typer.Option(help="Column or key that holds the text.")]
LabelColumn = Annotated[str, typer.Option(help="Column or key that holds the label.")]
BackendName = Annotated[
    str,
    typer.Option(
        help="onnx, openvino or torch, each also with a precision (openvino:int8); auto takes "
        "the fastest that is installed, by a short measurement made once for each machine."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


def print_json(content: dict[str, Any]) -> None:
    """Print the one object that `--json` promises."""
    sys.stdout.write(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n")


def open_predictor(bundle: Path, backend: str, reporter: Reporter) -> Predictor:
    """Verify and open a bundle, and say what it runs on."""
    from longform.inference.predictor import load

    predictor = load(bundle, backend, reporter)
    reporter.say(f"Bundle {bundle} verified, running on {predictor.backend_info}.")
    return predictor
