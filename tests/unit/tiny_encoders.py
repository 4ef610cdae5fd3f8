"""Encoders of a few thousand parameters, random but for their seed, that fit `tiny_tokenizers`."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModel

from longform.models.encoders import pooler_arguments
from longform.text.tokenization import TextTokenizer

KINDS = ("bert", "xlm-roberta", "electra")


def tiny_encoder(tokenizer: TextTokenizer, kind="bert", layers=3, heads=4, width=16):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=tokenizer.vocabulary_size,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * width,
        max_position_embeddings=80,
        pad_token_id=tokenizer.pad_id,
        **({"embedding_size": width} if kind == "electra" else {}),
    )
    encoder = AutoModel.from_config(config, **pooler_arguments(kind))
    with torch.no_grad():
        # The library's own scale is so small that attention is even and every head alike.
        for name, parameter in encoder.named_parameters():
            if parameter.ndim == 2:
                parameter.mul_(10)
            elif name.endswith("bias"):
                parameter.normal_(std=0.2)
    return encoder.eval()


def hidden_states(encoder, ids):
    ids = torch.as_tensor(ids)
    ids = ids if ids.ndim == 2 else ids.unsqueeze(0)
    with torch.inference_mode():
        return encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
