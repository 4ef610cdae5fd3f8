from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_tokenizers import CORPUS, unigram, word_pieces
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

from longform.config import RunConfig
from longform.data.labels import LabelMap
from longform.errors import ConfigError, InputError
from longform.models import LongTextClassifier, LongTextConfig
from longform.reporting import Reporter
from longform.training.arguments import RECIPES, kind_of_training, learning_rates
from longform.training.checkpoints import COMPLETE, last_complete_checkpoint, mark_complete
from longform.training.devices import Device
from longform.training.features import (
    SegmentCollator,
    SegmentDataset,
    VectorDataset,
    collate_vectors,
)
from longform.training.guard import TrainingError
from longform.training.initialization import initialize, weights_digest
from longform.training.trainer import LongTextTrainer
from longform.types import Coverage, Segment, SegmentedDocument

CPU = Device("cpu", False, "a test")
LABELS = LabelMap(("刑事", "民事"))


def document(*segments: list[int]) -> SegmentedDocument:
    count = len(segments)
    positions = np.zeros((count, 4), dtype=np.float32)
    positions[:, 0] = np.arange(count)
    positions[:, 1] = np.arange(count) / max(count, 1)
    positions[:, 2] = np.arange(1, count + 1) / max(count, 1)
    return SegmentedDocument(
        tuple(Segment(0, len(ids), np.array(ids, dtype=np.int32)) for ids in segments),
        positions,
        Coverage(count, count, count, count),
    )


def tiny_bag(seed: int = 0) -> LongTextClassifier:
    torch.manual_seed(seed)
    return LongTextClassifier(
        LongTextConfig(
            vocabulary_size=40,
            bag_dimension=6,
            bag_buckets=101,
            bag_token_dropout=0.0,
            dropout=0.0,
            aggregator="mean",
            num_labels=2,
        )
    )


def random_documents(count: int) -> tuple[list[SegmentedDocument], np.ndarray]:
    generator = np.random.default_rng(0)
    documents = [
        document(*(generator.integers(1, 40, 6).tolist() for _ in range(1 + row % 4)))
        for row in range(count)
    ]
    return documents, np.arange(count) % 2


def trainer_for(model: nn.Module, folder, count: int = 8, **settings) -> LongTextTrainer:
    documents, labels = random_documents(count)
    dataset = SegmentDataset(documents, labels)
    return LongTextTrainer(
        model,
        RunConfig(**settings),
        folder,
        CPU,
        Reporter(),
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=SegmentCollator(pad_id=0),
    )


# Steps of the optimiser


def weights_after_a_step(folder, batch: int, accumulation: int, count: int) -> dict:
    model = tiny_bag()
    trainer = trainer_for(
        model,
        folder,
        count,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        max_steps=1,
        learning_rate=0.1,
        warmup_steps=0,
        lr_scheduler_type="constant",
    )
    trainer.train()
    assert trainer.state.global_step == 1
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(("batch", "accumulation", "count"), [(2, 4, 8), (3, 3, 8)])
def test_b37_accumulated_gradients_are_those_of_one_large_batch(
    tmp_path, batch, accumulation, count
):
    start = tiny_bag().state_dict()
    whole = weights_after_a_step(tmp_path / "whole", count, 1, count)
    accumulated = weights_after_a_step(tmp_path / "parts", batch, accumulation, count)
    assert max((whole[name] - start[name]).abs().max() for name in whole) > 0.05
    for name, value in whole.items():
        # Adam divides by the size of the gradient, so entries of almost no gradient differ most.
        assert torch.allclose(accumulated[name], value, atol=2e-3), name


def rates(folder, **settings) -> list[float]:
    """The learning rate of each of 100 steps."""
    trainer = trainer_for(tiny_bag(), folder, learning_rate=1e-3, max_steps=100, **settings)
    trainer.create_optimizer_and_scheduler(num_training_steps=100)
    found = []
    for _ in range(101):
        found.append(trainer.lr_scheduler.get_last_lr()[0])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    return found


