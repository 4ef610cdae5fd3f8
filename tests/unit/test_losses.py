from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from longform.config import RunConfig
from longform.training.losses import LossFunction, build_loss

SINGLE, MULTIPLE = "single_label_classification", "multi_label_classification"
WEIGHTS = np.array([0.2, 3.0, 1.0, 0.7], dtype=np.float32)


def outputs(rows: int = 7, classes: int = 4):
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(logits=2 * torch.randn(rows, classes, generator=generator))


def labels_for(problem: str, rows: int = 7, classes: int = 4) -> torch.Tensor:
    if problem == SINGLE:
        return torch.arange(rows) % classes
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(rows, classes, generator=generator) < 0.4).float()


def loss_for(problem: str, weighted: bool = False, **settings) -> LossFunction:
    return build_loss(RunConfig(**settings), problem, WEIGHTS if weighted else None)


VARIANTS = [
    pytest.param(problem, weighted, settings, id=f"{problem[:6]}-{weighted}-{settings}")
    for problem in (SINGLE, MULTIPLE)
    for weighted in (False, True)
    for settings in (
        {},
        {"focal_gamma": 2.0},
        {"label_smoothing_factor": 0.1},
        {"focal_gamma": 0.5, "label_smoothing_factor": 0.2},
    )
]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_loss_of_one_label_is_that_of_torch(smoothing):
    output, labels = outputs(), labels_for(SINGLE)
    expected = nn.functional.cross_entropy(output.logits, labels, label_smoothing=smoothing)
    found = loss_for(SINGLE, label_smoothing_factor=smoothing)(output, labels)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_several_labels_is_that_of_torch(weighted):
    output, labels = outputs(), labels_for(MULTIPLE)
    expected = nn.functional.binary_cross_entropy_with_logits(
        output.logits, labels, pos_weight=torch.tensor(WEIGHTS) if weighted else None
    )
    found = loss_for(MULTIPLE, weighted)(output, labels)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


def test_label_smoothing_spreads_its_share_over_all_classes():
    output, labels = outputs(), labels_for(SINGLE)
    logs = torch.log_softmax(output.logits, dim=-1)
    own = logs[torch.arange(7), labels]
    expected = -(0.8 * own + 0.2 * logs.mean(dim=-1)).mean()
    found = loss_for(SINGLE, label_smoothing_factor=0.2)(output, labels)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


def test_label_smoothing_of_several_labels_moves_answers_towards_a_half():
    compute = loss_for(MULTIPLE, label_smoothing_factor=0.2)
    labels = torch.tensor([[1.0, 0.0]])
    logits = torch.tensor([[2.0, -2.0]], requires_grad=True)
    compute(SimpleNamespace(logits=logits), labels).backward()
    expected = torch.sigmoid(logits.detach()) - torch.tensor([[0.9, 0.1]])
    assert torch.allclose(logits.grad, expected / 2)


def test_a_document_counts_as_much_as_its_class_weighs():
    output, labels = outputs(), labels_for(SINGLE)
    plain = loss_for(SINGLE).per_document(output.logits, labels)
    weighted = loss_for(SINGLE, weighted=True).per_document(output.logits, labels)
    assert torch.allclose(weighted, plain * torch.tensor(WEIGHTS)[labels])


@pytest.mark.parametrize(("problem", "weighted", "settings"), VARIANTS)
def test_focal_with_gamma_zero_is_the_cross_entropy(problem, weighted, settings):
    output, labels = outputs(), labels_for(problem)
    compute = loss_for(problem, weighted, **(settings | {"focal_gamma": 1e-9}))
    plain = loss_for(problem, weighted, **(settings | {"focal_gamma": 0.0}))
    assert compute(output, labels).item() == pytest.approx(plain(output, labels).item(), abs=1e-6)


def test_the_focal_loss_of_a_document_is_that_of_its_paper():
    output, labels = outputs(), labels_for(SINGLE)
    own = torch.softmax(output.logits, dim=-1)[torch.arange(7), labels]
    expected = -((1 - own) ** 2) * own.log()
    found = loss_for(SINGLE, focal_gamma=2.0).per_document(output.logits, labels)
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_focal_loss_of_a_label_is_that_of_its_paper():
    output, labels = outputs(), labels_for(MULTIPLE)
    yes = torch.sigmoid(output.logits)
    right = torch.where(labels > 0, yes, 1 - yes)
    expected = (-((1 - right) ** 2) * right.log()).sum(dim=-1)
    found = loss_for(MULTIPLE, focal_gamma=2.0).per_document(output.logits, labels)
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("problem", [SINGLE, MULTIPLE])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_r31_certain_answers_give_finite_losses_and_gradients(problem, gamma):
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    labels = torch.tensor([0, 0]) if problem == SINGLE else torch.tensor([[1.0, 0.0]] * 2)
    loss = loss_for(problem, focal_gamma=gamma)(SimpleNamespace(logits=logits), labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1].abs().max() > 0.1


@pytest.mark.parametrize(("problem", "weighted", "settings"), VARIANTS)
@pytest.mark.parametrize("parts", [[4, 3], [2, 2, 2, 1], [1] * 7])
def test_b37_gradients_of_parts_add_up_to_those_of_the_whole(problem, weighted, settings, parts):
    compute = loss_for(problem, weighted, **settings)
    labels = labels_for(problem)

    def gradient(sizes: list[int]) -> torch.Tensor:
        logits = outputs().logits.requires_grad_()
        rows = logits.split(sizes)
        for part, own in zip(rows, labels.split(sizes), strict=True):
            # The Trainer counts the labels that are not -100, which is all of them.
            compute(SimpleNamespace(logits=part), own, num_items_in_batch=labels.numel()).backward()
        return logits.grad

    whole = outputs().logits.requires_grad_()
    compute(SimpleNamespace(logits=whole), labels).backward()
    assert whole.grad.abs().max() > 1e-3
    assert torch.allclose(gradient(parts), whole.grad, atol=1e-7)


def test_logits_of_half_precision_are_summed_in_full():
    output, labels = outputs(), labels_for(SINGLE)
    found = loss_for(SINGLE).per_document(output.logits.bfloat16(), labels)
    assert found.dtype == torch.float32
