"""Quantisation-aware layers: int8's grid, ranges that move between steps, plain layers after."""

from __future__ import annotations

import copy

import pytest
import tiny_tokenizers
import torch
from tiny_encoders import hidden_states, tiny_encoder
from torch import nn

from longform.config import RunConfig
from longform.errors import ConfigError
from longform.models import LongTextClassifier, LongTextConfig
from longform.models.fake_quantization import (
    QuantizationAwareEmbedding,
    QuantizationAwareLinear,
    make_quantization_aware,
    quantization_aware_layers,
    round_rows,
    settle,
)
from longform.reporting import Reporter
from longform.training.quantization import start_quantization

TOKENIZER = tiny_tokenizers.word_pieces()


def aware_linear(inputs=6, outputs=4):
    torch.manual_seed(0)
    return QuantizationAwareLinear(nn.Linear(inputs, outputs))


def test_weights_lie_on_their_rows_grid_of_127_values():
    layer = aware_linear()
    weight, scale = layer.rounded_weight(), layer.weight_scale()
    integers = weight / scale.unsqueeze(1)
    assert torch.allclose(integers, integers.round(), atol=1e-4)
    assert torch.equal(integers.abs().amax(dim=1).round(), torch.full((4,), 63.0))
    assert ((weight - layer.weight).abs() <= scale.unsqueeze(1) / 2 + 1e-7).all()


def test_inputs_are_rounded_to_the_range_seen_with_zero_exact():
    layer = aware_linear()
    layer.train()(torch.tensor([[-1.0, 0.3, 4.1, 0, 0, 0]]))
    scale, zero = layer.eval().input_rounding()
    assert float(scale) == pytest.approx(5.1 / 255)
    assert int(zero) == 50
    values = torch.tensor([[-9.0, 0.0, 9.0, 0.011, 0, 0]])
    rounded = torch.tensor([[-50, 0, 205, 1, 0, 0]]) * scale
    expected = nn.functional.linear(rounded, layer.rounded_weight(), layer.bias)
    assert torch.allclose(layer(values), expected, atol=1e-6)


def test_ranges_move_between_steps_only_and_by_an_average():
    layer = aware_linear().train()
    layer(torch.tensor([[-1.0, 3.0, 0, 0, 0, 0]]))
    layer(torch.tensor([[-2.0, 1.0, 0, 0, 0, 0]]))
    assert (float(layer.low), float(layer.high)) == (-1, 3)
    layer.end_step()
    assert (float(layer.low), float(layer.high)) == (-2, 3)
    layer(torch.tensor([[-4.0, 9.0, 0, 0, 0, 0]]))
    assert (float(layer.low), float(layer.high)) == (-2, 3)
    layer.end_step()
    assert (float(layer.low), float(layer.high)) == (-3, 6)
    for _ in range(500):
        layer(torch.tensor([[-1.0, 1.0, 0, 0, 0, 0]]))
        layer.end_step()
    before = float(layer.high)
    layer(torch.tensor([[0.0, before + 10, 0, 0, 0, 0]]))
    layer.end_step()
    assert float(layer.high) - before == pytest.approx(0.1, rel=1e-4)
    layer.eval()(torch.full((1, 6), 99.0))
    layer.end_step()
    assert float(layer.high) < 2


def test_gradients_go_through_the_rounding_but_not_out_of_range():
    layer = aware_linear().train()
    layer(torch.tensor([[-1.0, 1.0, 0, 0, 0, 0]]))
    values = torch.tensor([[0.3, 5.0, -5.0, 0.1, 0, 0]], requires_grad=True)
    layer(values).sum().backward()
    flowing = layer.rounded_weight().sum(dim=0)
    assert torch.allclose(values.grad[0, [0, 3]], flowing[[0, 3]], atol=1e-6)
    assert values.grad[0, 1] == values.grad[0, 2] == 0
    assert layer.weight.grad.abs().sum() > 0
    rows = QuantizationAwareEmbedding(nn.Embedding(5, 3))
    rows(torch.tensor([1, 1, 4])).sum().backward()
    assert rows.weight.grad.sum(dim=1).tolist() == [0, 6, 0, 0, 3]


def test_rows_of_embeddings_have_a_scale_each():
    rows, scale = round_rows(torch.tensor([[1.27, -0.004, 0.016], [127.0, -0.4, 3.2], [0, 0, 0]]))
    expected = torch.tensor([[1.27, 0.0, 0.02], [127.0, 0.0, 3.0], [0, 0, 0]])
    assert torch.allclose(rows, expected, atol=1e-6)
    assert scale[:2].tolist() == pytest.approx([0.01, 1])


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_settled_encoder_is_plain_again_with_the_weights_of_int8(kind):
    plain = tiny_encoder(TOKENIZER, kind)
    names = {name for name, layer in plain.named_modules() if type(layer) is nn.Linear}
    state = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    encoder = copy.deepcopy(plain)
    assert make_quantization_aware(encoder) == len(names) == 3 * 6
    ids = torch.randint(5, TOKENIZER.vocabulary_size, (4, 12))
    encoder.train()
    hidden = encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    hidden.sum().backward()
    encoder.eval()
    aware = hidden_states(encoder, ids)
    rounding = settle(encoder)
    assert set(rounding) == {*names, "embeddings.word_embeddings"}
    assert encoder.state_dict().keys() == state.keys()
    assert type(encoder.get_input_embeddings()) is nn.Embedding
    assert not list(quantization_aware_layers(encoder))
    for name in names:
        weight, scale = encoder.get_submodule(name).weight, rounding[name].weight_scale
        integers = (weight / scale.unsqueeze(1)).round()
        assert torch.allclose(integers * scale.unsqueeze(1), weight, atol=1e-6)
        assert torch.equal(encoder.get_submodule(name).bias, plain.get_submodule(name).bias)
    # What is left between them is the rounding of inputs.
    settled = hidden_states(encoder, ids)
    assert 0 < (settled - aware).abs().max() < 0.5
    assert not torch.equal(settled, hidden_states(plain, ids))


def test_encoder_without_linear_layers_is_refused():
    config = LongTextConfig(
        encoder="gpt2",
        encoder_config={
            "model_type": "gpt2", "vocab_size": 20, "n_embd": 8, "n_layer": 1, "n_head": 2,
            "hidden_size": 8,
        },
    )  # fmt: skip
    with pytest.raises(ConfigError, match="'gpt2', which has none"):
        start_quantization(LongTextClassifier(config), Reporter())


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, "'bag'"),
        ({"encoder": "x", "frozen": True}, "frozen"),
        ({"encoder": "x", "lora": True}, "lora"),
    ],
)
def test_settings_that_contradict_it_are_refused(settings, found):
    with pytest.raises(ValueError, match=f"quantization_aware.*{found}"):
        RunConfig(quantization_aware=True, **settings)
