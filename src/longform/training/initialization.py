"""The untrained model: an encoder and its tokenizer from a folder, or `bag` from the corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from longform.config import RunConfig
from longform.data.labels import LabelMap
from longform.errors import ConfigError, InputError
from longform.models import LongTextClassifier, LongTextConfig
from longform.models.encoders import pooler_arguments
from longform.text.cleaning import Cleaner
from longform.text.tokenization import TextTokenizer
from longform.text.vocabulary import train_tokenizer

_VOCABULARY_CHARACTERS = 20_000_000
"""Characters of the corpus that the tokenizer of `bag` learns from: more changes nothing."""


def initialize(
    config: RunConfig, labels: LabelMap, texts: Iterable[str]
) -> tuple[LongTextClassifier, TextTokenizer]:
    """Build the model that training starts from, and the tokenizer that belongs to it.

    Args:
        config: The run.
        labels: The classes.
        texts: The training corpus, from which `bag` learns its vocabulary.

    Raises:
        InputError: The encoder's folder is missing, has no weights or no tokenizer.
        ConfigError: The segment length is more than the encoder can take.
    """
    _check_logits(config, labels)
    if config.encoder == "bag":
        cleaner = Cleaner(config.segment_settings())
        cleaned = (cleaner.clean(text).text for text in _limited(texts))
        tokenizer = train_tokenizer(cleaned, config.vocabulary_size)
        settings: dict[str, Any] = {"vocabulary_size": tokenizer.vocabulary_size}
        encoder = None
    else:
        encoder, tokenizer = _load_encoder(config)
        settings = {"encoder_config": encoder.config.to_dict()}
    model_config = LongTextConfig(
        encoder="bag" if encoder is None else encoder.config.model_type,
        bag_dimension=config.bag_dimension,
        bag_buckets=config.bag_buckets,
        bag_token_dropout=config.bag_token_dropout,
        token_pooling=config.token_pooling or "mean",
        aggregator=config.aggregator,
        aggregator_hidden=config.aggregator_hidden,
        aggregator_layers=config.aggregator_layers,
        lstm_bidirectional=config.lstm_bidirectional,
        binary_logits=config.binary_logits,
        text_pair=config.text_pair_column is not None,
        dropout=config.dropout,
        segment_length=config.segment_length,
        id2label={number: name for name, number in labels.label2id.items()},
        label2id=labels.label2id,
        problem_type=labels.problem_type,
        **settings,
    )
    return LongTextClassifier(model_config, encoder), tokenizer


def _check_logits(config: RunConfig, labels: LabelMap) -> None:
    if config.binary_logits == 1 and (labels.is_multi_label or len(labels) != 2):
        what = "any number of labels a document" if labels.is_multi_label else "one of them each"
        raise ConfigError(
            "binary_logits: 1 is for documents that have one of two labels.",
            found=f"{len(labels)} labels, {what}",
            fix="Leave binary_logits out: then each class gets its own logit.",
        )


def weights_digest(model: nn.Module) -> str:
    """Return the SHA-256 over names, shapes and values of all parameters."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


def load_tokenizer(name: str) -> TextTokenizer:
    """Load the tokenizer of a Hugging Face model.

    Args:
        name: A folder, or a name in the local cache.

    Raises:
        InputError: There is none.
    """
    source = str(Path(name).expanduser()) if Path(name).expanduser().exists() else name
    try:
        loaded = AutoTokenizer.from_pretrained(source)
        return TextTokenizer(loaded.backend_tokenizer.to_str())
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            "A tokenizer is a folder (or a name in the local Hugging Face cache) that holds "
            "tokenizer.json.",
            found=f"'{name}': {_first_sentence(error)}",
            fix="Give the path of a downloaded model.",
        ) from error