@pytest.mark.parametrize("warmup", [0.1, 10])
def test_the_rate_rises_during_the_warm_up_and_falls_to_zero(tmp_path, warmup):
    found = rates(tmp_path, warmup_steps=warmup)
    assert found[0] == 0
    assert found[5] == pytest.approx(0.5e-3)
    assert found[10] == pytest.approx(1e-3)
    assert found[55] == pytest.approx(0.5e-3)
    assert found[100] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("cosine", {10: 1e-3, 55: 0.5e-3, 100: 0.0}),
        ("constant", {0: 0.0, 5: 0.5e-3, 10: 1e-3, 100: 1e-3}),
        ("constant_with_warmup", {0: 0.0, 5: 0.5e-3, 10: 1e-3, 100: 1e-3}),
    ],
)
def test_the_rate_follows_the_schedule_that_is_asked_for(tmp_path, kind, values):
    found = rates(tmp_path, lr_scheduler_type=kind, warmup_steps=10)
    for step, value in values.items():
        assert found[step] == pytest.approx(value, abs=1e-9), step


def test_biases_and_normalisation_are_spared_the_weight_decay(tmp_path):
    trainer = trainer_for(tiny_bag(), tmp_path, weight_decay=0.02)
    trainer.create_optimizer()
    decays = {
        id(parameter): group["weight_decay"]
        for group in trainer.optimizer.param_groups
        for parameter in group["params"]
    }
    of_name = {name: decays[id(value)] for name, value in trainer.model.named_parameters()}
    spared = {name for name, decay in of_name.items() if decay == 0}
    assert "head.classifier.bias" in spared
    assert "head.normalization.weight" in spared
    assert of_name["head.classifier.weight"] == 0.02
    assert not [name for name in spared if name.endswith("weight") and "normalization" not in name]


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "bag"),
        ({"encoder": "folder"}, "fine-tuning"),
        ({"encoder": "folder", "frozen": True}, "frozen"),
    ],
)
def test_the_defaults_follow_what_is_trained(tmp_path, settings, kind):
    config = RunConfig(**settings)
    assert kind_of_training(config) == kind
    assert learning_rates(config).encoder == RECIPES[kind].learning_rate
    arguments = trainer_for(tiny_bag(), tmp_path, **settings).args
    assert arguments.num_train_epochs == RECIPES[kind].epochs
    changed = {"learning_rate": 7e-4, "num_train_epochs": 2, **settings}
    assert learning_rates(RunConfig(**changed)).encoder == 7e-4
    assert trainer_for(tiny_bag(), tmp_path, **changed).args.num_train_epochs == 2


# Checkpoints


def make_checkpoint(folder, name: str, complete: bool) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "model.safetensors").touch()
    if complete:
        mark_complete(folder / name)


def test_r33_a_checkpoint_that_was_not_finished_is_not_continued(tmp_path):
    assert last_complete_checkpoint(tmp_path / "nowhere") is None
    make_checkpoint(tmp_path, "checkpoint-30", complete=False)
    assert last_complete_checkpoint(tmp_path) is None
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-best", "other-99"):
        make_checkpoint(tmp_path, name, complete=True)
    # By number and not by name, and only what the trainer made.
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    (tmp_path / "checkpoint-10" / "model.safetensors").write_bytes(b"more than was marked")
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    (tmp_path / "checkpoint-9" / "model.safetensors").unlink()
    assert last_complete_checkpoint(tmp_path) is None


def test_r33_each_checkpoint_that_the_trainer_writes_is_marked(tmp_path):
    trainer_for(tiny_bag(), tmp_path, num_train_epochs=2, save_total_limit=5).train()
    folders = sorted(tmp_path.glob("checkpoint-*"))
    assert len(folders) == 2
    assert all((folder / COMPLETE).is_file() for folder in folders)
    assert last_complete_checkpoint(tmp_path) == folders[-1]


