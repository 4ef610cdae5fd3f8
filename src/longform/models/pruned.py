"""Encoders whose layers have lost attention heads, which the configurations of BERT cannot say.

A BERT's configuration holds one number of heads, and the size of a head follows from it: half the
heads would be heads twice as wide. The classes here are the library's own with one more field,
`heads_per_layer`, and matrices of that many heads. They load after `import longform.models`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn
from transformers import AutoConfig, AutoModel
from transformers.models.bert import BertConfig, BertModel
from transformers.models.camembert import CamembertConfig, CamembertModel
from transformers.models.electra import ElectraConfig, ElectraModel
from transformers.models.ernie import ErnieConfig, ErnieModel
from transformers.models.roberta import RobertaConfig, RobertaModel
from transformers.models.xlm_roberta import XLMRobertaConfig, XLMRobertaModel

PREFIX = "pruned-"
"""What stands before the `model_type` of the whole encoder."""

_ARCHITECTURES: tuple[tuple[Any, Any], ...] = (
    (BertConfig, BertModel),
    (CamembertConfig, CamembertModel),
    (ElectraConfig, ElectraModel),
    (ErnieConfig, ErnieModel),
    (RobertaConfig, RobertaModel),
    (XLMRobertaConfig, XLMRobertaModel),
)
PRUNABLE = tuple(configuration.model_type for configuration, _ in _ARCHITECTURES)
"""Values of `model_type` whose heads can be removed."""


def attentions(encoder: Any) -> Iterator[Any]:
    """Yield the attention of each layer: `self` with query, key and value, and `output`."""
    for layer in encoder.encoder.layer:
        yield layer.attention


def whole_type(model_type: str) -> str:
    """Return the `model_type` that an encoder had before it lost heads."""
    return model_type.removeprefix(PREFIX)


def heads_per_layer(encoder: Any) -> list[int]:
    """Return how many attention heads each layer of a BERT-like encoder has."""
    return [
        attention.self.query.out_features // attention.self.attention_head_size
        for attention in attentions(encoder)
    ]


class _PrunedHeads(nn.Module):
    """Makes the matrices of attention as small as the configuration says."""

    def __init__(self, config: Any, **kwargs: Any) -> None:
        # No pooling of ours reads the library's pooler, and ELECTRA has none to leave out.
        without = {} if isinstance(config, ElectraConfig) else {"add_pooling_layer": False}
        super().__init__(config, **{**without, **kwargs})
        shrink_attentions(self, config.heads_per_layer)


def shrink_attentions(encoder: Any, heads: Sequence[int]) -> None:
    """Give each layer new, unfilled matrices for so many heads.

    The attention itself reads the number of heads off its matrices and the size of a head off the
    configuration, where it stands unchanged.
    """
    for attention, count in zip(attentions(encoder), heads, strict=True):
        width = count * attention.self.attention_head_size
        for name in ("query", "key", "value"):
            whole = getattr(attention.self, name)
            setattr(attention.self, name, nn.Linear(whole.in_features, width))
        attention.output.dense = nn.Linear(width, attention.output.dense.out_features)
        attention.self.num_attention_heads = count
        attention.self.all_head_size = width


def _register(configuration: Any, model: Any) -> None:
    names = {"model_type": f"{PREFIX}{configuration.model_type}"}
    pruned = type(f"Pruned{configuration.__name__}", (configuration,), names)
    AutoConfig.register(names["model_type"], pruned)
    classes = (_PrunedHeads, model)
    AutoModel.register(pruned, type(f"Pruned{model.__name__}", classes, {"config_class": pruned}))


for _configuration, _model in _ARCHITECTURES:
    _register(_configuration, _model)
