"""TensorRT and CUDA cannot run here: the command, the shapes and the check against a silent fall
back to the CPU are tested, with stand-ins for `trtexec` and for a session of ONNX Runtime."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import onnxruntime
import pytest

from longform.backends.onnx import OnnxBackend, open_session, provider_options
from longform.errors import LongformError, MissingExtraError
from longform.export.context import ExportContext
from longform.export.tensorrt import make_tensorrt, trtexec_command
from longform.reporting import Reporter
from longform.shapes import Bucket, ShapePlan

PLAN = ShapePlan((Bucket(64, 64), Bucket(128, 32)))
COMMAND = [
    "trtexec",
    "--onnx=onnx/encoder.onnx",
    "--saveEngine=tensorrt/encoder.engine",
    "--fp16",
    "--memPoolSize=workspace:4096",
    "--skipInference",
    "--profile=0",
    "--minShapes=input_ids:1x1,attention_mask:1x1",
    "--optShapes=input_ids:64x64,attention_mask:64x64",
    "--maxShapes=input_ids:64x64,attention_mask:64x64",
    "--profile=1",
    "--minShapes=input_ids:1x65,attention_mask:1x65",
    "--optShapes=input_ids:32x128,attention_mask:32x128",
    "--maxShapes=input_ids:32x128,attention_mask:32x128",
]


class Listener(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def context(folder) -> ExportContext:
    (folder / "onnx").mkdir()
    (folder / "onnx" / "encoder.onnx").touch()
    nothing = SimpleNamespace()
    return ExportContext(folder, nothing, nothing, False, PLAN, nothing, (), nothing, Listener())


def stand_in(folder, monkeypatch, script: str) -> None:
    """Put a program called trtexec on the path, which knows only what its script says."""
    program = folder / "bin" / "trtexec"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def test_the_command_has_a_profile_for_each_bucket():
    assert trtexec_command("onnx/encoder.onnx", "tensorrt/encoder.engine", PLAN) == COMMAND


def test_the_provider_gets_the_same_profiles(tmp_path):
    options = provider_options("tensorrt", "fp16", PLAN, tmp_path)
    shapes = {name: options[f"trt_profile_{name}_shapes"] for name in ("min", "opt", "max")}
    assert shapes["min"] == "input_ids:1x1,attention_mask:1x1,input_ids:1x65,attention_mask:1x65"
    assert shapes["opt"] == shapes["max"]
    assert shapes["max"].startswith("input_ids:64x64,attention_mask:64x64,input_ids:32x128")
    assert options["trt_fp16_enable"] == "1"
    assert options["trt_engine_cache_path"] == str(tmp_path)
    assert provider_options("cuda", "fp16", PLAN, tmp_path) == {}


def test_without_trtexec_the_command_is_written_and_nothing_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    made = context(tmp_path)
    make_tensorrt(made)
    script = (tmp_path / "tensorrt" / "build.sh").read_text()
    assert all(word in script for word in COMMAND)
    shapes = json.loads((tmp_path / "tensorrt" / "profiles.json").read_text())
    assert shapes["profiles"][1] == {"min": [1, 65], "opt": [32, 128], "max": [32, 128]}
    assert made.records == {}
    assert "nothing was built and nothing compared" in made.reporter.said[-1]


def test_trtexec_is_run_in_the_bundle_with_the_documented_words(tmp_path, monkeypatch):
    log = tmp_path / "log"
    stand_in(tmp_path, monkeypatch, f'printf "%s\\n" "$@" > {log}; : > tensorrt/encoder.engine')
    make_tensorrt(context(tmp_path))
    assert log.read_text().split() == COMMAND[1:]
    assert (tmp_path / "tensorrt" / "encoder.engine").exists()


def test_a_failure_of_trtexec_is_shown_with_the_end_of_its_output(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, 'echo "[E] out of memory" >&2; exit 3')
    with pytest.raises(LongformError, match=r"exit status 3: \[E\] out of memory"):
        make_tensorrt(context(tmp_path))


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_here_is_an_error_and_not_the_cpu(provider, tmp_path):
    with pytest.raises(MissingExtraError, match="Install onnxruntime-gpu"):
        OnnxBackend(tmp_path / "encoder.onnx", tmp_path / "head.onnx", provider=provider)


def test_a_session_that_fell_back_to_the_cpu_is_found_out(monkeypatch, tmp_path):
    """ONNX Runtime only warns when a provider cannot be loaded; the session here stands in."""
    session = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    asked = []

    def open_stand_in(path, sess_options, providers):
        asked.extend(providers)
        return session

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_stand_in)
    listed = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    with pytest.raises(MissingExtraError, match="must run on TensorrtExecutionProvider"):
        open_session(tmp_path / "encoder.onnx", 1, "tensorrt", {"trt_fp16_enable": "1"})
    assert asked == [
        ("TensorrtExecutionProvider", {"trt_fp16_enable": "1"}),
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
