"""Attention while training: other kernels, no dropout of its own, the same answers."""

from __future__ import annotations

import pytest
import torch
from test_gradient_cache import batch, tiny_model
from torch import nn

from longform.config import RunConfig
from longform.training.attention import suited_encoder


def shares(model: nn.Module) -> dict[str, float]:
    """Dropout of each module of the encoder."""
    return {
        name: module.p
        for name, module in model.encoder.named_modules()
        if isinstance(module, nn.Dropout)
    }


def test_attention_drops_nothing_and_everything_else_what_it_did():
    model = tiny_model(dropout=0.3)
    before = shares(model)
    with suited_encoder(model, "cpu", RunConfig()):
        within = shares(model)
    attention = {name for name in before if name.endswith("attention.self.dropout")}
    assert len(attention) == 2
    assert {within[name] for name in attention} == {0.0}
    assert all(within[name] == 0.3 for name in before if name not in attention)
    assert shares(model) == before


def test_none_leaves_the_dropout_of_the_encoder():
    model = tiny_model(dropout=0.3)
    with suited_encoder(model, "cpu", RunConfig(attention_dropout=None)):
        assert set(shares(model).values()) == {0.3}


def test_the_rest_of_the_encoder_can_drop_another_share():
    model = tiny_model(dropout=0.3)
    with suited_encoder(model, "cpu", RunConfig(attention_dropout=0.2, encoder_dropout=0.0)):
        within = shares(model)
    assert {share for name, share in within.items() if "attention.self" in name} == {0.2}
    assert {share for name, share in within.items() if "attention.self" not in name} == {0.0}
    assert set(shares(model).values()) == {0.3}


@pytest.mark.parametrize(
    ("device", "length", "expected"),
    [("cpu", 128, "eager"), ("cpu", 512, "sdpa"), ("cuda", 128, "sdpa")],
)
def test_short_segments_on_a_cpu_are_multiplied_out_and_answer_alike(device, length, expected):
    model = tiny_model()
    with torch.no_grad():
        before = model(**batch()).logits
        with suited_encoder(model, device, RunConfig(segment_length=length)):
            assert model.encoder.model.config._attn_implementation == expected
            within = model(**batch()).logits
    assert model.encoder.model.config._attn_implementation == "sdpa"
    torch.testing.assert_close(within, before, rtol=1e-5, atol=1e-6)


def test_a_head_alone_has_no_attention_to_suit():
    with suited_encoder(nn.Linear(2, 2), "cpu", RunConfig()):
        pass