def test_r34_a_full_disk_is_told_and_leaves_the_checkpoints_that_are_there(tmp_path, monkeypatch):
    trainer = trainer_for(
        tiny_bag(), tmp_path, num_train_epochs=3, per_device_train_batch_size=4, save_total_limit=5
    )
    save = torch.save

    def fill_up(content, path, *arguments, **named):
        if "checkpoint-4" in str(path):
            raise RuntimeError("PytorchStreamWriter failed writing file: No space left on device")
        save(content, path, *arguments, **named)

    monkeypatch.setattr(torch, "save", fill_up)
    with pytest.raises(TrainingError, match=r"A checkpoint must be written.*No space.*Free space"):
        trainer.fit()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-2"


def test_r31_weights_that_are_not_finite_are_never_kept(tmp_path):
    trainer = trainer_for(tiny_bag(), tmp_path, num_train_epochs=1)
    with torch.no_grad():
        trainer.model.head.classifier.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="Weights must be finite to be kept"):
        trainer._save_checkpoint(trainer.model, None)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_the_account_of_a_run_tells_steps_and_epochs(tmp_path):
    trainer = trainer_for(tiny_bag(), tmp_path, num_train_epochs=3, per_device_train_batch_size=4)
    trainer.fit()
    account = trainer.account()
    assert (account["steps"], account["epochs"], account["skipped_steps"]) == (6, 3.0, 0)


# Datasets and collators


def test_all_segments_are_read_where_no_limit_is_set():
    dataset = SegmentDataset([document([1], [2], [3])], np.array([1]))
    item = dataset[0]
    assert [ids.tolist() for ids in item["token_ids"]] == [[1], [2], [3]]
    assert item["labels"] == 1
    assert len(dataset) == 1


def test_drawn_segments_keep_their_order_and_their_places():
    segments = [[number] for number in range(50)]
    dataset = SegmentDataset([document(*segments)], np.array([0]), max_segments=8)
    draws = []
    for epoch in range(20):
        dataset.set_epoch(epoch)
        item = dataset[0]
        drawn = [ids.tolist()[0] for ids in item["token_ids"]]
        assert drawn == sorted(set(drawn))
        assert len(drawn) == 8
        assert item["positions"][:, 0].tolist() == drawn
        draws.append(tuple(drawn))
    assert len(set(draws)) > 15
    # The first is always there, and every other has its turn: the closing ones too.
    assert all(draw[0] == 0 for draw in draws)
    assert {number for draw in draws for number in draw} >= {0, 49} or len(set(sum(draws, ()))) > 40


def test_of_a_pair_the_first_segments_of_both_texts_are_always_drawn():
    whole = document(*[[number] for number in range(20)])
    positions = whole.positions.copy()
    positions[12:, 3] = 1
    pair = SegmentedDocument(whole.segments, positions, whole.coverage)
    dataset = SegmentDataset([pair], np.array([0]), max_segments=4)
    drawn = [ids.tolist()[0] for ids in dataset[0]["token_ids"]]
    assert len(drawn) == 4
    assert {0, 12} < set(drawn)


def test_r35_draws_follow_the_seed_the_epoch_and_the_document_alone():
    documents = [document(*[[n] for n in range(50)])] * 2

    def draw(seed: int, epoch: int, number: int) -> list[float]:
        dataset = SegmentDataset(documents, np.array([0, 1]), max_segments=5, seed=seed)
        dataset.set_epoch(epoch)
        torch.rand(3)
        return dataset[number]["positions"][:, 0].tolist()

    assert draw(1, 0, 0) == draw(1, 0, 0)
    draws = [draw(1, 0, 0), draw(2, 0, 0), draw(1, 1, 0), draw(1, 0, 1)]
    assert all(a != b for row, a in enumerate(draws) for b in draws[:row])


def test_a_document_with_fewer_segments_than_the_limit_is_read_whole():
    dataset = SegmentDataset([document([1], [2])], np.array([0]), max_segments=2)
    assert [ids.tolist() for ids in dataset[0]["token_ids"]] == [[1], [2]]


