"""R-Drop, adversarial training and averaged weights inside the Trainer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from longform.config import RunConfig
from longform.models import LongTextClassifier, LongTextConfig
from longform.reporting import Reporter
from longform.training.devices import Device
from longform.training.features import INDICES, SegmentCollator, SegmentDataset
from longform.training.regularization import consistent_loss
from longform.training.trainer import LongTextTrainer
from longform.types import Coverage, Segment, SegmentedDocument

DOCUMENTS = 12


def bag(dropout: float) -> LongTextClassifier:
    torch.manual_seed(0)
    config = LongTextConfig(
        vocabulary_size=40,
        bag_dimension=6,
        bag_buckets=101,
        bag_token_dropout=dropout,
        dropout=dropout,
        aggregator="mean",
        num_labels=2,
    )
    return LongTextClassifier(config)


def documents() -> SegmentDataset:
    generator = np.random.default_rng(0)
    found = []
    for row in range(DOCUMENTS):
        count = 1 + row % 3
        ids = [generator.integers(1, 40, 6).astype(np.int32) for _ in range(count)]
        positions = np.zeros((count, 4), np.float32)
        positions[:, 0] = np.arange(count)
        segments = tuple(Segment(0, 6, item) for item in ids)
        found.append(SegmentedDocument(segments, positions, Coverage(6, 6, count, count)))
    return SegmentDataset(found, np.arange(DOCUMENTS) % 2)


def trainer_in(folder, dropout: float = 0.0, callbacks=(), **settings) -> LongTextTrainer:
    values = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "save_total_limit": 9,
        "early_stopping_patience": 9,
    }
    return LongTextTrainer(
        bag(dropout),
        RunConfig(**values | settings),
        folder,
        Device("cpu", False, "a test"),
        Reporter(),
        callbacks=callbacks,
        train_dataset=documents(),
        eval_dataset=documents(),
        data_collator=SegmentCollator(pad_id=0),
    )


def weights(trainer: LongTextTrainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters()}


def batch() -> dict[str, torch.Tensor]:
    dataset = documents()
    inputs = SegmentCollator(pad_id=0)([dataset[row] for row in range(4)])
    return {**inputs, INDICES: torch.arange(4)}


class Recorder(TrainerCallback):
    """Keeps the weights after each step, and those that are validated."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.validated: list[dict[str, torch.Tensor]] = []

    def copy(self, model) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in model.named_parameters()}

    def on_step_end(self, args, state, control, model=None, **_):
        self.steps.append(self.copy(model))

    def on_evaluate(self, args, state, control, model=None, **_):
        self.validated.append(self.copy(model))


def test_the_loss_of_rdrop_is_that_of_two_passes_over_all_that_a_step_counts(tmp_path):
    trainer = trainer_in(tmp_path, dropout=0.4, rdrop_alpha=2.0)
    trainer.model.train()
    inputs = batch()
    torch.manual_seed(5)
    found = trainer.compute_loss(trainer.model, dict(inputs), num_items_in_batch=10)
    torch.manual_seed(5)
    labels = inputs.pop("labels")
    inputs.pop(INDICES)
    passes = (trainer.model(**inputs).logits, trainer.model(**inputs).logits)
    expected = consistent_loss(trainer._loss, 2.0, passes, labels).sum() / 10
    torch.testing.assert_close(found, expected)
    assert (passes[0] - passes[1]).abs().max() > 1e-4


def test_validation_reads_a_document_once(tmp_path):
    trainer = trainer_in(tmp_path, dropout=0.4, rdrop_alpha=2.0)
    trainer.model.eval()
    calls = []
    trainer.model.register_forward_hook(lambda *_: calls.append(1))
    trainer.compute_loss(trainer.model, batch())
    assert len(calls) == 1


def test_without_dropout_rdrop_trains_what_training_without_it_does(tmp_path):
    plain, twice = (
        trainer_in(tmp_path / name, num_train_epochs=1, rdrop_alpha=alpha)
        for name, alpha in (("plain", 0.0), ("twice", 3.0))
    )
    for trainer in (plain, twice):
        trainer.fit()
    expected = weights(plain)
    assert all(torch.allclose(v, expected[n], atol=1e-5) for n, v in weights(twice).items())


@pytest.mark.parametrize("settings", [{"rdrop_alpha": 1.0}, {"fgm_epsilon": 0.5}])
def test_a_second_pass_changes_what_is_learnt(tmp_path, settings):
    values = {"dropout": 0.3, "num_train_epochs": 1}
    plain = trainer_in(tmp_path / "a", **values)
    other = trainer_in(tmp_path / "b", **values, **settings)
    for trainer in (plain, other):
        trainer.fit()
    expected = weights(plain)
    assert max((v - expected[n]).abs().max() for n, v in weights(other).items()) > 1e-3


def test_a_step_with_fgm_has_the_gradients_of_both_passes(tmp_path):
    trainer = trainer_in(tmp_path, fgm_epsilon=0.7)
    trainer.create_optimizer_and_scheduler(num_training_steps=9)
    start = weights(trainer)
    trainer.training_step(trainer.model, batch())
    found = {name: value.grad.clone() for name, value in trainer.model.named_parameters()}
    assert all(torch.equal(value, start[name]) for name, value in weights(trainer).items())

    model, inputs = bag(0.0).train(), batch()
    inputs.pop(INDICES)
    model(**inputs).loss.backward()
    tables = [model.encoder.tokens.weight, model.encoder.pairs.weight]
    length = torch.cat([table.grad.flatten() for table in tables]).norm()
    moves = [0.7 * table.grad / length for table in tables]
    with torch.no_grad():
        for table, move in zip(tables, moves, strict=True):
            table.add_(move)
    model(**inputs).loss.backward()
    for name, value in model.named_parameters():
        torch.testing.assert_close(found[name], value.grad, rtol=1e-4, atol=1e-6)


def test_the_average_is_validated_and_kept_and_training_goes_on_with_the_weights(tmp_path):
    recorder = Recorder()
    trainer = trainer_in(tmp_path, callbacks=[recorder], ema_decay=0.6)
    start = weights(trainer)
    trainer.fit()
    average, averages = start, []
    for number, step in enumerate(recorder.steps):
        decay = min(0.6, (1 + number) / (10 + number))
        average = {name: decay * average[name] + (1 - decay) * step[name] for name in step}
        averages.append(average)
    assert len(averages) == 9
    for epoch, validated in enumerate(recorder.validated[:3]):
        for name, value in validated.items():
            torch.testing.assert_close(value, averages[3 * epoch + 2][name])
    best = int(trainer.state.best_model_checkpoint.rpartition("-")[2])
    for name, value in weights(trainer).items():
        torch.testing.assert_close(value, averages[best - 1][name])
    plain = Recorder()
    trainer_in(tmp_path / "plain", callbacks=[plain]).fit()
    for one, other in zip(recorder.steps, plain.steps, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frozen": True, "encoder": "some", "fgm_epsilon": 1.0}, "frozen never reads them"),
        ({"fsdp": True, "ema_decay": 0.9}, "ema_decay needs whole weights"),
        ({"fsdp": True, "fgm_epsilon": 0.9}, "fgm_epsilon needs whole weights"),
    ],
)
def test_what_cannot_work_together_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RunConfig(**settings)
