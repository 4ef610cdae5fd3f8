"""What `pip install longform` without extras can do: everything but train and serve."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from longform.extras import EXTRA_OF_LIBRARY

ROOT = Path(__file__).resolve().parents[2]

# Hides libraries as if they were not installed: they are not found, and so cannot be imported.
HIDE = """
import sys
from importlib.machinery import PathFinder

HIDDEN = {hidden!r}


class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else super().find_spec(name, path, target)


sys.meta_path = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
from longform.cli import main

status = main({arguments!r})
assert not HIDDEN & set(sys.modules)
raise SystemExit(status)
"""
OPTIONAL = {*EXTRA_OF_LIBRARY, "safetensors", "huggingface_hub", "datasets"}


def run_without(hidden: set[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Call the command line in an interpreter that does not find some libraries."""
    script = HIDE.format(hidden=hidden, arguments=[str(argument) for argument in arguments])
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_the_libraries_are_really_hidden():
    result = subprocess.run(
        [sys.executable, "-c", HIDE.format(hidden={"numpy"}, arguments=["env"])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'numpy'" in result.stderr


def test_predict_needs_no_extra(bundle, corpus):
    document = corpus.documents[0]
    result = run_without(
        OPTIONAL, "predict", bundle, document.text, "--backend", "auto", "--json", "--evidence"
    )
    assert result.returncode == 0, result.stderr
    (answer,) = json.loads(result.stdout)["predictions"]
    assert answer["label"] == document.label
    assert answer["evidence"]
    assert "onnx (fp32 on cpu)" in result.stderr


def test_r59_a_file_is_answered_without_extras(bundle, corpus, tmp_path):
    output = tmp_path / "answers.jsonl"
    result = run_without(OPTIONAL, "predict", bundle, "--input", corpus.test, "--output", output)
    assert result.returncode == 0, result.stderr
    assert len(output.read_text(encoding="utf-8").splitlines()) == 18


def test_evaluate_and_its_report_need_no_extra(bundle, corpus, tmp_path):
    report = tmp_path / "report.html"
    result = run_without(
        OPTIONAL, "evaluate", bundle, "--data", corpus.test, "--json", "--report", report
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["accuracy"] >= 0.9
    assert report.is_file()


def test_inspect_and_env_need_no_extra(bundle):
    result = run_without(OPTIONAL, "inspect", bundle, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["backends_here"] == ["onnx:fp32"]
    result = run_without(OPTIONAL, "env", "--json")
    assert result.returncode == 0, result.stderr
    content = json.loads(result.stdout)
    others = {"openvino": False, "torch": False, "ascend": False}
    assert content["backends"] == {"onnx": True, **others}
    assert content["libraries"]["torch"] is None
    assert content["libraries"]["numpy"]


@pytest.mark.parametrize(
    ("verb", "extra"),
    [
        (("train",), "train"),
        (("serve",), "serve"),
        (("predict", "--backend", "torch"), "train"),
        (("predict", "--backend", "openvino"), "openvino"),
        (("evaluate", "parquet"), "data"),
    ],
)
def test_what_needs_an_extra_names_it(verb, extra, bundle, corpus, tmp_path):
    parquet = tmp_path / "documents.parquet"
    parquet.write_bytes(b"PAR1" + bytes(20) + b"PAR1")
    files = ("--data", corpus.train, "--validation", corpus.validation)
    arguments = {
        "train": (*files, "--output", tmp_path / "model"),
        "serve": (bundle,),
        "predict": (bundle, "text", *verb[1:]),
        "evaluate": (bundle, "--data", parquet),
    }[verb[0]]
    result = run_without(OPTIONAL, verb[0], *arguments)
    assert result.returncode == 2, result.stderr
    assert f"pip install 'longform[{extra}]'" in result.stderr
    assert "it is not installed" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("library", sorted(EXTRA_OF_LIBRARY))
def test_b19_the_command_line_starts_with_each_library_missing(library):
    result = run_without({library}, "--help")
    assert result.returncode == 0, result.stderr
    assert "evaluate" in result.stdout


@pytest.mark.parametrize("library", ["accelerate", "onnxslim"])
def test_b19_a_missing_library_of_training_is_told_before_the_work(library, corpus, tmp_path):
    result = run_without(
        {library},
        *("train", "--data", corpus.train, "--validation", corpus.validation),
        *("--output", tmp_path / "model"),
    )
    assert result.returncode == 2, result.stderr
    assert f"needs the library '{library}'" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("LONGFORM_SLOW"), reason="set LONGFORM_SLOW=1 to install")
def test_b23_a_wheel_in_a_fresh_environment_predicts(bundle, corpus, tmp_path):
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".venv", ".git", "runs", "site", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, source, ignore=ignored)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, source],
        check=True,
    )
    (wheel,) = tmp_path.glob("longform-*.whl")
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    command = [environment / "bin" / "python", "-m", "pip", "install", "-q"]
    subprocess.run([*command, "-c", ROOT / "constraints.txt", wheel], check=True)
    document = corpus.documents[0]
    longform = environment / "bin" / "longform"
    result = subprocess.run(
        [longform, "predict", bundle, document.text, "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert json.loads(result.stdout)["predictions"][0]["label"] == document.label
    packages = subprocess.run(
        [environment / "bin" / "python", "-m", "pip", "list", "--format=freeze"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "torch==" not in packages
    assert "transformers==" not in packages


PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")


def test_every_base_dependency_has_a_wheel_for_aarch64(tmp_path):
    """Resolved by pip for that platform, without building anything, as on a Kunpeng machine."""
    report = tmp_path / "report.json"
    with (ROOT / "pyproject.toml").open("rb") as stream:
        wanted = tomllib.load(stream)["project"]["dependencies"]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
    command += ["--report", str(report), "--target", str(tmp_path / "nowhere")]
    command += ["--only-binary", ":all:", "--python-version", "3.11", "--implementation", "cp"]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    command += ["--constraint", str(ROOT / "constraints.txt"), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "Could not fetch URL" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr[-2000:]
    install = json.loads(report.read_text())["install"]
    found = {item["metadata"]["name"].lower().replace("_", "-") for item in install}
    assert {"numpy", "onnxruntime", "tokenizers", "pydantic-core"} <= found