def test_the_collator_pads_documents_and_says_where():
    dataset = SegmentDataset([document([5, 6, 7], [8]), document([9])], np.array([1, 0]))
    batch = SegmentCollator(pad_id=3)([dataset[0], dataset[1]])
    assert batch["input_ids"].tolist() == [
        [[5, 6, 7], [8, 3, 3]],
        [[9, 3, 3], [3, 3, 3]],
    ]
    assert batch["attention_mask"].tolist() == [
        [[1, 1, 1], [1, 0, 0]],
        [[1, 0, 0], [0, 0, 0]],
    ]
    assert batch["labels"].tolist() == [1, 0]
    assert batch["segment_positions"][0, 1].tolist() == [1, 0.5, 1, 0]
    assert not batch["segment_positions"][1, 1].any()


def test_vectors_are_padded_with_a_mask():
    vectors = [np.ones((2, 3), np.float32), 2 * np.ones((1, 3), np.float32)]
    positions = [document([1], [2]).positions, document([1]).positions]
    dataset = VectorDataset(vectors, positions, np.array([0, 1]))
    batch = collate_vectors([dataset[0], dataset[1]])
    assert batch["segment_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["segment_vectors"][1].tolist() == [[2, 2, 2], [0, 0, 0]]
    assert batch["labels"].tolist() == [0, 1]


# The model that training starts from


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    """A tiny encoder as it lies on a disk, with random weights."""
    return write_encoder(tmp_path_factory.mktemp("bert"))


def write_encoder(folder, kind=BertModel, positions: int = 32, vocabulary: int | None = None):
    tokenizer = unigram() if kind is RobertaModel else word_pieces()
    config_class = RobertaConfig if kind is RobertaModel else BertConfig
    torch.manual_seed(0)
    kind(
        config_class(
            vocab_size=vocabulary or tokenizer.vocabulary_size,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=positions,
            pad_token_id=1 if kind is RobertaModel else 0,
        )
    ).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer.serialized, encoding="utf-8")
    PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        unk_token="<unk>" if kind is RobertaModel else "[UNK]",
        pad_token="<pad>" if kind is RobertaModel else "[PAD]",
    ).save_pretrained(folder)
    return folder


def start_from(folder, **settings):
    config = RunConfig(**{"encoder": str(folder), "segment_length": 16} | settings)
    return initialize(config, LABELS, iter(CORPUS))


def test_bag_learns_its_vocabulary_and_starts_small():
    config = RunConfig(bag_dimension=8, bag_buckets=101, vocabulary_size=300)
    model, tokenizer = initialize(config, LABELS, iter(CORPUS))
    assert model.config.vocabulary_size == tokenizer.vocabulary_size <= 300
    assert model.config.id2label == {0: "刑事", 1: "民事"}
    assert model.encoder.pairs.weight.shape == (101, 8)
    # A table that starts at the size of torch's default drowns what is learnt in noise.
    for table in (model.encoder.tokens, model.encoder.pairs):
        assert table.weight.abs().max() <= 1 / 8
        assert table.weight.std() > 0.03


def test_bag_learns_its_vocabulary_from_cleaned_texts():
    texts = ["<table>合同</table>\u200b１"] * 9
    for cleaning, learnt in (((), True), (("html",), False)):
        config = RunConfig(bag_dimension=8, vocabulary_size=300, cleaning=cleaning)
        _, tokenizer = initialize(config, LABELS, iter(texts))
        assert (tokenizer.unknown_id not in tokenizer.encode(["<table>"])[0]) == learnt


def test_recurrent_weights_start_orthogonal_and_biases_at_zero():
    model, _ = initialize(RunConfig(aggregator="lstm", bag_dimension=8), LABELS, iter(CORPUS))
    layer = model.head.aggregator.forward_layers[0]
    gram = layer.weight_hh_l0.T @ layer.weight_hh_l0
    assert torch.allclose(gram, torch.eye(len(gram)), atol=1e-4)
    assert not layer.bias_ih_l0.any()
    assert not layer.bias_hh_l0.any()


