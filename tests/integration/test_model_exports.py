"""The parts of a model through ONNX at opset 18, over a grid of shapes, against torch."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))

from test_pretrained_encoders import classifier

from longform.export.onnx import export_encoder, export_head
from longform.models import LongTextClassifier, LongTextConfig

SCRATCH = {
    "vocabulary_size": 60,
    "encoder_hidden": 8,
    "encoder_layers": 2,
    "encoder_heads": 2,
    "linformer_k": 6,
    "segment_length": 64,
}
HEADS = {
    "lstm": {"aggregator_layers": 2},
    "gru": {"aggregator_layers": 2},
    "transformer": {"aggregator_layers": 2},
    "concat": {"max_segments": 4},
}


def build(**settings) -> LongTextClassifier:
    torch.manual_seed(0)
    values = {"num_labels": 3, "aggregator_hidden": 8, "aggregator_heads": 2} | SCRATCH | settings
    return LongTextClassifier(LongTextConfig(**values)).eval()


@pytest.mark.parametrize("aggregator", HEADS)
def test_r50_a_head_gives_the_same_logits_at_any_number_of_documents_and_segments(
    aggregator, tmp_path
):
    model = build(aggregator=aggregator, bag_dimension=6, **HEADS[aggregator])
    for parameter in model.head.place.parameters():
        nn.init.normal_(parameter, std=0.5)
    path = tmp_path / "head.onnx"
    export_head(model, path)
    session = onnxruntime.InferenceSession(path)
    for documents, segments in ((1, 1), (2, 3), (4, 4), (3, 9), (1, 40)):
        vectors = torch.randn(documents, segments, 6)
        mask = torch.ones(documents, segments)
        mask[-1, segments // 2 :] = 0
        positions = torch.rand(documents, segments, 4)
        positions[..., 0] = torch.arange(segments)
        with torch.inference_mode():
            expected = model.head(vectors, mask, positions).numpy()
        names = ("segment_vectors", "segment_mask", "segment_positions")
        fed = {
            name: part.numpy() for name, part in zip(names, (vectors, mask, positions), strict=True)
        }
        found = session.run(["logits"], fed)[0]
        # With one segment, the last document is nothing but padding.
        assert np.isfinite(found).all()
        assert np.abs(found - expected).max() <= 1e-5


def test_recurrent_weights_are_constants_which_compilers_of_accelerators_ask_for(tmp_path):
    import onnx

    path = tmp_path / "head.onnx"
    export_head(build(aggregator="lstm", bag_dimension=6), path)
    graph = onnx.load(path).graph
    constants = {value.name for value in graph.initializer}
    layers = [node for node in graph.node if node.op_type == "LSTM"]
    assert len(layers) == 2
    assert all(set(node.input[1:4]) <= constants for node in layers)


def reads_alike(model: LongTextClassifier, path: Path, longest: int = 64) -> None:
    export_encoder(model, path)
    session = onnxruntime.InferenceSession(path)
    generator = torch.Generator().manual_seed(0)
    for segments, tokens in ((1, 1), (1, 5), (2, 24), (5, 33), (3, longest)):
        ids = torch.randint(3, 60, (segments, tokens), generator=generator)
        mask = torch.ones_like(ids)
        mask[-1, max(1, tokens - 9) :] = 0
        with torch.inference_mode():
            expected = model.encode(ids, mask).numpy()
        fed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        found = session.run(["segment_vector"], fed)[0]
        assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("encoder", ["lstm", "linformer"])
def test_r50_an_encoder_trained_from_nothing_reads_alike_at_any_length(encoder, tmp_path):
    pooling = "last" if encoder == "lstm" else "max"
    reads_alike(build(encoder=encoder, token_pooling=pooling), tmp_path / "encoder.onnx")


def test_r50_a_table_of_token_vectors_reads_alike_at_any_length(tmp_path):
    model = build(encoder="static", static_dimension=8)
    # Tokens that weigh nothing, as special ones do, and lighter ones than any other.
    model.encoder.token_weights.copy_(torch.linspace(0.0, 1.0, 60) ** 4)
    model.encoder.token_weights[3:9] = 0.0
    reads_alike(model, tmp_path / "encoder.onnx", longest=200)


@pytest.mark.parametrize("kind", ["longformer", "modernbert", "gpt2", "qwen2", "llama"])
def test_r50_a_pretrained_encoder_reads_alike_at_any_length(kind, tmp_path):
    reads_alike(classifier(kind), tmp_path / "encoder.onnx")
