"""The untrained model: a pretrained encoder and its tokenizer, or both from the corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from torch import nn

from longform.config import SCRATCH_ENCODERS, STATIC, RunConfig, TokenPooling
from longform.data.labels import LabelMap
from longform.errors import ConfigError
from longform.models import LongTextClassifier, LongTextConfig
from longform.models.pretrained import own_settings
from longform.reporting import Reporter
from longform.text.cleaning import Cleaner
from longform.text.tokenization import TextTokenizer
from longform.text.vocabulary import train_tokenizer
from longform.training.encoder_loading import load_encoder
from longform.training.static_vectors import fill_table, open_source, token_vectors

_VOCABULARY_CHARACTERS = 20_000_000
"""Characters of the corpus that a tokenizer is learnt from: more changes nothing."""

_SCRATCH_POOLING: dict[str, TokenPooling] = {"bag": "mean", "lstm": "max", "linformer": "mean"}
"""What `token_pooling: null` means for encoders trained from nothing."""


def initialize(
    config: RunConfig, labels: LabelMap, texts: Iterable[str], reporter: Reporter | None = None
) -> tuple[LongTextClassifier, TextTokenizer]:
    """Build the model that training starts from, and the tokenizer that belongs to it.

    Args:
        config: The run.
        labels: The classes.
        texts: The training corpus, from which an encoder trained from nothing learns its
            vocabulary.
        reporter: Told what was decided, and what of a trained model is left behind.

    Raises:
        InputError: The encoder's folder is missing, has no weights or no tokenizer.
        ConfigError: The segment length is more than the encoder can take, or its type cannot be
            exported.
    """
    reporter = reporter or Reporter()
    _check_logits(config, labels)
    encoder, vectors = None, None
    if config.encoder == STATIC:
        source = open_source(config, reporter)
        vectors = token_vectors(source, config, weights_digest(source.model), reporter)
        tokenizer, pooling = source.tokenizer, source.pooling
        settings: dict[str, Any] = {"encoder": STATIC, "vocabulary_size": len(vectors)}
    elif config.encoder in SCRATCH_ENCODERS:
        cleaner = Cleaner(config.segment_settings())
        cleaned = (cleaner.clean(text).text for text in _limited(texts))
        tokenizer = train_tokenizer(cleaned, config.vocabulary_size)
        settings = {"encoder": config.encoder, "vocabulary_size": tokenizer.vocabulary_size}
        pooling = _SCRATCH_POOLING[config.encoder]
    else:
        loaded = load_encoder(config, reporter)
        encoder, tokenizer, pooling = loaded.model, loaded.tokenizer, loaded.pooling
        settings = {
            "encoder": encoder.config.model_type,
            "encoder_config": own_settings(encoder.config),
        }
        if config.token_pooling is None:
            reporter.say(f"Token vectors are pooled by: {pooling}.")
    copied = {name: getattr(config, name) for name in _COPIED}
    model_config = LongTextConfig(
        **copied,
        **settings,
        token_pooling=config.token_pooling or pooling,
        text_pair=config.text_pair_column is not None,
        id2label={number: name for name, number in labels.label2id.items()},
        label2id=labels.label2id,
        problem_type=labels.problem_type,
    )
    model = LongTextClassifier(model_config, encoder)
    if vectors is not None:
        fill_table(model, vectors)
    return model, tokenizer


_COPIED = (
    "bag_dimension",
    "bag_buckets",
    "bag_token_dropout",
    "static_dimension",
    "static_token_dropout",
    "encoder_hidden",
    "encoder_layers",
    "encoder_heads",
    "linformer_k",
    "aggregator",
    "aggregator_hidden",
    "aggregator_layers",
    "aggregator_heads",
    "lstm_bidirectional",
    "max_segments",
    "binary_logits",
    "dropout",
    "segment_length",
)
"""Settings that the model's configuration takes as they are."""


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


def _limited(texts: Iterable[str]) -> Iterable[str]:
    characters = 0
    for text in texts:
        if characters >= _VOCABULARY_CHARACTERS:
            return
        characters += len(text)
        yield text
