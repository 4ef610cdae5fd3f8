"""Rates by depth, decay by kind, and schedules, each by its values."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

from longform.config import RunConfig
from longform.models import LongTextClassifier, LongTextConfig
from longform.reporting import Reporter
from longform.training.arguments import learning_rates
from longform.training.optimizer import (
    PlateauWithWarmUp,
    Rates,
    build_optimizer,
    build_scheduler,
    parameter_groups,
)


class Listener(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def classifier(encoder: nn.Module, **settings) -> LongTextClassifier:
    config = LongTextConfig(
        encoder=encoder.config.model_type,
        encoder_config=encoder.config.to_dict(),
        num_labels=2,
        **settings,
    )
    return LongTextClassifier(config, encoder)


def bert(layers: int = 3) -> BertModel:
    config = BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=16,
    )
    return BertModel(config, add_pooling_layer=False)


def gpt2() -> GPT2Model:
    return GPT2Model(GPT2Config(vocab_size=20, n_embd=8, n_layer=2, n_head=2, n_positions=16))


def by_name(model: nn.Module, rates: Rates) -> dict[str, tuple[float, float]]:
    """Rate and decay of each parameter."""
    groups = parameter_groups(model, rates, weight_decay=0.01)
    names = {id(value): name for name, value in model.named_parameters()}
    return {
        names[id(value)]: (group["lr"], group["weight_decay"])
        for group in groups
        for value in group["params"]
    }


def test_each_layer_learns_slower_than_the_one_above_it():
    model = classifier(bert())
    found = by_name(model, Rates(encoder=1e-4, head=1e-3, layer_decay=0.5))
    assert set(found) == {name for name, _ in model.named_parameters()}
    layer = "encoder.model.encoder.layer.{}.attention.self.query.weight"
    assert [found[layer.format(n)][0] for n in range(3)] == pytest.approx([2.5e-5, 5e-5, 1e-4])
    for part in ("word", "position", "token_type"):
        rate, _ = found[f"encoder.model.embeddings.{part}_embeddings.weight"]
        assert rate == pytest.approx(1.25e-5)
    assert {rate for name, (rate, _) in found.items() if name.startswith("head.")} == {1e-3}


def test_the_rate_that_is_set_is_the_one_that_is_logged():
    groups = parameter_groups(classifier(bert()), Rates(1e-4, 1e-3, 0.5), 0.01)
    assert groups[0]["lr"] == 1e-4
    assert sum(len(group["params"]) for group in groups) == len(
        list(classifier(bert()).parameters())
    )


def test_decoders_have_depths_too():
    found = by_name(classifier(gpt2()), Rates(encoder=1e-4, head=1e-3, layer_decay=0.5))
    assert found["encoder.model.h.0.attn.c_attn.weight"][0] == pytest.approx(5e-5)
    assert found["encoder.model.h.1.attn.c_attn.weight"][0] == pytest.approx(1e-4)
    assert found["encoder.model.wte.weight"][0] == pytest.approx(2.5e-5)
    # The normalisation after the last layer belongs to the top.
    assert found["encoder.model.ln_f.weight"][0] == pytest.approx(1e-4)


def test_biases_and_normalisation_do_not_decay_and_all_else_does():
    model = classifier(bert(), aggregator="lstm")
    found = by_name(model, Rates(1e-4, 1e-3))
    for name, value in model.named_parameters():
        assert found[name][1] == (0.01 if value.ndim > 1 else 0.0), name
    assert found["head.normalization.weight"][1] == 0.0
    assert found["encoder.model.encoder.layer.0.output.LayerNorm.weight"][1] == 0.0


def test_frozen_parameters_are_in_no_group():
    model = classifier(bert())
    model.encoder.requires_grad_(requires_grad=False)
    assert all(name.startswith("head.") for name in by_name(model, Rates(1e-4, 1e-3)))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Rates(5e-3, 5e-3)),
        ({"encoder": "x"}, Rates(5e-5, 1e-3, 0.9)),
        ({"encoder": "x", "learning_rate": 2e-3}, Rates(2e-3, 2e-3, 0.9)),
        (
            {"encoder": "x", "learning_rate": 2e-5, "head_learning_rate": 5e-5},
            Rates(2e-5, 5e-5, 0.9),
        ),
        ({"encoder": "x", "layer_learning_rate_decay": 1.0}, Rates(5e-5, 1e-3, 1.0)),
        ({"encoder": "x", "frozen": True}, Rates(1e-3, 1e-3)),
        ({"encoder": "x", "lora": True}, Rates(5e-4, 1e-3, 1.0)),
        ({"encoder": "lstm"}, Rates(1e-3, 1e-3)),
    ],
)
def test_rates_follow_what_is_trained(settings, expected):
    assert learning_rates(RunConfig(**settings)) == expected


# Schedules


def schedule(steps: int = 100, **settings):
    parameters = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    groups = [{"params": [parameters[0]], "lr": 1.0}, {"params": [parameters[1]], "lr": 0.1}]
    config = RunConfig(**settings)
    optimizer = build_optimizer(groups, config)
    listener = Listener()
    return optimizer, build_scheduler(optimizer, config, steps, listener), listener


def values(steps: int = 100, **settings) -> list[float]:
    optimizer, scheduler, _ = schedule(steps, **settings)
    found = []
    for _ in range(steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        assert optimizer.param_groups[1]["lr"] == pytest.approx(0.1 * found[-1])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("linear", {0: 0.0, 10: 0.5, 20: 1.0, 60: 0.5, 100: 0.0}),
        ("cosine", {0: 0.0, 10: 0.5, 20: 1.0, 60: 0.5, 100: 0.0}),
        ("constant", {0: 0.0, 10: 0.5, 20: 1.0, 100: 1.0}),
        ("constant_with_warmup", {0: 0.0, 10: 0.5, 20: 1.0, 100: 1.0}),
    ],
)
def test_all_schedules_warm_up_and_each_goes_its_way(kind, expected):
    found = values(lr_scheduler_type=kind, warmup_steps=20)
    for step, value in expected.items():
        assert found[step] == pytest.approx(value, abs=1e-9), step


def test_s2_19_a_hundred_steps_of_warm_up_then_linear():
    found = values(400, warmup_steps=100)
    assert [found[step] for step in (0, 50, 100, 400)] == pytest.approx([0, 0.5, 1, 0])


def test_a_warm_up_that_is_too_long_is_shortened_and_said():
    _, _, listener = schedule(40, warmup_steps=500)
    assert listener.lines == [
        "Warm-up: 20 steps, half of the 40 of this run, instead of 500 (warmup_steps)."
    ]
    assert values(40, warmup_steps=500)[20] == pytest.approx(1.0)
    assert schedule(40, warmup_steps=0.1)[2].lines == []


def test_on_a_plateau_the_rate_falls_after_the_warm_up():
    settings = {"factor": 0.5, "patience": 1}
    optimizer, scheduler, _ = schedule(
        warmup_steps=4, lr_scheduler_type="reduce_lr_on_plateau", lr_scheduler_kwargs=settings
    )
    assert isinstance(scheduler, PlateauWithWarmUp)
    found = []
    for _ in range(6):
        found.append(optimizer.param_groups[0]["lr"])
        scheduler.advance()
    assert found == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1])
    for loss, rate in ((1.0, 1.0), (0.9, 1.0), (0.95, 1.0), (0.95, 0.5), (0.95, 0.5), (1.0, 0.25)):
        scheduler.step(loss)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)
        assert optimizer.param_groups[1]["lr"] == pytest.approx(0.1 * rate)


def test_a_plateau_of_a_figure_that_should_grow_is_one_of_no_growth():
    optimizer, _, _ = schedule()
    config = RunConfig(lr_scheduler_type="reduce_lr_on_plateau", warmup_steps=0)
    scheduler = build_scheduler(optimizer, config, 10, Reporter(), metric="macro_f1")
    before = optimizer.param_groups[0]["lr"]
    for figure in (0.5, 0.6, 0.7, 0.8):
        scheduler.step(figure)
    assert optimizer.param_groups[0]["lr"] == before
    for figure in (0.8, 0.8):
        scheduler.step(figure)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * before)


def test_r35_a_plateau_is_continued_where_it_was():
    settings = {"warmup_steps": 4, "lr_scheduler_type": "reduce_lr_on_plateau"}
    _, scheduler, _ = schedule(**settings)
    for _ in range(3):
        scheduler.advance()
    optimizer, again, _ = schedule(**settings)
    again.load_state_dict(scheduler.state_dict())
    again.advance()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1.0)
