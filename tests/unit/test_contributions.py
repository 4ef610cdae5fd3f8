"""Heads that are sums: what the segments add, and what is of none of them, is the logits."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from longform.backends.contributions import OnnxContributions
from longform.export.contributions import check_contributions
from longform.export.onnx import export_head
from longform.models import LongTextClassifier, LongTextConfig
from longform.models.contributions import Contributions, is_sum


def classifier(aggregator: str, **settings: object) -> LongTextClassifier:
    torch.manual_seed(0)
    sizes = {"aggregator_hidden": 8, "aggregator_heads": 3, "max_segments": 9, "num_labels": 4}
    config = LongTextConfig(
        encoder="bag",
        vocabulary_size=40,
        bag_dimension=12,
        bag_buckets=17,
        aggregator=aggregator,
        **sizes | settings,
    )
    model = LongTextClassifier(config).eval()
    # Places start without effect, and would hide a term that forgets them.
    torch.nn.init.normal_(model.head.place.modulation.weight)
    torch.nn.init.normal_(model.head.classifier.bias)
    return model


def documents(width: int = 12):
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(3, 7)
    mask[1, 4:] = mask[2, 1:] = 0
    vectors = torch.randn(3, 7, width, generator=generator)
    return vectors, mask, torch.rand(3, 7, 4, generator=generator)


@pytest.mark.parametrize("aggregator", ["mean", "attention", "max", "concat"])
@pytest.mark.parametrize("settings", [{}, {"num_labels": 2, "binary_logits": 1}])
def test_contributions_sum_to_the_logits(aggregator, settings):
    model = classifier(aggregator, problem_type="single_label_classification", **settings)
    assert model.head.one_logit == bool(settings)
    arguments = documents()
    with torch.inference_mode():
        logits = model.head(*arguments)
        parts, base = Contributions(model.head).eval()(*arguments)
    assert torch.allclose(parts.sum(dim=1) + base, logits, atol=1e-5)
    assert parts[1, 4:].abs().max() == 0
    assert parts[2, 1:].abs().max() == 0


@pytest.mark.parametrize("aggregator", ["lstm", "gru", "transformer"])
def test_heads_that_mix_segments_are_no_sum(aggregator):
    model = classifier(aggregator, aggregator_heads=2)
    assert not is_sum(model.head)


def test_pairs_are_no_sum():
    assert not is_sum(classifier("mean", text_pair=True).head)


@pytest.mark.parametrize("aggregator", ["mean", "attention", "max", "concat"])
def test_the_exported_split_is_that_of_the_model(aggregator, tmp_path):
    model = classifier(aggregator)
    path = tmp_path / "contributions.onnx"
    export_head(model, tmp_path / "head.onnx", path)
    check_contributions(model, path)
    vectors, mask, positions = documents()
    with torch.inference_mode():
        parts, base = Contributions(model.head).eval()(vectors, mask, positions)
    found = OnnxContributions(path)(vectors[1, :4].numpy(), positions[1, :4].numpy())
    assert np.allclose(found.contributions, parts[1, :4], atol=1e-5)
    assert np.allclose(found.base, base[1].detach(), atol=1e-6)
    # The file of the head is the one that it would be alone.
    inputs = {"segment_vectors": vectors, "segment_mask": mask, "segment_positions": positions}
    session = onnxruntime.InferenceSession(tmp_path / "head.onnx")
    assert [output.name for output in session.get_outputs()] == ["logits"]
    (logits,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    with torch.inference_mode():
        assert np.allclose(logits, model.head(vectors, mask, positions), atol=1e-5)
