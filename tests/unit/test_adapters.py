from __future__ import annotations

import copy

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel

from longform.config import ModelSettings
from longform.errors import ConfigError
from longform.models import LongTextClassifier, LongTextConfig
from longform.models.encoders import pooler_arguments
from longform.training.adapters import (
    add_adapters,
    describe_adapters,
    has_adapters,
    merge_adapters,
    trainable_share,
)
from longform.training.initialization import weights_digest

LORA = ModelSettings(encoder="some", lora=True, lora_r=4, lora_alpha=8.0)
BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
    "max_position_embeddings": 20,
}
OTHERS = {
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "vocab_size": 50},
    "modernbert": {**BERT, "pad_token_id": 0},
    "gpt2": {
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "vocab_size": 50,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    "longformer": {**BERT, "attention_window": 4},
    "llama": {**BERT, "num_key_value_heads": 1},
    "qwen2": {**BERT, "num_key_value_heads": 1},
}


def build(model_type: str = "bert", **changes) -> LongTextClassifier:
    torch.manual_seed(0)
    values = {**OTHERS.get(model_type, BERT), **changes}
    encoder_config = AutoConfig.for_model(model_type, **values)
    config = LongTextConfig(
        encoder=model_type,
        # Under one name, whatever the architecture calls it.
        encoder_config={**encoder_config.to_dict(), "hidden_size": encoder_config.hidden_size},
        aggregator_hidden=8,
        num_labels=3,
        dropout=0.0,
    )
    arguments = pooler_arguments(model_type)
    return LongTextClassifier(config, AutoModel.from_config(encoder_config, **arguments)).eval()


def trained(model: LongTextClassifier) -> LongTextClassifier:
    """Give the updates values as training would: those that start at zero too."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@torch.no_grad()
def answers(model: LongTextClassifier) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(4, 50, (3, 4, 8), generator=generator)
    return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


@pytest.mark.parametrize(
    ("model_type", "names"),
    [
        ("bert", {"query", "value"}),
        ("roberta", {"query", "value"}),
        ("xlm-roberta", {"query", "value"}),
        ("electra", {"query", "value"}),
        ("ernie", {"query", "value"}),
        ("distilbert", {"q_lin", "v_lin"}),
        ("modernbert", {"Wqkv"}),
        ("gpt2", {"c_attn"}),
        ("longformer", {"query", "value"}),
        ("deberta-v2", {"query_proj", "value_proj"}),
        ("mpnet", {"q", "v"}),
        ("llama", {"q_proj", "v_proj"}),
        ("qwen2", {"q_proj", "v_proj"}),
    ],
)
def test_query_and_value_are_found_and_merge_into_the_same_answers(model_type, names):
    model = build(model_type)
    before, parameters = answers(model), {name for name, _ in model.named_parameters()}
    add_adapters(model, LORA)
    adapted = {n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, LoraLayer)}
    assert adapted == names
    assert torch.equal(answers(model), before)
    unmerged = answers(trained(model))
    assert (unmerged - before).abs().max() > 1e-3
    merge_adapters(model)
    assert {name for name, _ in model.named_parameters()} == parameters
    torch.testing.assert_close(answers(model), unmerged, rtol=0, atol=1e-5)


def test_r43_merged_equals_unmerged_equals_reloaded(tmp_path):
    model = build()
    add_adapters(model, LORA)
    with torch.no_grad():
        trained(model).head.classifier.weight.add_(0.5)
    unmerged = answers(model)
    merge_adapters(model)
    digest = weights_digest(model.encoder)
    model.save_pretrained(tmp_path)
    reloaded = LongTextClassifier.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(answers(model), unmerged, rtol=0, atol=1e-5)
    assert torch.equal(answers(reloaded), answers(model))
    assert weights_digest(reloaded.encoder) == digest
    assert not has_adapters(model)
    assert not any("lora" in name for name in load_file(tmp_path / "model.safetensors"))


def test_r43_a_checkpoint_of_the_whole_state_brings_back_head_and_updates():
    model, other = build(), build()
    for item in (model, other):
        add_adapters(item, LORA)
    with torch.no_grad():
        trained(model).head.classifier.weight.add_(0.5)
    other.load_state_dict(model.state_dict())
    assert torch.equal(answers(other), answers(model))


def test_only_updates_and_head_are_trained():
    model = build()
    add_adapters(model, LORA)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (".lora_" in name or name.startswith("head.")), name
    model.train()
    ids = torch.randint(4, 50, (2, 3, 8))
    model(input_ids=ids, labels=torch.tensor([0, 1])).loss.backward()
    touched = {name for name, item in model.named_parameters() if item.grad is not None}
    assert touched == {name for name, item in model.named_parameters() if item.requires_grad}


def test_a_merged_model_is_trained_whole_again():
    model = build()
    before = copy.deepcopy(model.state_dict())
    add_adapters(model, LORA)
    merge_adapters(model)
    assert all(parameter.requires_grad for parameter in model.parameters())
    # Updates that were never trained are zero.
    assert all(torch.equal(item, before[name]) for name, item in model.state_dict().items())
    merge_adapters(model)


def test_the_share_that_is_trained_counts_the_encoder_alone():
    model = build(vocab_size=20_000)
    own = sum(item.numel() for item in model.encoder.parameters())
    add_adapters(model, LORA)
    # Two layers, two projections, two factors of 4 x 16.
    assert trainable_share(model) == 2 * 2 * 2 * 4 * 16 / own
    assert trainable_share(model) <= 0.01
    assert describe_adapters(model).startswith(
        "LoRA on 4 layers (query, value): 512 parameters learn, 0.16 % of the encoder's 3"
    )


@pytest.mark.shared
def test_the_defaults_train_at_most_a_hundredth_of_e5_small(shared_folder):
    encoder = AutoModel.from_pretrained(
        shared_folder / "models/e5-small-zh-en", add_pooling_layer=False
    )
    config = LongTextConfig(encoder="bert", encoder_config=encoder.config.to_dict(), num_labels=3)
    model = LongTextClassifier(config, encoder)
    add_adapters(model, ModelSettings(encoder="some", lora=True))
    assert 0.005 < trainable_share(model) <= 0.01


def test_named_layers_are_taken():
    model = build()
    asked = LORA.model_copy(update={"lora_target_modules": ("key", "attention.output.dense")})
    add_adapters(model, asked)
    found = [name for name, item in model.named_modules() if isinstance(item, LoraLayer)]
    assert len(found) == 4
    assert all(name.endswith(("self.key", "attention.output.dense")) for name in found)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("query", "q_proj"), r"no linear layer 'q_proj'.*called dense, key, query, value"),
        ((), "lora_target_modules must name linear layers"),
    ],
)
def test_names_without_a_layer_are_refused(asked, message):
    with pytest.raises(ConfigError, match=message):
        add_adapters(build(), LORA.model_copy(update={"lora_target_modules": asked}))


def test_an_encoder_of_unknown_names_wants_them_named():
    model = build()
    for layer in model.encoder.model.encoder.layer:
        layer.attention.self.one, layer.attention.self.query = layer.attention.self.query, None
    with pytest.raises(ConfigError, match="layers are called dense, key, one, value"):
        add_adapters(model, LORA)
