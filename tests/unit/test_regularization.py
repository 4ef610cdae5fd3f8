from __future__ import annotations

import copy
import math

import pytest
import torch
from transformers import BertConfig, BertModel

from longform.config import ModelSettings, RunConfig
from longform.models import LongTextClassifier, LongTextConfig
from longform.training.adapters import add_adapters
from longform.training.losses import build_loss
from longform.training.regularization import (
    Adversary,
    consistent_loss,
    symmetric_divergence,
    token_embeddings,
)

SINGLE, MULTIPLE = "single_label_classification", "multi_label_classification"


def bert(dropout: float = 0.0) -> LongTextClassifier:
    torch.manual_seed(0)
    values = BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=20,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    config = LongTextConfig(
        encoder="bert", encoder_config=values.to_dict(), dropout=dropout, num_labels=3
    )
    return LongTextClassifier(config, BertModel(values, add_pooling_layer=False)).train()


def bag() -> LongTextClassifier:
    torch.manual_seed(0)
    return LongTextClassifier(
        LongTextConfig(
            vocabulary_size=30,
            bag_dimension=6,
            bag_buckets=101,
            bag_token_dropout=0.0,
            dropout=0.0,
            num_labels=3,
        )
    ).train()


def batch(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, 30, (3, 2, 6), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.arange(3)}


def backward(model: LongTextClassifier, seed: int = 0) -> None:
    model(**batch(seed)).loss.backward()


def attack(model: LongTextClassifier, adversary: Adversary, seed: int = 0) -> None:
    """One micro-step with its second pass."""
    adversary.step(lambda: backward(model, seed))


def gradients(model: LongTextClassifier) -> dict[str, torch.Tensor]:
    return {n: item.grad.clone() for n, item in model.named_parameters() if item.grad is not None}


def test_the_divergence_of_one_label_is_that_by_hand():
    # Odds of 1 to 1 against 3 to 1.
    first, second = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])
    forwards = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    backwards = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    found = symmetric_divergence(first, second, several_labels=False)
    assert found.tolist() == pytest.approx([(forwards + backwards) / 2], abs=1e-6)


def test_the_divergence_of_several_labels_is_the_sum_of_those_of_each():
    first, second = torch.tensor([[0.0, 1.0]]), torch.tensor([[math.log(3.0), -2.0]])
    expected = 0.0
    for row, other in zip(first[0].tolist(), second[0].tolist(), strict=True):
        p, q = 1 / (1 + math.exp(-row)), 1 / (1 + math.exp(-other))
        expected += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
        expected += q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
    found = symmetric_divergence(first, second, several_labels=True)
    assert found.tolist() == pytest.approx([expected / 2], abs=1e-6)


def test_sure_answers_diverge_by_a_finite_number():
    first, second = torch.tensor([[300.0, -300.0]]), torch.tensor([[-300.0, 300.0]])
    for several in (False, True):
        found = symmetric_divergence(first, second, several_labels=several)
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("problem", [SINGLE, MULTIPLE])
def test_the_loss_is_the_mean_of_two_passes_and_the_weighted_divergence(problem):
    torch.manual_seed(0)
    first, second = torch.randn(2, 5, 3).unbind()
    several = problem == MULTIPLE
    labels = torch.rand(5, 3).round() if several else torch.arange(5) % 3
    loss = build_loss(RunConfig(focal_gamma=1.0), problem)
    found = consistent_loss(loss, 0.7, (first, second), labels)
    mean = (loss.per_document(first, labels) + loss.per_document(second, labels)) / 2
    divergence = symmetric_divergence(first, second, several_labels=several)
    torch.testing.assert_close(found, mean + 0.7 * divergence)
    assert found.shape == (5,)


def test_without_dropout_two_passes_do_not_diverge():
    model, loss = bert(dropout=0.0), build_loss(RunConfig(), SINGLE)
    inputs = batch(0)
    first, second = model(**inputs).logits, model(**inputs).logits
    assert symmetric_divergence(first, second, several_labels=False).abs().max() == 0
    found = consistent_loss(loss, 5.0, (first, second), inputs["labels"])
    torch.testing.assert_close(found, loss.per_document(first, inputs["labels"]))