def test_b39_an_encoder_keeps_the_weights_of_its_folder(bert_folder):
    model, tokenizer = start_from(bert_folder)
    stored = BertModel.from_pretrained(bert_folder, add_pooling_layer=False).state_dict()
    found = model.encoder.model.state_dict()
    assert stored.keys() == found.keys()
    assert all(torch.equal(stored[name], found[name]) for name in stored)
    assert model.config.encoder == "bert"
    assert model.config.vector_size == 16
    assert tokenizer.digest == word_pieces().digest


def refused(error: pytest.ExceptionInfo, *words: str) -> None:
    """The message has a rule, what was found and a way out, and all of the words."""
    assert error.value.rule
    assert error.value.found
    assert error.value.fix
    for word in words:
        assert word in str(error.value)


def test_r46_a_segment_must_fit_the_positions_of_the_encoder(bert_folder):
    start_from(bert_folder, segment_length=32)
    with pytest.raises(ConfigError) as error:
        start_from(bert_folder, segment_length=33)
    refused(error, "segment_length 33", "at most 32")


def test_r46_roberta_has_fewer_positions_than_its_configuration_says(tmp_path):
    folder = write_encoder(tmp_path, RobertaModel, positions=34)
    start_from(folder, segment_length=32)
    with pytest.raises(ConfigError) as error:
        start_from(folder, segment_length=33)
    refused(error, "at most 32")


def test_r46_the_encoder_must_know_every_token(tmp_path):
    size = word_pieces().vocabulary_size
    folder = write_encoder(tmp_path, vocabulary=size - 1)
    with pytest.raises(InputError) as error:
        start_from(folder)
    refused(error, f"{size:,} tokens", f"{size - 1:,}")


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("model.safetensors", ["weights", "config.json"]),
        ("config.json", ["has no config.json"]),
        ("tokenizer.json", ["has no tokenizer"]),
    ],
)
def test_an_encoder_folder_must_be_whole(tmp_path, missing, words):
    folder = write_encoder(tmp_path)
    (folder / missing).unlink()
    with pytest.raises(InputError) as error:
        start_from(folder)
    refused(error, str(folder), *words)


def test_r95_weights_in_a_pickle_are_not_taken(tmp_path):
    folder = write_encoder(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError) as error:
        start_from(folder)
    refused(error, "has no weights", "pytorch_model.bin")


def test_damaged_weights_are_a_fault_of_the_input(tmp_path):
    folder = write_encoder(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError) as error:
        start_from(folder)
    refused(error, str(folder))


def test_b39_an_encoder_never_starts_from_random_weights_by_surprise(tmp_path):
    folder = write_encoder(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError) as error:
        start_from(folder)
    refused(error, str(folder), "1 parameters", "encoder.layer.1.output.dense.weight")


def test_weights_of_another_shape_are_a_fault_of_the_input(tmp_path):
    folder = write_encoder(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.bias"] = torch.zeros(15)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError) as error:
        start_from(folder)
    refused(error, str(folder))


def test_an_unknown_kind_of_encoder_is_a_fault_of_the_input(tmp_path):
    folder = write_encoder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "berd"}))
    with pytest.raises(InputError) as error:
        start_from(folder)
    refused(error, str(folder))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all"])
def test_a_folder_that_is_not_there_is_named(name):
    with pytest.raises(InputError) as error:
        start_from(name)
    refused(error, "nowhere", "config.json")


def test_r44_a_name_that_is_not_in_the_cache_is_refused_without_a_network(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError) as error:
        start_from("no-such-organisation/no-such-model")
    refused(error, "no-such-organisation/no-such-model", "folder")


def test_the_digest_changes_with_one_value_and_with_nothing_else():
    model = tiny_bag().encoder
    before = weights_digest(model)
    assert before == weights_digest(tiny_bag().encoder)
    assert before != weights_digest(tiny_bag(seed=1).encoder)
    with torch.no_grad():
        model.pairs.weight[7, 3] += 1e-6
    assert weights_digest(model) != before
