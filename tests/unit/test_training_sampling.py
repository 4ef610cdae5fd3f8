from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from accelerate import skip_first_batches
from transformers import TrainingArguments

from longform.config import RunConfig
from longform.data.batching import BatchPlan
from longform.errors import InputError
from longform.models import LongTextConfig
from longform.models.classifier import Head
from longform.reporting import Reporter
from longform.training.devices import Device
from longform.training.features import INDICES, SegmentDataset, VectorDataset, collate_vectors
from longform.training.sampling import (
    DocumentLosses,
    PlannedBatches,
    is_special,
    plan_batches,
    planned_loader,
)
from longform.training.trainer import HeadModel, LongTextTrainer
from longform.types import Coverage, Segment, SegmentedDocument

WIDTH, DOCUMENTS = 6, 24
CPU = Device("cpu", False, "a test")


def vectors(count: int = DOCUMENTS) -> VectorDataset:
    """Documents of 1 to 5 segments, of two classes that can be told apart by a feature."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 4 // 3
    rows = [generator.normal(size=(1 + n % 5, WIDTH)).astype(np.float32) for n in range(count)]
    for row, label in zip(rows, labels, strict=True):
        row[:, 0] += label
    return VectorDataset(rows, [np.zeros((len(row), 4), np.float32) for row in rows], labels)


class Recording(LongTextTrainer):
    """Remembers the documents of every training step."""

    def __init__(self, *arguments, **kwargs) -> None:
        self.steps: list[list[int]] = []
        super().__init__(*arguments, **kwargs)

    def training_step(self, model, inputs, *arguments, **kwargs):
        self.steps.append(inputs[INDICES].tolist())
        return super().training_step(model, inputs, *arguments, **kwargs)


def trainer_in(folder, **settings) -> Recording:
    torch.manual_seed(0)
    config = LongTextConfig(bag_dimension=WIDTH, dropout=0.0, aggregator="mean", num_labels=2)
    values = {"num_train_epochs": 3, "save_total_limit": 9, "early_stopping_patience": 9}
    return Recording(
        HeadModel(Head(config)),
        RunConfig(**values | settings),
        folder,
        CPU,
        Reporter(),
        train_dataset=vectors(),
        eval_dataset=vectors(8),
        data_collator=collate_vectors,
    )


PLANNED = [
    pytest.param({"class_balance": "weighted_sampler"}, id="balanced"),
    pytest.param({"train_batch_tokens": 12}, id="tokens"),
    pytest.param({"hard_example_share": 0.5, "train_batch_tokens": 12}, id="hard"),
    pytest.param(
        {"hard_example_share": 0.5, "class_balance": "weighted_sampler"}, id="hard-balanced"
    ),
]


def test_a_plan_is_told_only_where_a_setting_asks_for_one():
    assert not is_special(RunConfig(class_weights="auto"))
    for planned in PLANNED:
        assert is_special(RunConfig(**planned.values[0]))


def test_without_settings_each_document_comes_once_in_an_epoch(tmp_path):
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    plan = plan_batches(RunConfig(), vectors(), arguments, by_length=False)
    seen = [document for batch in plan.batches(0) for document in batch]
    assert sorted(seen) == list(range(len(vectors())))
    assert seen != sorted(seen)


@pytest.mark.parametrize("settings", PLANNED)
def test_r35_a_continued_run_sees_the_batches_of_one_that_was_not_interrupted(tmp_path, settings):
    whole = trainer_in(tmp_path / "whole", **settings)
    whole.fit()
    per_epoch = len(whole.steps) // 3
    assert len(whole.steps) == 3 * per_epoch
    checkpoint = f"checkpoint-{per_epoch}"
    shutil.copytree(tmp_path / "whole" / checkpoint, tmp_path / "again" / checkpoint)
    again = trainer_in(tmp_path / "again", **settings)
    again.fit()
    assert again.steps == whole.steps[per_epoch:]
    assert whole.steps[:per_epoch] != whole.steps[per_epoch : 2 * per_epoch]
    found, expected = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_hard_documents_come_more_often_from_the_second_epoch_on(tmp_path):
    trainer = trainer_in(tmp_path, hard_example_share=0.9, num_train_epochs=2)
    trainer.fit()
    half = len(trainer.steps) // 2
    losses = DocumentLosses(DOCUMENTS, torch.device("cpu"))
    losses.load(tmp_path / f"checkpoint-{half}")
    assert not np.isnan(losses.known).any()
    first, second = trainer.steps[:half], trainer.steps[half:]
    assert first == trainer._plan.batches(0)
    assert second == trainer._plan.batches(1, losses.known)
    drawn = np.concatenate(second)
    assert len(drawn) == DOCUMENTS
    assert losses.known[drawn].mean() > losses.known.mean()


def test_the_rate_of_learning_counts_on_as_many_steps_as_there_are(tmp_path):
    trainer = trainer_in(tmp_path, train_batch_tokens=12, gradient_accumulation_steps=3)
    trainer.fit()
    assert trainer.state.global_step == trainer.state.max_steps
    assert trainer.lr_scheduler.get_last_lr() == [0.0, 0.0]
    assert sum(map(len, trainer.steps)) == 3 * DOCUMENTS


def test_a_run_continued_in_the_middle_of_an_epoch_skips_what_it_has_seen(tmp_path):
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    plan = BatchPlan(vectors().sizes, seed=1, batch_size=4)
    loader = planned_loader(vectors(), PlannedBatches(plan, 0, None), collate_vectors, arguments)
    loader.set_epoch(3)
    expected = [batch[INDICES].tolist() for batch in loader]
    assert expected == plan.batches(3)
    continued = skip_first_batches(loader, 4)
    continued.set_epoch(3)
    continued.batch_sampler.batch_sampler.set_epoch(3)
    assert [batch[INDICES].tolist() for batch in continued] == expected[4:]


def test_sizes_are_what_a_step_reads():
    segments = tuple(Segment(0, n, np.ones(n, dtype=np.int32)) for n in (3, 9, 5))
    document = SegmentedDocument(segments, np.zeros((3, 4), np.float32), Coverage(17, 17, 3, 3))
    assert SegmentDataset([document], np.array([0])).sizes.tolist() == [[3, 9]]
    assert SegmentDataset([document], np.array([0]), max_segments=2).sizes.tolist() == [[2, 9]]
    assert vectors(6).sizes.tolist() == [[1, 1], [2, 1], [3, 1], [4, 1], [5, 1], [1, 1]]


# The losses


def weights_after_a_step(folder, labels: np.ndarray, batch: int, **settings) -> list[torch.Tensor]:
    torch.manual_seed(0)
    config = LongTextConfig(bag_dimension=WIDTH, dropout=0.0, aggregator="mean", num_labels=2)
    documents = vectors()
    model = HeadModel(Head(config))
    values = {"max_steps": 1, "learning_rate": 0.1, "warmup_steps": 0, "class_weights": "auto"}
    trainer = LongTextTrainer(
        model,
        RunConfig(
            **values | settings,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=-(-DOCUMENTS // batch),
            lr_scheduler_type="constant",
        ),
        folder,
        CPU,
        Reporter(),
        train_dataset=VectorDataset(documents.vectors, documents.positions, labels),
        eval_dataset=VectorDataset(documents.vectors, documents.positions, labels),
        data_collator=collate_vectors,
    )
    trainer.train()
    assert trainer.state.global_step == 1
    return [value.clone() for value in model.state_dict().values()]


class Listening(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def test_r15_the_weights_of_classes_are_said(tmp_path):
    reporter = Listening()
    LongTextTrainer(
        HeadModel(Head(LongTextConfig(bag_dimension=WIDTH, aggregator="mean", num_labels=2))),
        RunConfig(class_weights="auto"),
        tmp_path,
        CPU,
        reporter,
        train_dataset=vectors(),
        data_collator=collate_vectors,
        eval_dataset=vectors(),
    )
    # 18 documents of one class and 6 of the other.
    (line,) = reporter.lines
    assert "0.667 for the most frequent class to 2 for the rarest" in line


@pytest.mark.parametrize("settings", [{}, {"focal_gamma": 2.0}, {"label_smoothing_factor": 0.1}])
@pytest.mark.parametrize("several", [False, True])
def test_b37_accumulated_gradients_are_those_of_one_batch_for_every_loss(
    tmp_path, settings, several
):
    labels = np.arange(DOCUMENTS) % 4 // 3
    if several:
        labels = np.stack([labels > 0, np.arange(DOCUMENTS) % 3 > 0], axis=1)
    whole = weights_after_a_step(tmp_path / "whole", labels, DOCUMENTS, **settings)
    parts = weights_after_a_step(tmp_path / "parts", labels, 7, **settings)
    for found, expected in zip(parts, whole, strict=True):
        # Adam divides by the size of the gradient, so entries of almost no gradient differ most.
        assert torch.allclose(found, expected, atol=2e-3)


def test_losses_count_from_the_next_epoch_on_and_the_latest_counts():
    losses = DocumentLosses(4, torch.device("cpu"))
    losses.record(torch.tensor([0, 2]), torch.tensor([1.0, 3.0]))
    losses.record(torch.tensor([2]), torch.tensor([5.0]))
    assert np.isnan(losses.known).all()
    losses.finish_epoch()
    assert losses.known == pytest.approx([1, np.nan, 5, np.nan], nan_ok=True)
    losses.record(torch.tensor([0]), torch.tensor([2.0]))
    losses.finish_epoch()
    assert losses.known == pytest.approx([2, np.nan, 5, np.nan], nan_ok=True)


def test_r35_losses_of_an_unfinished_epoch_are_kept_with_a_checkpoint(tmp_path):
    losses = DocumentLosses(3, torch.device("cpu"))
    losses.record(torch.tensor([0, 1]), torch.tensor([1.0, 2.0]))
    losses.finish_epoch()
    losses.record(torch.tensor([1]), torch.tensor([4.0]))
    losses.save(tmp_path, write=True)
    again = DocumentLosses(3, torch.device("cpu"))
    again.load(tmp_path)
    for kept in (losses, again):
        assert kept.known == pytest.approx([1, 2, np.nan], nan_ok=True)
        kept.record(torch.tensor([2]), torch.tensor([7.0]))
        kept.finish_epoch()
        assert kept.known == pytest.approx([1, 4, 7])


@pytest.mark.parametrize("documents", [None, 5])
def test_a_run_is_not_continued_with_the_losses_of_other_documents(tmp_path, documents):
    if documents:
        DocumentLosses(documents, torch.device("cpu")).save(tmp_path, write=True)
    with pytest.raises(InputError) as error:
        DocumentLosses(3, torch.device("cpu")).load(tmp_path)
    assert error.value.found
    assert error.value.fix


# A document that spoils its batch


def test_r31_a_document_without_a_finite_loss_costs_its_steps_and_no_more(tmp_path):
    lines: list[str] = []

    class Listener(Reporter):
        def say(self, message: str) -> None:
            lines.append(message)

    dataset = vectors()
    dataset.vectors[3][:] = np.nan
    torch.manual_seed(0)
    trainer = LongTextTrainer(
        HeadModel(Head(LongTextConfig(bag_dimension=WIDTH, num_labels=2, aggregator="mean"))),
        RunConfig(num_train_epochs=2, per_device_train_batch_size=4, seed=1),
        tmp_path,
        Device("cpu", False, "a test"),
        Listener(),
        document_ids=[f"file-{number}" for number in range(len(dataset))],
        train_dataset=dataset,
        eval_dataset=vectors(),
        data_collator=collate_vectors,
    )
    trainer.fit()
    told = [line for line in lines if "left out" in line]
    assert len(told) == trainer.account()["skipped_steps"] == 2
    assert all("the loss of document 'file-3' is not finite" in line for line in told)
    assert all(bool(torch.isfinite(value).all()) for value in trainer.model.parameters())
