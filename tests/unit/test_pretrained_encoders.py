"""Encoders of many types, tiny and random: how they are read, and what is refused at the start."""

from __future__ import annotations

import pytest
import torch
from tiny_tokenizers import CORPUS, byte_pairs, unigram, word_pieces
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    BertForSequenceClassification,
    ConvBertConfig,
    DistilBertConfig,
    ErnieConfig,
    GPT2Config,
    LlamaConfig,
    LongformerConfig,
    LongformerModel,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    RobertaConfig,
)

import longform
from longform.config import RunConfig, load_config
from longform.data.labels import LabelMap
from longform.errors import ConfigError, InputError
from longform.models import BERTSplitLSTM, LongTextClassifier, LongTextConfig
from longform.models.longformer import put_into_blocks, read_longformer
from longform.models.pretrained import default_pooling, is_causal, usable_positions
from longform.reporting import Reporter
from longform.training.initialization import initialize

LABELS = LabelMap(("刑事", "民事"))
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
MODERN = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}


def tiny_config(kind: str, vocabulary: int = 300):
    """A configuration of two narrow layers."""
    pad = {"vocab_size": vocabulary, "pad_token_id": 0}
    grouped = {**SMALL, **pad, "num_key_value_heads": 1, "max_position_embeddings": 64}
    return {
        "bert": lambda: BertConfig(**SMALL, **pad, max_position_embeddings=64),
        "ernie": lambda: ErnieConfig(**SMALL, **pad, max_position_embeddings=64),
        "distilbert": lambda: DistilBertConfig(
            **pad, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=64
        ),
        "roberta": lambda: RobertaConfig(
            **SMALL, vocab_size=vocabulary, pad_token_id=1, max_position_embeddings=66
        ),
        "longformer": lambda: LongformerConfig(
            **SMALL,
            vocab_size=vocabulary,
            pad_token_id=1,
            max_position_embeddings=66,
            attention_window=[4, 8],
        ),
        "modernbert": lambda: ModernBertConfig(
            **SMALL,
            **pad,
            **MODERN,
            max_position_embeddings=64,
            local_attention=8,
            global_attn_every_n_layers=2,
        ),
        "gpt2": lambda: GPT2Config(
            vocab_size=vocabulary, n_embd=16, n_layer=2, n_head=2, n_positions=64
        ),
        "llama": lambda: LlamaConfig(**grouped),
        "qwen2": lambda: Qwen2Config(**grouped),
        "convbert": lambda: ConvBertConfig(**SMALL, **pad, embedding_size=16),
        "bart": lambda: BartConfig(vocab_size=vocabulary, d_model=16, encoder_layers=1),
    }[kind]()


ENCODERS = ("bert", "ernie", "distilbert", "roberta", "longformer", "modernbert")
DECODERS = ("gpt2", "llama", "qwen2")


def tiny_encoder(kind: str, **changes) -> nn.Module:
    torch.manual_seed(0)
    config = tiny_config(kind)
    for name, value in changes.items():
        setattr(config, name, value)
    encoder = AutoModel.from_config(config).eval()
    for parameter in encoder.parameters():
        # Random weights of the usual size leave all tokens alike.
        nn.init.normal_(parameter, std=0.3)
    return encoder


def classifier(kind: str, **changes) -> LongTextClassifier:
    encoder = tiny_encoder(kind)
    config = LongTextConfig(
        encoder=kind,
        encoder_config=encoder.config.to_dict(),
        **{"token_pooling": default_pooling(encoder.config), "segment_length": 64} | changes,
    )
    return LongTextClassifier(config, encoder).eval()


def write_encoder(folder, kind: str, tokenizer=None):
    """Save an encoder with the tokenizer of its kind; GPT's has no token for padding."""
    usual = word_pieces if kind not in {"roberta", "longformer"} else unigram
    tokenizer = tokenizer or (byte_pairs if kind in DECODERS else usual)()
    special = {"gpt2": {}, "llama": {}, "qwen2": {}}.get(kind, {"pad_token": "[PAD]"})
    if "<pad>" in tokenizer.serialized:
        special = {"pad_token": "<pad>", "unk_token": "<unk>"}
    AutoModel.from_config(tiny_config(kind)).save_pretrained(folder)
    path = folder / "source.json"
    path.write_text(tokenizer.serialized, encoding="utf-8")
    PreTrainedTokenizerFast(tokenizer_file=str(path), **special).save_pretrained(folder)
    return folder


