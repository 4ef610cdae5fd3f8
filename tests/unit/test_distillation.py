from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from longform.config import DistillationSettings, TrainingSettings
from longform.training.distillation import (
    UNLABELLED,
    DistillationLoss,
    TargetColumns,
    VectorHint,
    binary_divergence,
    divergence,
)
from longform.training.losses import build_loss

STUDENT = torch.tensor([[1.0, -0.5, 0.25], [0.0, 2.0, -1.0], [0.3, 0.1, 0.2]])
TEACHER = np.array([[3.0, 0.0, -1.0], [0.5, 1.5, 0.0], [-2.0, 0.0, 2.0]], dtype=np.float32)
CLASSES = np.array([0, 1, 2])
FLAGS = np.array([[True, False, True], [False, True, False], [False, False, False]])
SINGLE = TargetColumns(3, is_multi_label=False)
SEVERAL = TargetColumns(3, is_multi_label=True)


def loss(columns: TargetColumns = SINGLE, hint=None, training=None, **settings) -> DistillationLoss:
    kind = "multi_label_classification" if columns.is_multi_label else "single_label_classification"
    hard = build_loss(training or TrainingSettings(), kind)
    return DistillationLoss(hard, columns, DistillationSettings(**settings), hint)


def targets(columns: TargetColumns, labels, logits=TEACHER, vectors=None) -> torch.Tensor:
    return torch.from_numpy(columns.join(labels, logits, vectors))


def softmax(values) -> list[float]:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def by_hand(student, teacher, label, temperature=2.0, share=0.7) -> float:
    ours = softmax([value / temperature for value in student])
    theirs = softmax([value / temperature for value in teacher])
    kl = sum(p * math.log(p / q) for p, q in zip(theirs, ours, strict=True))
    soft = (1 - share) * kl * temperature**2
    if label is None:
        return soft
    return share * -math.log(softmax(student)[label]) + soft


def test_s2_28_the_loss_is_that_of_a_computation_by_hand():
    # Worked out on paper for one document: 0.7 CE + 0.3 KL T^2 at T = 2.
    student, teacher = torch.tensor([[2.0, 0.0]]), np.array([[4.0, 0.0]], dtype=np.float32)
    columns = TargetColumns(2, is_multi_label=False)
    p, q = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))
    kl = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    expected = 0.7 * math.log1p(math.exp(-2)) + 0.3 * 4 * kl
    found = loss(columns).per_document(student, targets(columns, np.array([0]), teacher))
    assert found.item() == pytest.approx(expected, rel=1e-6)
    assert found.item() == pytest.approx(0.7 * 0.126928 + 0.3 * 4 * (0.164122 - 0.096991), abs=2e-6)


