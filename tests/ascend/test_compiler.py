"""What is said to the Ascend compiler and what is made of its answers, on a stand-in for it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from test_runtime import encoder_model

from longform.backends.ascend.gears import Gear
from longform.errors import ConfigError, GateError
from longform.export.ascend.atc import (
    Compilation,
    CompilerError,
    compile_model,
    describe_failure,
    find_output,
    soc_from_names,
)
from longform.export.ascend.conformance import (
    check_graph,
    operator_table,
    require_conformance,
)

onnx = pytest.importorskip("onnx")
helper, TensorProto = onnx.helper, onnx.TensorProto
GEARS = (Gear(8, 1), Gear(8, 4), Gear(16, 2))


@pytest.fixture
def atc(monkeypatch, tmp_path):
    """The stand-in first among the programs, run by this Python."""
    program = tmp_path / "bin" / "atc"
    program.parent.mkdir()
    script = (Path(__file__).parent / "programs" / "atc").read_text()
    program.write_text(script.replace("#!/usr/bin/env python3", f"#!{sys.executable}"))
    program.chmod(0o755)
    table = resources.files("longform.export.ascend") / "operators.json"
    monkeypatch.setenv("FAKE_ATC_OPERATORS", str(table))
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return monkeypatch


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "onnx").mkdir()
    (tmp_path / "ascend").mkdir()
    (tmp_path / "onnx" / "encoder.onnx").write_bytes(encoder_model())
    return tmp_path


def compilation(gears=GEARS, **changes):
    wanted = {"soc_version": "Ascend910B2", "precision_mode": "mixed_float16", **changes}
    return Compilation(Path("onnx/encoder.onnx"), Path("ascend/encoder"), gears, **wanted)


def test_the_command_has_the_documented_options():
    command = compilation().command()
    assert command[0] == "atc"
    options = dict(part.removeprefix("--").split("=", 1) for part in command[1:])
    assert options == {
        "model": "onnx/encoder.onnx",
        "framework": "5",
        "output": "ascend/encoder",
        "input_format": "ND",
        "input_shape": "input_ids:-1,-1;attention_mask:-1,-1",
        "dynamic_dims": "1,8,1,8;4,8,4,8;2,16,2,16",
        "soc_version": "Ascend910B2",
        "precision_mode_v2": "mixed_float16",
        "output_type": "FP32",
        "log": "error",
    }


@pytest.mark.parametrize("mode", ["", "suffix", "noise"])
def test_a_model_is_compiled_under_whichever_name_it_comes(atc, folder, mode):
    atc.setenv("FAKE_ATC_MODE", mode)
    written = compile_model(compilation(), folder)
    assert written == folder / "ascend" / "encoder.om"
    assert written.is_file()
    assert [path.name for path in written.parent.iterdir()] == ["encoder.om"]


@pytest.mark.parametrize(
    ("mode", "found", "way_out"),
    [
        ("no_file", "there is no file", "another name"),
        ("crash", "E19999", "memory"),
        ("memory", "signal 9", "fewer gears"),
    ],
)
def test_a_failed_run_says_what_happened_and_what_helps(atc, folder, mode, found, way_out):
    atc.setenv("FAKE_ATC_MODE", mode)
    with pytest.raises(CompilerError, match=way_out) as failed:
        compile_model(compilation(), folder)
    assert found in str(failed.value)


@pytest.mark.parametrize("mode", ["", "old"])
def test_codes_are_found_in_new_messages_and_in_old_ones(atc, folder, mode):
    atc.setenv("FAKE_ATC_MODE", mode)
    atc.setenv("FAKE_ATC_SOC", "Ascend910B4")
    with pytest.raises(CompilerError) as failed:
        compile_model(compilation(), folder)
    assert failed.value.codes == ["E10001"]
    assert "soc_version Ascend910B2" in str(failed.value)
    assert "ATC start working" in failed.value.output


def test_an_operator_that_the_compiler_lacks_is_its_error_by_code(atc, folder):
    (folder / "onnx" / "encoder.onnx").write_bytes(gelu_model(20).SerializeToString())
    with pytest.raises(CompilerError, match="a newer one may") as failed:
        compile_model(compilation(), folder)
    assert "E16002" in failed.value.codes
    assert "ai.onnx::20::Gelu" in str(failed.value)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"gears": GEARS[:1]}, "E10035"),
        ({"gears": tuple(Gear(8, rows) for rows in range(1, 102))}, "E10036"),
        ({"gears": (GEARS[0], GEARS[0])}, "E10039"),
        ({"gears": (GEARS[0], Gear(8, 0))}, "E10038"),
    ],
)
def test_the_stand_in_refuses_gears_as_documented(atc, folder, changes, found):
    command = compilation(**changes).command()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert found in done.stdout


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"soc_version": "910B2"}, "Ascend910B2"),
        ({"soc_version": "Ascend910B2;rm"}, "named as the compiler"),
        ({"precision_mode": "fp8"}, "mixed_float16"),
        ({"gears": GEARS[:1]}, "2 to 100 gears"),
    ],
)
def test_what_the_compiler_would_refuse_is_refused_before_it_runs(folder, changes, match):
    with pytest.raises(ConfigError, match=match):
        compile_model(compilation(**changes), folder)


def test_the_chip_is_that_of_the_cards():
    assert soc_from_names(["910B2", "910B2"]) == "Ascend910B2"
    assert soc_from_names(["910B4-1"]) == "Ascend910B4-1"
    assert soc_from_names(["910B2", "910B4"]) is None
    assert soc_from_names([]) is None


def test_output_that_is_not_understood_is_kept():
    assert describe_failure("")[0] == "no output"
    assert "something odd" in describe_failure("\nsomething odd\n")[0]


def test_a_file_is_found_by_its_documented_names_first(tmp_path):
    for name in ("m_other.om", "m_linux_x86_64.om", "m_linux_aarch64.om"):
        (tmp_path / name).touch()
    assert find_output(tmp_path / "m").name == "m_linux_aarch64.om"
    (tmp_path / "m.om").touch()
    assert find_output(tmp_path / "m").name == "m.om"
    assert find_output(tmp_path / "nothing") is None


def gelu_model(opset):
    graph = helper.make_graph(
        [helper.make_node("Gelu", ["input_ids"], ["out"], name="layer.0/gelu")],
        "encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", "t"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", "t"])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


class TestConformance:
    def test_the_table_is_that_of_the_open_parser(self):
        table = operator_table()
        assert len(table) == 256
        assert table["ai.onnx::LSTM"] >= set(range(8, 19))
        assert table["ai.onnx::LayerNormalization"] == {17, 18}
        assert table["ai.onnx::GreaterOrEqual"] == {8, *range(12, 19)}
        assert "ai.onnx::Gelu" not in table

    def test_a_sound_graph_has_no_faults(self):
        assert check_graph(onnx.load_from_string(encoder_model())) == []

    def test_all_faults_are_named_at_once(self):
        model = gelu_model(20)
        reasons = [str(fault) for fault in check_graph(model)]
        assert any("the opset must be 11 to 18, found 20" in reason for reason in reasons)
        assert any("layer.0/gelu" in reason and "::20::Gelu" in reason for reason in reasons)
        with pytest.raises(GateError, match="Gelu"):
            require_conformance("encoder", model)

    def test_a_node_is_told_by_the_weights_around_it(self):
        weight = onnx.numpy_helper.from_array(
            __import__("numpy").ones((2, 2), "float32"), "encoder.layer.3.output.dense.weight"
        )
        nodes = [
            helper.make_node("MatMul", ["x", weight.name], ["y"], name="matmul"),
            helper.make_node("NonZero", ["y"], ["z"], name="odd"),
        ]
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 2])],
            [helper.make_tensor_value_info("z", TensorProto.INT64, None)],
            [weight],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
        (fault,) = check_graph(model)
        assert fault.module == "encoder.layer.3.output.dense"
        assert "depend on data" in fault.reason

    def test_recurrent_weights_must_be_constants_and_lengths_empty(self):
        nodes = [
            helper.make_node(
                "LSTM", ["x", "w", "r", "", "lengths"], ["y"], name="lstm", hidden_size=2, layout=1
            )
        ]
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in ("x", "w", "r", "lengths")
        ]
        output = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        graph = helper.make_graph(nodes, "g", inputs, output)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
        reasons = " ".join(fault.reason for fault in check_graph(model))
        for part in ("W must be", "R must be", "sequence_lens", "layout must be 0"):
            assert part in reasons
        assert "B must be" not in reasons
