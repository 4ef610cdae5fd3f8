"""`longform export` adds what gives the trained model's answers, refuses the rest, and changes
nothing when it refuses. The bundle is a tiny BERT whose encoder was trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import run, succeed, train

from longform.bundle import load_bundle

SETTINGS = (
    "aggregator=lstm", "aggregator_hidden=8", "segment_length=32", "report_to=[]",
    "num_train_epochs=8", "learning_rate=0.003", "head_learning_rate=0.02", "device=cpu",
    "max_train_segments=8", "per_device_train_batch_size=8",
)  # fmt: skip


@pytest.fixture(scope="module")
def sharp(own_folders, corpus, encoder, tmp_path_factory) -> Path:
    """A bundle of a tiny encoder; its attention is made as uneven as that of a trained one."""
    import torch
    from transformers import BertModel

    folder = tmp_path_factory.mktemp("sharp")
    sharpened = shutil.copytree(encoder, folder / "encoder")
    model = BertModel.from_pretrained(encoder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # At the scale that BERT starts from, every token attends to all others alike.
            if parameter.ndim == 2 and "embeddings" not in name:
                parameter.mul_(12)
    model.save_pretrained(sharpened)
    result = train(corpus, folder / "model", *SETTINGS, options=("--encoder", sharpened))
    assert result.status == 0, result.err
    return folder / "model"


@pytest.fixture(scope="module")
def gentle(own_folders, corpus, encoder, tmp_path_factory) -> Path:
    """A bundle whose encoder bears rounding to int8."""
    folder = tmp_path_factory.mktemp("gentle") / "model"
    result = train(corpus, folder, *SETTINGS, options=("--encoder", encoder))
    assert result.status == 0, result.err
    return folder


@pytest.fixture
def own(sharp, tmp_path) -> Path:
    return Path(shutil.copytree(sharp, tmp_path / "model"))


@pytest.fixture
def own_gentle(gentle, tmp_path) -> Path:
    return Path(shutil.copytree(gentle, tmp_path / "model"))


def export(folder, corpus, *targets, options=()):
    flags = [item for target in targets for item in ("--target", target)]
    return run("export", folder, *flags, "--data", corpus.test, *options, "--json")


def edit_encoder(monkeypatch, change) -> None:
    """Let the ONNX export of the encoder go wrong: `change` gets the graph before it is saved."""
    import onnx

    from longform.export import encoders

    export_encoder = encoders.export_encoder

    def export_wrongly(model, path):
        export_encoder(model, path)
        proto = onnx.load(path)
        change(proto.graph)
        onnx.save(proto, path)

    monkeypatch.setattr(encoders, "export_encoder", export_wrongly)


def refused(result) -> str:
    assert result.status == 3, (result.out, result.err)
    assert "Traceback" not in result.err
    return result.err


def test_targets_are_added_and_the_shapes_are_planned(own_gentle, corpus):
    before = load_bundle(own_gentle).digest
    result = export(own_gentle, corpus, "onnx", "openvino")
    assert result.status == 0, result.err
    assert all(item["passed"] for item in result.json["targets"].values()), result.err
    assert {"onnx:fp32", "openvino:fp32", "openvino:int8"} <= set(result.json["targets"])
    opened = load_bundle(own_gentle)
    assert result.json["digest"] == opened.digest != before
    record = json.loads((own_gentle / "parity.json").read_text())["targets"]["onnx:fp32"]
    assert record == result.json["targets"]["onnx:fp32"]
    assert record["by_length"][0]["documents"] == record["documents"] == 18
    assert record["grid_difference"] < 1e-3
    plan = json.loads((own_gentle / "shapes.json").read_text())
    assert plan["buckets"][-1]["length"] == 32
    succeed("predict", own_gentle, "--backend", "openvino:int8", "原告请求支付货款。")


def test_one_attention_projection_scaled_by_a_twentieth_is_refused(own, corpus, monkeypatch):
    import onnx

    def scale(graph):
        squares = [item for item in graph.initializer if list(item.dims) == [16, 16]]
        values = onnx.numpy_helper.to_array(squares[0])
        squares[0].CopyFrom(onnx.numpy_helper.from_array(1.05 * values, squares[0].name))

    before = load_bundle(own).digest
    edit_encoder(monkeypatch, scale)
    message = refused(export(own, corpus, "onnx"))
    assert "The export 'onnx:fp32' must give the answers of the trained model." in message
    assert "a largest logit difference of" in message
    assert "(document '3-" in message
    assert "--allow-drop" not in message
    assert load_bundle(own).digest == before
    # What differs in fp32 is a broken graph, whatever loss is allowed.
    refused(export(own, corpus, "onnx", options=("--allow-drop", "100")))


def test_a_graph_that_does_not_read_its_mask_is_refused(own, corpus, monkeypatch):
    import onnx

    def ignore_mask(graph):
        ones = onnx.helper.make_tensor("one", onnx.TensorProto.INT64, [1], [1])
        graph.initializer.append(ones)
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == "attention_mask":
                    node.input[place] = "all_ones"
        shape = onnx.helper.make_node("Shape", ["attention_mask"], ["mask_shape"])
        expand = onnx.helper.make_node("Expand", ["one", "mask_shape"], ["all_ones"])
        graph.node.insert(0, expand)
        graph.node.insert(0, shape)

    edit_encoder(monkeypatch, ignore_mask)
    message = refused(export(own, corpus, "onnx"))
    assert "what stands under the mask, which must not be read" in message
    assert "The graph is wrong" in message


def test_an_int8_encoder_that_is_broken_is_refused_and_gone(own_gentle, corpus, monkeypatch):
    openvino = pytest.importorskip("openvino")
    from longform.export.encoders import EncoderExports

    make = EncoderExports.int8

    def break_scales(self):
        path = make(self)
        model = openvino.Core().read_model(str(path))
        broken = 0
        for node in model.get_ops():
            if node.get_type_name() == "Constant" and tuple(node.shape) == (32, 1):
                # The scales of a layer's weights, as a quantiser that overflowed would leave them.
                values = np.full_like(node.data, 60_000)
                replacement = openvino.opset13.constant(values)
                node.output(0).replace(replacement.output(0))
                broken += 1
        assert broken
        openvino.save_model(model, str(path.with_name("broken.xml")), compress_to_fp16=False)
        return path.with_name("broken.xml")

    monkeypatch.setattr(EncoderExports, "int8", break_scales)
    result = export(own_gentle, corpus, "openvino")
    assert result.status == 0, result.err
    record = result.json["targets"]["openvino:int8"]
    assert not record["passed"]
    assert "openvino:int8: REFUSED, left out; a largest logit difference of" in result.err
    assert not (own_gentle / "openvino" / "encoder.int8.xml").exists()
    assert "openvino:int8" not in succeed("inspect", own_gentle, "--json").json["backends_here"]


def test_int8_and_fp16_onnx_are_smaller_and_give_the_answers(own_gentle, corpus):
    import onnx

    result = export(own_gentle, corpus, "int8", "onnx-fp16")
    assert result.status == 0, result.err
    record = result.json["targets"]["onnx:int8"]
    assert record["passed"]
    assert record["details"]["method"] in {"dynamic", "static"}
    assert "tokens/s: dynamic" in result.err
    assert "Keeping" in result.err
    assert "x the speed of onnx:fp32 here" in result.err
    fp32, fp16, int8 = (
        (own_gentle / "onnx" / f"encoder{kind}.onnx").stat().st_size
        for kind in ("", ".fp16", ".int8")
    )
    assert fp16 < fp32
    if record["details"]["method"] == "dynamic":
        # Static, whichever is faster here, has a scale and conversions around every operation:
        # more bytes than the weights of so small an encoder save.
        assert int8 < fp32
    rounded = onnx.load(own_gentle / "onnx" / "encoder.int8.onnx").graph.initializer
    assert {onnx.TensorProto.INT8, onnx.TensorProto.UINT8} & {item.data_type for item in rounded}
    for backend in ("onnx:int8", "onnx:fp16"):
        succeed("predict", own_gentle, "--backend", backend, "原告请求支付货款。")


def test_layers_that_break_parity_stay_in_float_one_after_the_other(
    own_gentle, corpus, monkeypatch
):
    from dataclasses import replace

    from longform.export.context import ExportContext

    judge = ExportContext.judge

    def refuse_until_four_are_left(self, target, backend, details=None):
        record = judge(self, target, backend, details)
        if len((details or {}).get("layers_in_float", "1234")) >= 4:
            return record
        self.records[target] = replace(record, passed=False)
        return self.records[target]

    monkeypatch.setattr(ExportContext, "judge", refuse_until_four_are_left)
    result = export(own_gentle, corpus, "int8-static")
    assert result.status == 0, result.err
    left = result.json["targets"]["onnx:int8"]["details"]["layers_in_float"]
    assert len(left) == 4
    assert all(name in result.err for name in left)
    assert "in float, since int8 broke parity" in result.err
    import onnx

    graph = onnx.load(own_gentle / "onnx" / "encoder.int8.onnx").graph
    floats = [item for item in graph.initializer if item.data_type == 1 and len(item.dims) == 2]
    assert sum(tuple(item.dims) in {(16, 16), (16, 32), (32, 16)} for item in floats) == 4


def test_an_int8_that_was_trained_for_is_not_replaced(own_gentle, corpus):
    from longform.bundle import extending_bundle
    from longform.export.quantized import TRAINED

    with extending_bundle(load_bundle(own_gentle), own_gentle) as folder:
        parity = json.loads((folder / "parity.json").read_text())
        record = dict(parity["targets"]["onnx:fp32"], details={"method": TRAINED})
        parity["targets"]["onnx:int8"] = record
        (folder / "parity.json").write_text(json.dumps(parity))
    result = export(own_gentle, corpus, "int8")
    assert result.status == 2
    assert "is not replaced by a rounded one" in result.err


def test_packages_of_torch_give_the_answers_without_transformers(own_gentle, corpus):
    result = export(own_gentle, corpus, "torch", "torchscript")
    assert result.status == 0, result.err
    texts = ("原告请求支付货款。", "短。")
    answers = [
        succeed("predict", own_gentle, "--backend", backend, "--json", *texts).json
        for backend in ("onnx:fp32", "torch-export", "torchscript")
    ]
    scores = [[item["score"] for item in answer["predictions"]] for answer in answers]
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
    assert scores[2] == pytest.approx(scores[0], abs=1e-4)
    import zipfile

    with zipfile.ZipFile(own_gentle / "torch" / "encoder.pt2") as archive:
        examples = [item for item in archive.infolist() if "/sample_inputs/" in item.filename]
        assert [item.file_size for item in examples] == [0]
        configs = [name for name in archive.namelist() if name.endswith("_config.json")]
        assert configs
        assert not any(b'"use_pickle": true' in archive.read(name) for name in configs)


def test_a_package_with_something_pickled_is_not_loaded(tmp_path):
    import zipfile

    from longform.backends.torch_package import ExportedBackend, PackageFiles
    from longform.errors import BundleError

    path = tmp_path / "encoder.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data/sample_inputs/model.pt", b"cos")
    with pytest.raises(BundleError, match="nothing pickled"):
        ExportedBackend(PackageFiles(path, path))


def test_one_changed_bit_is_refused_with_the_file_named(own):
    path = own / "onnx" / "encoder.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    message = refused(run("predict", own, "短文"))
    assert "onnx/encoder.onnx" in message


def test_a_target_that_nobody_knows_is_refused_with_those_that_there_are(own, corpus):
    result = export(own, corpus, "openvimo")
    assert result.status == 2
    assert "'openvimo'" in result.err
    assert "Choose of onnx" in result.err
