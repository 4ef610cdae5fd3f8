"""LoRA: low-rank updates of a pretrained encoder are trained in place of its weights.

The encoder is changed in place and keeps its class. Once the updates are merged, the model is what
it would be after full fine-tuning: what saves, exports and serves knows nothing of adapters.
"""

from __future__ import annotations

from collections.abc import Sequence

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from longform.config import ModelSettings
from longform.errors import ConfigError
from longform.models import LongTextClassifier
from longform.reporting import Reporter

_QUERY_AND_VALUE = (
    ("query", "value"),  # BERT, RoBERTa, XLM-RoBERTa, ELECTRA, ERNIE, ALBERT, Longformer, BigBird
    ("q_proj", "v_proj"),  # Llama, Qwen2, Mistral, Gemma, OPT
    ("q_lin", "v_lin"),  # DistilBERT
    ("query_proj", "value_proj"),  # DeBERTa-v2
    ("q", "v"),  # MPNet, T5
    # One layer that holds query, key and value:
    ("Wqkv",),  # ModernBERT
    ("qkv_proj",),  # Phi-3
    ("query_key_value",),  # GPT-NeoX, BLOOM, Falcon
    ("c_attn",),  # GPT-2
)
"""Names of the projections in the architectures, the first that a model has being its own."""


def add_adapters(
    model: LongTextClassifier, config: ModelSettings, reporter: Reporter | None = None
) -> None:
    """Freeze the encoder and add low-rank updates to its projections, in place, if `lora` says so.

    After Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021). An update starts
    at zero: until it is trained, the model answers as before. The head stays as it is, and learns.

    Args:
        model: With a pretrained encoder.
        config: `lora` and the keys that begin with it are read.
        reporter: Told how much learns.

    Raises:
        ConfigError: The encoder has no linear layer of a name that is asked for.
    """
    if not config.lora:
        return
    linear = _linear_layers(model.encoder)
    targets = _targets(list(linear), config.lora_target_modules)
    chosen = [linear[name] for target in targets for name in _named(linear, target)]
    settings = LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(targets),
        # GPT-2's layers keep their weights transposed.
        fan_in_fan_out=all(isinstance(layer, Conv1D) for layer in chosen),
    )
    inject_adapter_in_model(settings, model.encoder)
    # What peft puts in drops features even in a model that is evaluated.
    model.encoder.train(model.encoder.training)
    if reporter is not None:
        reporter.say(describe_adapters(model))


def merge_adapters(model: LongTextClassifier) -> None:
    """Add the updates to the weights they belong to and remove them, in place.

    To be called before a model is judged: what is judged is then what is exported. The names,
    shapes and number of the parameters are then those of before `add_adapters`.

    Args:
        model: With adapters, or without: then nothing happens.
    """
    for name, layer in list(model.encoder.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge(safe_merge=True)
            model.encoder.set_submodule(name, layer.get_base_layer())
    if hasattr(model.encoder, "peft_config"):
        # peft's note that the module has adapters.
        del model.encoder.peft_config
        model.encoder.requires_grad_(True)


def has_adapters(model: nn.Module) -> bool:
    """Tell whether a model holds updates that are not merged."""
    return any(isinstance(module, LoraLayer) for module in model.modules())


def trainable_share(model: LongTextClassifier) -> float:
    """Return the number of trained parameters of the encoder over that of its own weights."""
    trained, own = _count(model)
    return trained / own


def describe_adapters(model: LongTextClassifier) -> str:
    """Say how much of a model with adapters learns."""
    trained, own = _count(model)
    layers = [name for name, item in model.encoder.named_modules() if isinstance(item, LoraLayer)]
    kinds = sorted({name.rpartition(".")[2] for name in layers})
    head = sum(item.numel() for item in model.head.parameters() if item.requires_grad)
    return (
        f"LoRA on {len(layers)} layers ({', '.join(kinds)}): {trained:,} parameters learn, "
        f"{100 * trained / own:.2f} % of the encoder's {own:,}; and all {head:,} of the head."
    )


def _count(model: LongTextClassifier) -> tuple[int, int]:
    trained = sum(item.numel() for item in model.encoder.parameters() if item.requires_grad)
    everything = sum(item.numel() for item in model.encoder.parameters())
    adapters = sum(
        item.numel() for name, item in model.encoder.named_parameters() if ".lora_" in name
    )
    return trained, everything - adapters


def _linear_layers(encoder: nn.Module) -> dict[str, nn.Module]:
    return {
        name: module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }


def _targets(linear: Sequence[str], asked: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return names that each end the path of a linear layer."""
    if asked is None:
        for names in _QUERY_AND_VALUE:
            if all(_named(linear, name) for name in names):
                return names
        found = "an encoder without query and value projections of a known name"
    else:
        missing = [name for name in asked if not _named(linear, name)]
        if asked and not missing:
            return asked
        found = f"no linear layer {' and none '.join(repr(name) for name in missing)}"
    present = sorted({name.rpartition(".")[2] for name in linear})
    raise ConfigError(
        "lora_target_modules must name linear layers of the encoder.",
        found=f"{found}; its linear layers are called {', '.join(present) or 'nothing'}",
        fix="Name some of these, such as --set 'lora_target_modules=[NAME]'.",
    )


def _named(names: Sequence[str] | dict[str, nn.Module], target: str) -> list[str]:
    return [name for name in names if f".{name}".endswith(f".{target}")]