def test_with_dropout_they_do():
    model, inputs = bert(dropout=0.3), batch(0)
    first, second = model(**inputs).logits, model(**inputs).logits
    assert (symmetric_divergence(first, second, several_labels=False) > 1e-5).all()


@pytest.mark.parametrize("build", [bert, bag])
def test_fgm_adds_the_gradient_of_an_explicit_second_pass(build):
    model, reference = build(), build()
    attack(model, Adversary(token_embeddings(model), 0.5))

    backward(reference)
    tables = token_embeddings(reference)
    length = torch.cat([table.grad.flatten() for table in tables]).norm()
    first, moves = gradients(reference), [0.5 * table.grad / length for table in tables]
    reference.zero_grad()
    with torch.no_grad():
        for table, move in zip(tables, moves, strict=True):
            table.add_(move)
    backward(reference)
    second = gradients(reference)
    assert max((first[name] - second[name]).abs().max() for name in first) > 1e-4
    for name, found in gradients(model).items():
        torch.testing.assert_close(found, first[name] + second[name])


def test_fgm_restores_weights_bit_for_bit():
    model = bert(dropout=0.1)
    before = copy.deepcopy(model.state_dict())
    attack(model, Adversary(token_embeddings(model), 1.0))
    assert all(torch.equal(item, before[name]) for name, item in model.state_dict().items())


def test_fgm_restores_weights_when_a_pass_fails():
    model = bert()
    before = model.encoder.model.embeddings.word_embeddings.weight.detach().clone()
    adversary = Adversary(token_embeddings(model), 1.0)
    with adversary.watching():
        backward(model)

    def fail() -> None:
        with adversary.attacking():
            assert not torch.equal(token_embeddings(model)[0], before)
            raise MemoryError

    with pytest.raises(MemoryError):
        fail()
    assert torch.equal(token_embeddings(model)[0], before)


def test_the_move_has_the_length_that_was_asked_for_and_raises_the_loss():
    model = bert()
    adversary = Adversary(token_embeddings(model), 0.3)
    with adversary.watching():
        clean = model(**batch(0)).loss
        clean.backward()
    before = token_embeddings(model)[0].detach().clone()
    with adversary.attacking():
        moved = token_embeddings(model)[0].detach() - before
        assert moved.norm().item() == pytest.approx(0.3, rel=1e-4)
        assert model(**batch(0)).loss.item() > clean.item()


def test_fgm_under_accumulation_turns_by_each_micro_batch_alone():
    model = bert()
    adversary = Adversary(token_embeddings(model), 0.5)
    for seed in (0, 1):
        attack(model, adversary, seed)
    expected: dict[str, torch.Tensor] = {}
    for seed in (0, 1):
        alone = bert()
        attack(alone, Adversary(token_embeddings(alone), 0.5), seed)
        for name, gradient in gradients(alone).items():
            expected[name] = expected.get(name, 0) + gradient
    for name, found in gradients(model).items():
        torch.testing.assert_close(found, expected[name])


def test_fgm_moves_a_table_that_lora_leaves_as_it_is():
    model = bert()
    add_adapters(model, ModelSettings(encoder="some", lora=True, lora_r=2))
    before, table = copy.deepcopy(model.state_dict()), token_embeddings(model)[0]
    adversary = Adversary([table], 0.5)
    with adversary.watching():
        backward(model)
    with adversary.attacking():
        assert not torch.equal(table, before["encoder.model.embeddings.word_embeddings.weight"])
        backward(model)
    assert not table.requires_grad
    assert table.grad is None
    assert all(torch.equal(item, before[name]) for name, item in model.state_dict().items())


def test_a_gradient_that_overflowed_gives_no_direction():
    table = torch.nn.Parameter(torch.ones(2, 2))
    adversary = Adversary([table], 1.0)
    for value in (float("inf"), 0.0):
        with adversary.watching():
            (table * torch.tensor(value)).sum().backward()
        with adversary.attacking():
            assert torch.equal(table, torch.ones(2, 2))
