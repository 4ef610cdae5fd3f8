"""Quantisation-aware training ends in an ONNX file in int8 that gives what training gave."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_runs import succeed, train

TINY = (
    "aggregator=mean", "segment_length=32", "report_to=[]", "max_train_segments=2",
    "num_train_epochs=2", "learning_rate=0.002", "quantization_aware=true", "device=cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def aware(own_folders, corpus, encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("aware") / "model"
    result = train(corpus, folder, *TINY, options=("--encoder", encoder))
    assert result.status == 0, result.err
    return folder, result


def test_bundle_has_an_int8_encoder_of_integer_products(aware, tmp_path):
    import onnx
    import onnxruntime

    folder, result = aware
    path = folder / "onnx" / "encoder.int8.onnx"
    graph = onnx.load(path).graph
    integers = {item.name: item for item in graph.initializer if item.data_type == 3}
    # Six linear layers in each of two layers, and the token embeddings.
    assert sum(len(item.dims) == 2 for item in integers.values()) == 13
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("DequantizeLinear") >= 12 + 4 * 2
    floats = [item for item in graph.initializer if item.data_type == 1 and len(item.dims) == 2]
    assert sum(np.prod(item.dims) for item in floats) < 64 * 16 + 2 * 16 + 300
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(str(path), options)
    fused = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert fused.count("MatMulIntegerToFloat") == 12
    description = json.loads((folder / "longform.json").read_text())
    sizes = description["training"]["quantization"]
    assert sizes["file_bytes"] == path.stat().st_size
    assert 0.5 < sizes["int8_parameters"] / sizes["parameters"] < 1
    assert "12 linear layers and the token embeddings" in result.err
    assert "x the speed of onnx:fp32 here" in result.err


def test_int8_is_measured_by_the_gate_and_can_be_asked_for(aware, corpus):
    folder, result = aware
    record = result.json["parity"]["onnx:int8"]
    assert record["passed"]
    assert record == json.loads((folder / "parity.json").read_text())["targets"]["onnx:int8"]
    assert 0 < record["largest_logit_difference"] < 0.5
    figures = succeed("evaluate", folder, "--data", corpus.test, "--backend", "onnx:int8", "--json")
    reference = succeed("evaluate", folder, "--data", corpus.test, "--backend", "onnx", "--json")
    assert abs(figures.json["accuracy"] - reference.json["accuracy"]) <= 2 / 18


def test_int8_file_computes_what_training_computed(tmp_path, encoder):
    """And is nearer to the model than weights and inputs rounded without training for it."""
    import torch
    from transformers import AutoModel

    from longform.backends.onnx import open_session
    from longform.export.quantized import export_quantized_encoder
    from longform.models import LongTextClassifier, LongTextConfig
    from longform.models.fake_quantization import (
        make_quantization_aware,
        quantization_aware_layers,
        settle,
    )

    inner = AutoModel.from_pretrained(encoder, add_pooling_layer=False)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in inner.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    config = LongTextConfig(
        encoder="bert", encoder_config=inner.config.to_dict(), segment_length=32
    )
    model = LongTextClassifier(config, inner)
    ids = torch.randint(4, inner.config.vocab_size, (16, 20))
    mask = torch.ones_like(ids)
    target = model.eval().encode(ids, mask).detach()
    make_quantization_aware(model.encoder.model)
    losses = []
    optimizer = torch.optim.Adam(model.encoder.parameters(), lr=3e-4)
    for dropout in (layer for layer in model.modules() if isinstance(layer, torch.nn.Dropout)):
        dropout.p = 0
    model.train()
    for _ in range(100):
        loss = (model.encode(ids, mask) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        for layer in quantization_aware_layers(model):
            layer.end_step()
    model.eval()
    with torch.inference_mode():
        aware = model.encode(ids, mask).numpy()
    rounding = settle(model.encoder.model)
    export_quantized_encoder(model, rounding, tmp_path / "int8.onnx")
    found = open_session(tmp_path / "int8.onnx", 1).run(
        None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    )[0]
    np.testing.assert_allclose(found, aware, atol=2e-5)
    # The first loss is that of rounding a model that was not trained for it.
    assert losses[-1] < 0.7 * losses[0]
    assert np.square(found - target.numpy()).mean() < 0.7 * losses[0]
