"""What is loaded by what, looked at in a fresh interpreter.

import-linter reads the source; these tests see what really happens, function-level imports of the
command line included.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers"}
RUNTIMES = HEAVY | {"numpy", "onnxruntime", "openvino", "tokenizers", "sklearn", "pyarrow"}
VERBS = (
    "train",
    "distill",
    "pretrain",
    "search",
    "prune",
    "evaluate",
    "predict",
    "inspect",
    "serve",
    "demo",
    "env",
)


def loaded_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after `statement`."""
    script = (
        "import sys, json\n"
        f"{statement}\n"
        "loaded = sorted({name.partition('.')[0] for name in sys.modules})\n"
        "print('\\nloaded: ' + json.dumps(loaded))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(result.stdout.rpartition("loaded: ")[2]))


def test_the_probe_sees_what_is_loaded():
    assert "numpy" in loaded_after("import numpy")


@pytest.mark.parametrize("module", ["longform", "longform.cli", "longform.cli.app"])
def test_a_bare_import_loads_no_runtime(module):
    assert not loaded_after(f"import {module}") & RUNTIMES


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_loads_no_runtime(verb):
    loaded = loaded_after(
        f"from longform.cli import main\nassert main({[*([verb] if verb else []), '--help']}) == 0"
    )
    assert not loaded & RUNTIMES


@pytest.mark.parametrize(
    "statement",
    [
        "import longform; longform.load",
        "import longform.inference.predictor",
        "import longform.evaluation.evaluation, longform.evaluation.report",
        "import longform.serving.server",
        "import longform.data.readers, longform.data.samples",
        "import longform.backends.choice, longform.backends.onnx, longform.bundle",
    ],
)
def test_what_serves_never_loads_torch(statement):
    assert not loaded_after(statement) & HEAVY


def test_what_serves_can_be_imported_where_torch_is_not_installed():
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in sorted(HEAVY))
    loaded_after(
        blocked + "import longform.inference.predictor, longform.evaluation.evaluation\n"
        "import longform.serving.server, longform.cli"
    )
