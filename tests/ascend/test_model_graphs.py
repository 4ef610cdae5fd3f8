"""The graphs that the exporter makes of real shapes, held against the compiler's operators."""

from __future__ import annotations

import os

import pytest
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("transformers")
from transformers import AutoModel, BertConfig  # noqa: E402

from longform.errors import GateError  # noqa: E402
from longform.export.ascend.conformance import require_conformance  # noqa: E402
from longform.export.onnx import export_encoder, export_head  # noqa: E402
from longform.models import LongTextClassifier, LongTextConfig  # noqa: E402


def classifier(encoder, weights=None):
    torch.manual_seed(0)
    config = LongTextConfig(
        encoder=encoder["model_type"], encoder_config=encoder, aggregator="lstm",
        aggregator_hidden=64, num_labels=5, segment_length=128,
    )  # fmt: skip
    return LongTextClassifier(config, weights).eval()


def bert_base() -> dict:
    """The shape of BERT base; the rows of its vocabulary change no operator."""
    return BertConfig(vocab_size=2_000).to_dict()


def check(model, folder):
    export_encoder(model, folder / "encoder.onnx")
    export_head(model, folder / "head.onnx")
    for name in ("encoder.onnx", "head.onnx"):
        graph = onnx.load(str(folder / name))
        assert [(one.domain, one.version) for one in graph.opset_import] == [("", 18)]
        require_conformance(name, graph)
        yield graph


@pytest.mark.slow
@pytest.mark.skipif("LONGFORM_SLOW" not in os.environ, reason="set LONGFORM_SLOW=1 to export")
def test_bert_base_uses_operators_that_the_compiler_knows(tmp_path):
    encoder, head = check(classifier(bert_base()), tmp_path)
    kinds = [node.op_type for node in encoder.graph.node]
    assert kinds.count("Softmax") == 12
    assert "LSTM" in {node.op_type for node in head.graph.node}


@pytest.mark.shared
def test_e5_small_uses_operators_that_the_compiler_knows(shared_folder, tmp_path):
    weights = AutoModel.from_pretrained(
        shared_folder / "models/e5-small-zh-en", add_pooling_layer=False
    )
    model = classifier(weights.config.to_dict(), weights)
    encoder, _ = check(model, tmp_path)
    assert [node.op_type for node in encoder.graph.node].count("Softmax") == 12
    # One that the compiler lacks, as an exporter of opset 20 writes it: named with its place.
    node = next(one for one in encoder.graph.node if one.op_type == "Erf")
    node.op_type = "Gelu"
    with pytest.raises(GateError, match=r"Gelu") as caught:
        require_conformance("encoder.onnx", encoder)
    module = "encoder.model.encoder.layer.0.intermediate.dense"
    assert f"{node.name} (of {module})" in str(caught.value)