class Listener(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def start_from(folder, **settings):
    listener = Listener()
    config = RunConfig(encoder=str(folder), **{"segment_length": 32} | settings)
    model, tokenizer = initialize(config, LABELS, iter(CORPUS), listener)
    return model, tokenizer, "\n".join(listener.said)


@pytest.mark.parametrize("kind", [*ENCODERS, *DECODERS])
def test_s1_08_decoders_are_read_at_their_last_token_and_encoders_by_the_mean(kind):
    config = tiny_config(kind)
    assert is_causal(config) == (kind in DECODERS)
    assert default_pooling(config) == ("last" if kind in DECODERS else "mean")


def test_a_bert_that_is_a_decoder_is_read_at_its_last_token():
    assert default_pooling(BertConfig(is_decoder=True)) == "last"


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_keeps_its_causal_mask(kind):
    model = classifier(kind).encoder.model
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        before = model(input_ids=ids).last_hidden_state
        ids[0, 3] = 9
        after = model(input_ids=ids).last_hidden_state
    assert torch.allclose(before[:, :3], after[:, :3], atol=1e-6)
    assert (before[:, 3] - after[:, 3]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [*ENCODERS, *DECODERS])
def test_r29_padding_of_any_length_changes_no_vector(kind):
    model = classifier(kind)
    pad = model.encoder.model.config.pad_token_id or 0
    ids = torch.tensor([[2, 9, 8, 7, 11, 3], [2, 13, 3, pad, pad, pad]])
    mask = torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]])
    with torch.no_grad():
        found = model.encode(ids, mask)
        alone = model.encode(ids[1:, :3], mask[1:, :3])
        wide = nn.functional.pad(ids, (0, 24), value=pad)
        wider = model.encode(wide, nn.functional.pad(mask, (0, 24)))
    assert torch.isfinite(found).all()
    assert (found[1:] - alone).abs().max() <= 2e-6
    assert (found - wider).abs().max() <= 2e-6
    assert (found[0] - found[1]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [*ENCODERS, *DECODERS])
def test_masks_that_encoders_build_are_boolean(kind, monkeypatch):
    seen = []
    original = nn.functional.scaled_dot_product_attention

    def watch(*arguments, attn_mask=None, **rest):
        seen.append(attn_mask)
        return original(*arguments, attn_mask=attn_mask, **rest)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", watch)
    monkeypatch.setattr("longform.models.longformer.scaled_dot_product_attention", watch)
    mask = torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]])
    with torch.no_grad():
        classifier(kind).encode(torch.full((2, 6), 5), mask)
    assert seen
    assert {found.dtype for found in seen} == {torch.bool}


def test_s4_14_longformer_in_blocks_is_the_longformer_of_transformers():
    model: LongformerModel = tiny_encoder("longformer", attention_probs_dropout_prob=0.0)
    ids = torch.randint(3, 50, (3, 29), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 20:] = 0
    mask[2, 1:] = 0
    ids[mask == 0] = 1
    everywhere = torch.zeros_like(ids)
    everywhere[:, 0] = 1
    names = set(model.state_dict())
    with torch.no_grad():
        expected = model(ids, attention_mask=mask, global_attention_mask=everywhere)[0]
        put_into_blocks(model)
        found = read_longformer(model, ids, mask)
    assert (expected - found)[mask.bool()].abs().max() <= 2e-6
    assert set(model.state_dict()) == names


@pytest.mark.parametrize("kind", [*ENCODERS, *DECODERS])
def test_usable_positions_are_those_that_can_be_read(kind):
    encoder = tiny_encoder(kind)
    positions = usable_positions(encoder)
    assert positions == 64
    ids = torch.full((1, positions), 5)
    with torch.no_grad():
        assert torch.isfinite(encoder(input_ids=ids).last_hidden_state).all()