def _load_encoder(config: RunConfig) -> tuple[Any, TextTokenizer]:
    source = encoder_source(config.encoder)
    try:
        encoder_config = AutoConfig.from_pretrained(source)
        arguments = pooler_arguments(encoder_config.model_type)
        encoder, loading = AutoModel.from_pretrained(
            source, dtype="float32", output_loading_info=True, **arguments
        )
        hub_tokenizer = AutoTokenizer.from_pretrained(source)
    # A damaged file is a SafetensorError, weights of another shape are a RuntimeError.
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        raise InputError(
            "The encoder must be 'bag', or a folder (or a name in the local Hugging Face cache) "
            "with config.json, model.safetensors and a tokenizer.",
            found=f"'{config.encoder}': {_first_sentence(error)}",
            fix="Give the path of a downloaded model, or leave --encoder out to train 'bag'.",
        ) from error
    _check_weights(config.encoder, loading["missing_keys"])
    tokenizer = TextTokenizer(hub_tokenizer.backend_tokenizer.to_str())
    check_fit(config, encoder.config, tokenizer)
    return encoder, tokenizer


def encoder_source(encoder: str) -> str:
    """Check what can be checked of a folder before transformers looks at it.

    Args:
        encoder: A folder, or a name in the local Hugging Face cache.

    Returns:
        What to hand to `from_pretrained`.

    Raises:
        InputError: A folder lacks a file.
    """
    path = Path(encoder)
    looks_like_path = path.is_absolute() or encoder.startswith((".", "~")) or path.exists()
    if not looks_like_path:
        return encoder
    folder = path.expanduser()
    wanted = {
        "config.json": ["config.json"],
        "weights": ["*.safetensors", "*.safetensors.index*"],
        # Without one, transformers makes up a tokenizer that knows no word.
        "tokenizer": ["tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken"],
    }
    missing = [
        name
        for name, patterns in wanted.items()
        if not any(True for pattern in patterns for _ in folder.glob(pattern))
    ]
    if missing:
        present = sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []
        raise InputError(
            "The encoder's folder must hold config.json, weights (model.safetensors) and a "
            "tokenizer (tokenizer.json).",
            found=f"{folder} has no {' and no '.join(missing)}"
            + (f"; it has {', '.join(present[:8]) or 'nothing'}" if folder.is_dir() else ""),
            fix="Copy the whole model folder, or leave --encoder out to train 'bag' from nothing.",
        )
    return str(folder)


def _check_weights(name: str, missing: Iterable[str]) -> None:
    """Refuse an encoder of which a part would start from random weights without a word."""
    absent = sorted(key for key in missing if "pooler" not in key)
    if absent:
        raise InputError(
            "The weights of the encoder must be those of the model that its config.json names.",
            found=f"'{name}' has no weights for {len(absent)} parameters, such as {absent[0]}",
            fix="Copy config.json and the weights from the same model.",
        )


def check_fit(config: RunConfig, encoder_config: Any, tokenizer: TextTokenizer) -> None:
    """Refuse segments longer than the encoder takes, and a tokenizer of another encoder.

    Raises:
        ConfigError: `segment_length` is more than the encoder can take.
        InputError: The tokenizer has more tokens than the encoder has vectors.
    """
    positions = getattr(encoder_config, "max_position_embeddings", None)
    if positions is not None and "roberta" in encoder_config.model_type:
        # RoBERTa counts its positions from the padding id plus one.
        positions -= (encoder_config.pad_token_id or 0) + 1
    if positions is not None and config.segment_length > positions:
        raise ConfigError(
            "segment_length must fit the encoder.",
            found=f"segment_length {config.segment_length}, but {config.encoder} takes at most "
            f"{positions} tokens, special tokens included",
            fix=f"Set segment_length to {positions} or less.",
        )
    if tokenizer.vocabulary_size > encoder_config.vocab_size:
        raise InputError(
            "The encoder must have a vector for every token of its tokenizer.",
            found=f"a tokenizer of {tokenizer.vocabulary_size:,} tokens and an encoder of "
            f"{encoder_config.vocab_size:,}",
            fix="Copy tokenizer.json and the weights from the same model.",
        )


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _limited(texts: Iterable[str]) -> Iterable[str]:
    characters = 0
    for text in texts:
        if characters >= _VOCABULARY_CHARACTERS:
            return
        characters += len(text)
        yield text
