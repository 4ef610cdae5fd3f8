"""The Ascend backend on the stand-in for pyACL: answers, gears, order of calls, faults, leaks."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import sys
import threading
import zipfile

import numpy as np
import onnxruntime
import pytest

from longform.backends.ascend.backend import AscendBackend
from longform.backends.ascend.cann_provider import CannProviderBackend
from longform.backends.ascend.card import Card, load_acl
from longform.backends.ascend.gears import (
    CompiledEncoder,
    Gear,
    choose_gears,
    plan_gears,
    read_compiled,
    warm_up_gears,
)
from longform.backends.ascend.return_codes import AscendError
from longform.backends.onnx import OnnxBackend, OnnxHead
from longform.errors import BundleError, MissingExtraError
from longform.shapes import Bucket, ShapePlan, plan_shapes
from longform.types import SegmentBatch

onnx = pytest.importorskip("onnx")
TensorProto, helper, numbers = onnx.TensorProto, onnx.helper, onnx.numpy_helper

WIDTH, VOCABULARY = 6, 50
COMMAND = ("atc", "--model=m.onnx", "--a=b c", "--soc_version=Ascend910B2")
GEARS = (Gear(8, 1), Gear(8, 4), Gear(16, 1), Gear(16, 2))


def encoder_model() -> bytes:
    """Embeddings averaged under the mask: an encoder in all that matters here."""
    table = np.random.default_rng(0).normal(size=(VOCABULARY, WIDTH)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["tokens", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["column", "middle"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["segment_vector"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("segment_vector", TensorProto.FLOAT, ["batch", WIDTH])],
        [
            numbers.from_array(table, "table"),
            numbers.from_array(np.array([-1]), "last"),
            numbers.from_array(np.array([1]), "middle"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return model.SerializeToString()


def head_model() -> bytes:
    weight = np.random.default_rng(1).normal(size=(WIDTH, 3)).astype(np.float32)
    inputs = [
        helper.make_tensor_value_info("segment_vectors", TensorProto.FLOAT, ["d", "s", WIDTH]),
        helper.make_tensor_value_info("segment_mask", TensorProto.FLOAT, ["d", "s"]),
        helper.make_tensor_value_info("segment_positions", TensorProto.FLOAT, ["d", "s", 4]),
    ]
    nodes = [
        helper.make_node("ReduceSum", ["segment_vectors", "middle"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["sum", "weight"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "head",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["d", 3])],
        [numbers.from_array(weight, "weight"), numbers.from_array(np.array([1]), "middle")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return model.SerializeToString()


def om_file(model: bytes, gears=GEARS, soc="Ascend910B2") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        meta = {"soc_version": soc, "gears": [[gear.rows, gear.length] for gear in gears]}
        archive.writestr("meta.json", json.dumps(meta))
        archive.writestr("model.onnx", model)
    return stream.getvalue()


@pytest.fixture
def compiled(tmp_path):
    model = encoder_model()
    (tmp_path / "ascend").mkdir()
    (tmp_path / "ascend" / "encoder.om").write_bytes(om_file(model))
    (tmp_path / "head.onnx").write_bytes(head_model())
    digest = hashlib.sha256(model).hexdigest()
    return CompiledEncoder(
        "ascend/encoder.om", "Ascend910B2", "mixed_float16", GEARS, digest, COMMAND
    )


@pytest.fixture
def reference():
    return onnxruntime.InferenceSession(encoder_model(), providers=["CPUExecutionProvider"])


def open_backend(compiled, tmp_path, card=0):
    return AscendBackend(compiled, tmp_path, tmp_path / "head.onnx", card)


def batch_of(rows, length, seed=0):
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, VOCABULARY, (rows, length))
    lengths = generator.integers(1, length + 1, rows)
    lengths[0] = length
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    return SegmentBatch(ids, mask)


def run_reference(reference, batch):
    feeds = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    return reference.run(None, feeds)[0]


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 16])
def test_answers_are_those_of_onnx_runtime_whatever_the_shape(
    acl, compiled, tmp_path, reference, rows, length
):
    backend = open_backend(compiled, tmp_path)
    batch = batch_of(rows, length)
    assert np.abs(backend.encode(batch) - run_reference(reference, batch)).max() < 1e-6
    info = backend.info
    assert (info.name, info.device, info.precision) == ("ascend", "ascend:0", "fp16")
    assert info.vector_size == WIDTH
    logits = backend.score(np.ones((2, 3, WIDTH), np.float32), np.ones((2, 3)), np.zeros((2, 3, 4)))
    assert logits.shape == (2, 3)
    backend.close()
    backend.close()
    assert acl.left_over() == []


def test_the_calls_come_in_the_documented_order(acl, compiled, tmp_path):
    backend = open_backend(compiled, tmp_path)
    acl.history.clear()
    backend.encode(batch_of(4, 8))
    one_batch = [name for name in acl.history if name != "acl.mdl.get_input_index_by_name"]
    assert one_batch == [
        "acl.rt.set_context",
        "acl.rt.memcpy_async",
        "acl.rt.memcpy_async",
        "acl.mdl.set_input_dynamic_dims",
        "acl.mdl.execute_async",
        "acl.mdl.get_cur_output_dims",
        "acl.rt.memcpy_async",
        "acl.rt.synchronize_stream",
    ]
    acl.history.clear()
    backend.close()
    ends = [name for name in acl.history if name != "acl.rt.set_context"]
    assert ends.index("acl.mdl.unload") < ends.index("acl.rt.destroy_stream")
    assert ends[-4:] == [
        "acl.rt.destroy_stream",
        "acl.rt.destroy_context",
        "acl.rt.reset_device",
        "acl.finalize",
    ]


def test_ten_thousand_batches_leave_nothing_behind(acl, compiled, tmp_path, reference):
    backend = open_backend(compiled, tmp_path)
    held = len(acl._objects), len(acl._memory)
    batch = batch_of(3, 5)
    expected = run_reference(reference, batch)
    for _ in range(10_000):
        found = backend.encode(batch)
        acl.history.clear()
    assert np.abs(found - expected).max() < 1e-6
    assert (len(acl._objects), len(acl._memory)) == held
    backend.close()
    assert acl.left_over() == []


def test_many_threads_share_a_card(acl, compiled, tmp_path, reference):
    backend, wrong = open_backend(compiled, tmp_path), []

    def work(seed):
        for step in range(20):
            batch = batch_of(1 + step % 5, 1 + step % 16, seed * 100 + step)
            if np.abs(backend.encode(batch) - run_reference(reference, batch)).max() > 1e-6:
                wrong.append(batch)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    backend.close()
    assert acl.left_over() == []


CALLS_OF_A_START = [
    "acl.init",
    "acl.rt.set_device",
    "acl.rt.create_context",
    "acl.rt.create_stream",
    "acl.mdl.load_from_file",
    "acl.mdl.get_desc",
    "acl.rt.malloc",
    "acl.mdl.add_dataset_buffer",
    "acl.rt.memcpy_async",
    "acl.mdl.set_input_dynamic_dims",
    "acl.mdl.execute_async",
    "acl.mdl.get_cur_output_dims",
    "acl.rt.synchronize_stream",
    "acl.mdl.get_input_index_by_name",
]


@pytest.mark.parametrize("call", CALLS_OF_A_START)
@pytest.mark.parametrize("code", [200000, 507035, 123456])
def test_a_fault_at_any_call_is_named_and_leaves_nothing_behind(
    acl, compiled, tmp_path, monkeypatch, call, code
):
    monkeypatch.setenv("FAKE_ACL_FAULT", f"{call}:1:{code}")
    with pytest.raises(AscendError) as failed:
        open_backend(compiled, tmp_path)
    assert call in str(failed.value)
    assert str(code) in str(failed.value)
    assert failed.value.code == code
    assert acl.left_over() == []


@pytest.mark.parametrize("call", ["acl.rt.memcpy_async", "acl.mdl.execute_async"])
def test_after_a_fault_of_one_batch_the_next_one_is_answered(
    acl, compiled, tmp_path, monkeypatch, reference, call
):
    backend = open_backend(compiled, tmp_path)
    monkeypatch.setenv("FAKE_ACL_FAULT", f"{call}:{acl._calls[call] + 1}:507018")
    with pytest.raises(AscendError, match="injected fault"):
        backend.encode(batch_of(2, 5))
    batch = batch_of(2, 5, seed=3)
    assert np.abs(backend.encode(batch) - run_reference(reference, batch)).max() < 1e-6
    backend.close()
    assert acl.left_over() == []


def test_a_card_without_room_says_what_helps(acl, compiled, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_ACL_MEMORY", "200")
    with pytest.raises(AscendError, match="fewer or smaller gears"):
        open_backend(compiled, tmp_path)
    assert acl.left_over() == []


def test_another_chip_is_refused_with_the_command(acl, compiled, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_ACL_SOC", "Ascend910B4")
    with pytest.raises(BundleError, match="--target ascend --soc Ascend910B4") as caught:
        open_backend(compiled, tmp_path)
    assert "compiled for Ascend910B2, this is Ascend910B4" in str(caught.value)
    assert "atc --model=m.onnx '--a=b c' --soc_version=Ascend910B4" in str(caught.value)
    assert acl.left_over() == []


def test_the_second_choice_runs_in_planned_shapes_only(tmp_path, monkeypatch, reference):
    """ONNX Runtime's provider compiles for each new shape; the CPU's session stands in for it."""
    (tmp_path / "encoder.onnx").write_bytes(encoder_model())
    (tmp_path / "head.onnx").write_bytes(head_model())
    with pytest.raises(MissingExtraError, match="Install onnxruntime-cann"):
        OnnxBackend(tmp_path / "encoder.onnx", tmp_path / "head.onnx", provider="cann")
    opened, shapes = [], []
    make = onnxruntime.InferenceSession

    class Session:
        def __init__(self, path, sess_options=None, providers=None):
            opened.append(providers)
            self.inner = make(path, sess_options, providers=["CPUExecutionProvider"])

        def get_providers(self):
            return ["CANNExecutionProvider", "CPUExecutionProvider"]

        def get_outputs(self):
            return self.inner.get_outputs()

        def run(self, names, feeds):
            if "input_ids" in feeds:
                shapes.append(feeds["input_ids"].shape)
            return self.inner.run(names, feeds)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CANNExecutionProvider"])
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, "InferenceSession", Session)
        patch.setattr(OnnxHead, "__init__", lambda self, path, threads: None)
        plan = ShapePlan((Bucket(8, 4), Bucket(16, 2)))
        backend = CannProviderBackend(tmp_path / "encoder.onnx", tmp_path / "head.onnx", plan)
    provider, options = opened[0][0]
    assert provider == "CANNExecutionProvider"
    assert options == {"device_id": "0", "precision_mode": "must_keep_origin_dtype"}
    assert backend.info.device == "ascend:0"
    planned = {(gear.rows, gear.length) for gear in plan_gears(plan)}
    warm_up_gears(plan_gears(plan), backend._run)
    assert set(shapes) == planned
    for rows, length in ((1, 3), (5, 8), (7, 16)):
        batch = batch_of(rows, length)
        np.testing.assert_allclose(
            backend.encode(batch), run_reference(reference, batch), atol=1e-6
        )
    assert set(shapes) == planned


def test_a_card_that_is_not_there_and_a_file_that_is_none(acl, compiled, tmp_path):
    with pytest.raises(AscendError, match="INVALID_DEVICE"):
        open_backend(compiled, tmp_path, card=7)
    (tmp_path / "ascend" / "encoder.om").write_bytes(b"no model")
    with pytest.raises(AscendError, match="INVALID_FILE"):
        open_backend(compiled, tmp_path)
    assert acl.left_over() == []


def test_two_cards_work_beside_each_other(acl, compiled, tmp_path, reference):
    backends = [open_backend(compiled, tmp_path, card) for card in (0, 1)]
    batch = batch_of(4, 12)
    for backend in backends:
        assert np.abs(backend.encode(batch) - run_reference(reference, batch)).max() < 1e-6
        free, total = backend.memory
        assert 0 < free < total
    for backend in backends:
        backend.close()
    assert acl.left_over() == []


def test_another_library_that_initialised_acl_is_left_to_end_it(acl):
    assert acl.init() == 0
    with Card(0) as card:
        assert card.soc_name == "Ascend910B2"
    assert acl.left_over() == ["initialisation"]


def test_warming_up_runs_every_gear_the_largest_first(acl, compiled, tmp_path, monkeypatch):
    backend = open_backend(compiled, tmp_path)
    seen = []
    real = acl.mdl.set_input_dynamic_dims
    monkeypatch.setattr(
        acl.mdl, "set_input_dynamic_dims", lambda *given: (seen.append(given[3]), real(*given))[1]
    )
    backend.warm_up(16)
    assert {tuple(one["dims"][:2]) for one in seen} == {(gear.rows, gear.length) for gear in GEARS}
    sizes = [one["dims"][0] * one["dims"][1] for one in seen[: len(GEARS)]]
    assert sizes == sorted(sizes, reverse=True)
    backend.close()


def test_without_pyacl_the_way_to_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "acl", None)
    with pytest.raises(MissingExtraError, match=r"set_env\.sh"):
        load_acl()


class TestGears:
    @pytest.mark.parametrize(
        ("lengths", "longest"), [({5: 10, 100: 4}, 128), ({12: 1}, 16), ({}, 512)]
    )
    def test_a_plan_becomes_gears_that_the_compiler_takes(self, lengths, longest):
        plan = plan_shapes(lengths, longest)
        gears = plan_gears(plan)
        assert 2 <= len(gears) <= 100
        assert len(set(gears)) == len(gears)
        assert max(gear.length for gear in gears) == plan.longest
        for bucket in plan.buckets:
            assert Gear(bucket.length, bucket.rows) in gears

    def test_a_plan_of_one_shape_still_has_two_gears(self):
        assert len(plan_gears(ShapePlan((Bucket(16, 1),)))) == 2

    def test_every_row_is_taken_once(self):
        for rows in range(1, 30):
            for length in (1, 8, 9, 16):
                parts = list(choose_gears(GEARS, rows, length))
                assert parts[0][1] == 0
                assert parts[-1][2] == rows
                for (_, _, end), (_, begin, _) in itertools.pairwise(parts):
                    assert end == begin
                for gear, first, last in parts:
                    assert gear.length >= length
                    assert last - first <= gear.rows
        with pytest.raises(ValueError, match="longer than any gear"):
            list(choose_gears(GEARS, 1, 17))

    def test_the_description_is_read_as_it_was_written(self, compiled):
        assert read_compiled(compiled.as_json()) == compiled
        for content in ("{", "{}", compiled.as_json().replace("8", "0")):
            with pytest.raises(BundleError, match=r"gears\.json"):
                read_compiled(content)


def test_the_models_of_these_tests_are_sound():
    for content in (encoder_model(), head_model()):
        onnx.checker.check_model(onnx.load_from_string(content))