@pytest.mark.parametrize("kind", ["roberta", "longformer", "gpt2", "distilbert", "modernbert"])
def test_r46_a_segment_longer_than_the_positions_is_refused(kind, tmp_path):
    folder = write_encoder(tmp_path, kind)
    with pytest.raises(ConfigError, match=r"segment_length 65, .* at most 64 tokens"):
        start_from(folder, segment_length=65)
    model, _, _ = start_from(folder, segment_length=64)
    assert model.config.segment_length == 64


@pytest.mark.parametrize("kind", DECODERS)
def test_r46_a_decoder_without_a_padding_token_starts(kind, tmp_path):
    model, tokenizer, said = start_from(write_encoder(tmp_path, kind))
    assert model.config.token_pooling == "last"
    assert "pooled by: last" in said
    assert 0 <= tokenizer.pad_id < model.encoder.model.config.vocab_size
    assert model.config.vector_size == 16


def test_r46_the_tokenizer_of_another_model_is_refused_naming_both_ids(tmp_path):
    write_encoder(tmp_path, "bert", unigram())
    with pytest.raises(InputError, match="pad_token_id 1 in the tokenizer and 0 in config"):
        start_from(tmp_path)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("convbert", "convolutions read padding"), ("bart", "generates text from text")],
)
def test_r50_a_type_that_cannot_be_exported_is_refused_before_training(kind, reason, tmp_path):
    with pytest.raises(ConfigError, match=reason):
        start_from(write_encoder(tmp_path, kind))


def test_s2_09_s2_03_the_labels_of_an_earlier_task_do_not_leak(tmp_path):
    write_encoder(tmp_path, "bert")
    old = BertForSequenceClassification(
        BertConfig(**tiny_config("bert").to_diff_dict() | {"id2label": {0: "old", 1: "x", 2: "y"}})
    )
    old.save_pretrained(tmp_path)
    model, _, said = start_from(tmp_path)
    assert "classifier of 3 labels" in said
    assert model.config.id2label == {0: "刑事", 1: "民事"}
    assert "old" not in model.config.to_json_string()
    kept = model.encoder.model.embeddings.word_embeddings.weight
    assert torch.equal(kept, old.bert.embeddings.word_embeddings.weight)


def test_the_preset_lies_under_what_is_given():
    config = load_config(None, {"preset": "bert_split_lstm", "lstm_hidden": 64})
    assert (config.token_pooling, config.aggregator) == ("cls", "lstm")
    assert (config.aggregator_hidden, config.aggregator_layers) == (64, 1)
    assert config.lstm_bidirectional
    assert config.encoder == "bert-base-chinese"
    assert RunConfig.model_validate(config.model_dump()) == config
    with pytest.raises(ConfigError, match="preset"):
        load_config(None, {"preset": "bert"})


def test_heads_must_share_the_width():
    with pytest.raises(ConfigError, match=r"multiple of aggregator_heads.*30 and 4"):
        load_config(None, {"aggregator": "transformer", "aggregator_hidden": 30})
    with pytest.raises(ConfigError, match="multiple of encoder_heads"):
        load_config(None, {"encoder": "linformer", "encoder_hidden": 30})


def test_s0_20_bert_split_lstm_is_a_class_of_that_name_and_those_defaults(tmp_path):
    (tmp_path / "bert").mkdir()
    write_encoder(tmp_path / "bert", "bert")
    model = longform.BERTSplitLSTM(str(tmp_path / "bert")).eval()
    assert isinstance(model, BERTSplitLSTM)
    assert (model.config.aggregator, model.config.aggregator_hidden) == ("lstm", 256)
    assert (model.config.token_pooling, model.config.lstm_bidirectional) == ("cls", True)
    ids = torch.randint(5, 50, (2, 3, 8))
    with torch.no_grad():
        logits = model(input_ids=ids).logits
        assert logits.shape == (2, 10)
        model.save_pretrained(tmp_path / "saved")
        for loader in (AutoModelForSequenceClassification, BERTSplitLSTM):
            loaded = loader.from_pretrained(tmp_path / "saved")
            assert torch.equal(loaded(input_ids=ids).logits, logits)
    assert BERTSplitLSTM(str(tmp_path / "bert"), 32, 3).config.num_labels == 3
