"""Encoders of Hugging Face, bidirectional or causal, with their token vectors pooled."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from longform.models.configuration import LongTextConfig, TokenPooling
from longform.models.longformer import put_into_blocks, read_longformer
from longform.models.pooling import TOKEN_POOLINGS

ENCODERS = frozenset(
    {
        "albert",
        "bert",
        "camembert",
        "data2vec-text",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "ernie",
        "ibert",
        "longformer",
        "megatron-bert",
        "mobilebert",
        "modernbert",
        "mpnet",
        "nomic_bert",
        "rembert",
        "roberta",
        "roformer",
        "xlm-roberta",
    }
)
"""Bidirectional model types whose answers were found equal through ONNX at opset 18, and free of
padding."""

DECODERS = frozenset(
    {
        "bloom",
        "ernie4_5",
        "gemma",
        "gemma2",
        "gemma3_text",
        "glm",
        "gpt2",
        "gpt_neo",
        "gpt_neox",
        "gptj",
        "llama",
        "mistral",
        "opt",
        "phi",
        "phi3",
        "qwen2",
        "qwen3",
    }
)
"""Causal model types of which the same is true."""

REFUSED = {
    "big_bird": "its random attention is planned for one length at a time",
    "convbert": "its convolutions read padding, so that an answer would depend on the batch",
    "fnet": "its Fourier transform reads padding, so that an answer would depend on the batch",
    "nystromformer": "its landmarks read padding, so that an answer would depend on the batch",
}
"""Model types that were tried and cannot be used, and why."""

_WITH_POOLER = frozenset(
    {
        "albert",
        "bert",
        "camembert",
        "data2vec-text",
        "ernie",
        "ibert",
        "longformer",
        "megatron-bert",
        "mobilebert",
        "mpnet",
        "roberta",
        "xlm-roberta",
    }
)


class PretrainedEncoder(nn.Module):
    """A Hugging Face encoder or decoder with its token vectors pooled over the attention mask.

    Args:
        config: `encoder_config` and `token_pooling` are read.
        model: The loaded encoder; None builds one without weights, to be filled by
            `from_pretrained`.
    """

    def __init__(self, config: LongTextConfig, model: nn.Module | None = None) -> None:
        super().__init__()
        self.pooling = config.token_pooling
        built: Any = model if model is not None else build_pretrained(config)
        self.model: Any = built
        self.is_longformer = built.config.model_type == "longformer"
        # A decoder would keep keys and values for a next token that never comes.
        self.arguments = {"use_cache": False} if hasattr(built.config, "use_cache") else {}
        if self.is_longformer:
            put_into_blocks(self.model)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode segments.

        Args:
            input_ids: int64 `[segments, tokens]`.
            attention_mask: int64 `[segments, tokens]`.

        Returns:
            float `[segments, hidden_size]`.
        """
        if self.is_longformer:
            hidden = read_longformer(self.model, input_ids, attention_mask)
        else:
            output = self.model(
                input_ids=input_ids, attention_mask=attention_mask, **self.arguments
            )
            hidden = output.last_hidden_state
        return TOKEN_POOLINGS[self.pooling](hidden, attention_mask)


def build_pretrained(config: LongTextConfig) -> nn.Module:
    """Build the Hugging Face encoder of a configuration, with random weights."""
    values = dict(config.encoder_config or {})
    encoder_config = AutoConfig.for_model(values.pop("model_type"), **values)
    return AutoModel.from_config(encoder_config, **pooler_arguments(encoder_config.model_type))


def pooler_arguments(model_type: str) -> dict[str, Any]:
    """Return the arguments that leave out a pooler, which no pooling of ours reads."""
    return {"add_pooling_layer": False} if model_type in _WITH_POOLER else {}


def own_settings(encoder_config: Any) -> dict[str, Any]:
    """Return the configuration of an encoder without what it says of a head that it had."""
    of_another_head = ("id2label", "label2id", "num_labels", "problem_type", "_name_or_path")
    return {
        name: value
        for name, value in encoder_config.to_dict().items()
        if name not in of_another_head
    }


def is_causal(encoder_config: Any) -> bool:
    """Tell whether a token sees only what stands before it, so that the last one has seen all.

    A type that transformers offers for the next word and not for masked words is a decoder; so is
    a BERT that its configuration says to be one.
    """
    if getattr(encoder_config, "use_bidirectional_attention", False):
        return False
    if getattr(encoder_config, "is_decoder", False):
        return True
    kind = encoder_config.model_type
    return (
        kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )


def default_pooling(encoder_config: Any) -> TokenPooling:
    """Return what `token_pooling: null` means: `last` for a decoder, `mean` otherwise."""
    return "last" if is_causal(encoder_config) else "mean"


def usable_positions(encoder: Any) -> int | None:
    """Return the most tokens that an encoder reads at once; None where nothing bounds them.

    RoBERTa and its family count positions from the padding id plus one: of 514 positions 512 are
    usable. Such a table of positions has a row for padding.
    """
    stated = getattr(encoder.config, "max_position_embeddings", None)
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - offset
    return int(stated) if isinstance(stated, int) and stated > 0 else None


def offsets_positions(encoder: Any) -> bool:
    """Tell whether an encoder counts positions from its padding id, as RoBERTa does."""
    return any(
        name.endswith("position_embeddings")
        and isinstance(module, nn.Embedding)
        and module.padding_idx is not None
        for name, module in encoder.named_modules()
    )