def test_s2_28_defaults_and_every_document_of_a_batch():
    settings = DistillationSettings()
    assert (settings.temperature, settings.hard_share, settings.hidden_weight) == (2.0, 0.7, 0.0)
    expected = [
        by_hand(*row) for row in zip(STUDENT.tolist(), TEACHER.tolist(), CLASSES, strict=True)
    ]
    batch = targets(SINGLE, CLASSES)
    assert loss().per_document(STUDENT, batch).tolist() == pytest.approx(expected, rel=1e-5)
    mean = loss()(SimpleNamespace(logits=STUDENT), batch)
    assert mean.item() == pytest.approx(sum(expected) / 3, rel=1e-5)


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 0.0), (4.0, 0.2), (0.5, 1.0)])
def test_temperature_and_share_are_those_that_are_set(temperature, share):
    found = loss(temperature=temperature, hard_share=share).per_document(
        STUDENT, targets(SINGLE, CLASSES)
    )
    expected = [
        by_hand(*row, temperature, share)
        for row in zip(STUDENT.tolist(), TEACHER.tolist(), CLASSES, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_the_gradient_of_the_soft_part_is_t_times_the_difference_of_softened_answers(temperature):
    student = STUDENT.clone().requires_grad_()
    teacher = torch.from_numpy(TEACHER)
    found = loss(temperature=temperature, hard_share=0.0)
    found.per_document(student, targets(SINGLE, CLASSES)).sum().backward()
    ours, theirs = (torch.softmax(x / temperature, dim=-1) for x in (STUDENT, teacher))
    torch.testing.assert_close(student.grad, temperature * (ours - theirs))


def test_an_unlabelled_document_has_the_teachers_part_alone():
    batch = targets(SINGLE, CLASSES[:1])
    assert batch[1:, 0].tolist() == [UNLABELLED, UNLABELLED]
    found = loss().per_document(STUDENT, batch)
    labels = [0, None, None]
    expected = [
        by_hand(*row) for row in zip(STUDENT.tolist(), TEACHER.tolist(), labels, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    none = loss().per_document(STUDENT, targets(SINGLE, CLASSES[:0]))
    assert none[1:].tolist() == pytest.approx(expected[1:], rel=1e-5)


def test_several_labels_are_compared_one_by_one():
    found = loss(SEVERAL).per_document(STUDENT, targets(SEVERAL, FLAGS[:2]))
    expected = []
    for row, (ours, theirs) in enumerate(zip(STUDENT.tolist(), TEACHER.tolist(), strict=True)):
        total = 0.0
        for column, (x, z) in enumerate(zip(ours, theirs, strict=True)):
            p, q = (1 / (1 + math.exp(-value / 2)) for value in (z, x))
            kl = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
            total += 0.3 * 4 * kl
            if row < 2:
                right = x if FLAGS[row, column] else -x
                total += 0.7 * math.log1p(math.exp(-right))
        expected.append(total)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    mean = loss(SEVERAL)(SimpleNamespace(logits=STUDENT), targets(SEVERAL, FLAGS[:2]))
    # Over documents and classes, as the loss of several labels without a teacher.
    assert mean.item() == pytest.approx(sum(expected) / 9, rel=1e-5)


def test_a_student_that_answers_as_its_teacher_has_no_divergence():
    teacher = torch.from_numpy(TEACHER)
    for diverge in (divergence, binary_divergence):
        assert diverge(teacher, teacher, 2.0).abs().max() < 1e-6
        assert (diverge(STUDENT, teacher, 2.0) > 0).all()
    # Far beyond what exp can hold in float32.
    far = torch.tensor([[400.0, -400.0]])
    for diverge in (divergence, binary_divergence):
        assert torch.isfinite(diverge(-far, far, 1.0)).all()


@pytest.mark.parametrize(("columns", "labels"), [(SINGLE, CLASSES), (SEVERAL, FLAGS)])
def test_accumulated_gradients_are_those_of_the_whole_batch(columns, labels):
    batch = targets(columns, labels[:2])
    whole, parts = (STUDENT.clone().requires_grad_() for _ in range(2))
    minimised = loss(columns)
    minimised(SimpleNamespace(logits=whole), batch).backward()
    for rows in (slice(0, 1), slice(1, 3)):
        # The Trainer counts the elements of `labels` over the group.
        minimised(SimpleNamespace(logits=parts[rows]), batch[rows], batch.numel()).backward()
    torch.testing.assert_close(parts.grad, whole.grad)


@pytest.mark.parametrize(("columns", "labels"), [(SINGLE, CLASSES), (SEVERAL, FLAGS)])
def test_validation_documents_have_the_loss_of_their_labels(columns, labels):
    kind = "multi_label_classification" if columns.is_multi_label else "single_label_classification"
    mere = torch.from_numpy(labels.astype(np.float32) if columns.is_multi_label else labels)
    outputs = SimpleNamespace(logits=STUDENT)
    assert torch.equal(
        loss(columns)(outputs, mere), build_loss(TrainingSettings(), kind)(outputs, mere)
    )


def test_the_loss_of_the_labels_keeps_its_settings():
    training = TrainingSettings(focal_gamma=2.0, label_smoothing_factor=0.1)
    found = loss(training=training, hard_share=1.0).per_document(STUDENT, targets(SINGLE, CLASSES))
    expected = build_loss(training).per_document(STUDENT, torch.from_numpy(CLASSES))
    torch.testing.assert_close(found, expected)


class Head(nn.Module):
    def forward(self, vectors, mask, positions):
        return vectors.sum(dim=1)


def test_a_hint_draws_mean_vectors_to_the_teachers_and_leaves_no_trace():
    columns = TargetColumns(3, is_multi_label=False, vector_size=2)
    wanted = np.array([[1.0, -1.0], [0.5, 0.0]], dtype=np.float32)
    hint = VectorHint(3, 2)
    head = Head()
    before = list(head.state_dict())
    hint.attach(head)
    assert f"{VectorHint.NAME}.projection.weight" in dict(head.named_parameters())
    vectors = torch.randn(2, 2, 3, requires_grad=True)
    mask = torch.tensor([[1, 1], [1, 0]])
    logits = head(vectors, mask, None)
    found = loss(columns, hint, hidden_weight=0.5).per_document(
        logits, targets(columns, CLASSES[:2], TEACHER[:2], wanted)
    )
    without = loss().per_document(logits, targets(SINGLE, CLASSES[:2], TEACHER[:2]))
    means = torch.stack([vectors[0].mean(dim=0), vectors[1, 0]])
    distance = (hint.projection(means) - torch.from_numpy(wanted)).square().mean(dim=-1)
    torch.testing.assert_close(found, without + 0.5 * distance)
    found.sum().backward()
    assert hint.projection.weight.grad is not None
    assert vectors.grad[0].abs().sum() > 0
    hint.detach(head)
    assert list(head.state_dict()) == before
    head(vectors, mask, None)
    with pytest.raises(RuntimeError, match="last batch"):
        hint.per_document(torch.zeros(2, 2))


def test_join_and_split_are_inverse():
    columns = TargetColumns(3, is_multi_label=True, vector_size=2)
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    batch = targets(columns, FLAGS[:2], TEACHER, vectors)
    labels, logits, found = columns.split(batch)
    assert labels.tolist() == [*FLAGS[:2].astype(float).tolist(), [UNLABELLED] * 3]
    assert np.array_equal(logits.numpy(), TEACHER)
    assert np.array_equal(found.numpy(), vectors)
    numbers, _, _ = SINGLE.split(targets(SINGLE, np.array([2, 0])))
    assert numbers.dtype == torch.int64
    assert numbers.tolist() == [2, 0, UNLABELLED]
