"""A pretrained encoder and its tokenizer, from a folder, a name or a bundle, checked to fit."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoTokenizer

from longform.bundle import load_bundle
from longform.config import RunConfig, TokenPooling
from longform.errors import ConfigError, InputError
from longform.models import LongTextConfig, load_classifier
from longform.models.encoders import SCRATCH
from longform.models.pretrained import (
    DECODERS,
    ENCODERS,
    REFUSED,
    default_pooling,
    is_causal,
    offsets_positions,
    pooler_arguments,
    usable_positions,
)
from longform.reporting import Reporter
from longform.text.tokenization import TextTokenizer

_PRUNED = "pruned-"
"""Before the model type of an encoder that lost attention heads and is otherwise unchanged."""


@dataclass(frozen=True, slots=True)
class LoadedEncoder:
    """An encoder to start from.

    Attributes:
        model: A Hugging Face model without a head, in fp32.
        tokenizer: Its own.
        pooling: What `token_pooling: null` means for it.
    """

    model: Any
    tokenizer: TextTokenizer
    pooling: TokenPooling


def load_encoder(config: RunConfig, reporter: Reporter) -> LoadedEncoder:
    """Load the encoder that a run names, and check that all of it fits together.

    Args:
        config: The run.
        reporter: Told what of a trained model is left behind.

    Raises:
        InputError: The folder is missing, has no weights or no tokenizer, or they do not belong
            together.
        ConfigError: The encoder's type cannot be exported, or its positions are too few.
    """
    loaded = read_encoder(config, reporter)
    check_fit(config.encoder, config.segment_length, loaded.model, loaded.tokenizer)
    return loaded


def read_encoder(config: RunConfig, reporter: Reporter) -> LoadedEncoder:
    """Load the encoder that a run names, as `load_encoder`, whatever its segments."""
    source = encoder_source(config.encoder)
    if _is_classifier(source):
        return _load_from_bundle(config, Path(source), reporter)
    return _load_pretrained(config, source, reporter)


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


def _load_pretrained(config: RunConfig, source: str, reporter: Reporter) -> LoadedEncoder:
    try:
        encoder_config = AutoConfig.from_pretrained(source)
        _check_type(config.encoder, encoder_config)
        arguments = pooler_arguments(encoder_config.model_type)
        encoder, loading = AutoModel.from_pretrained(
            source, dtype="float32", output_loading_info=True, **arguments
        )
        hub_tokenizer = AutoTokenizer.from_pretrained(source)
        tokenizer = TextTokenizer(hub_tokenizer.backend_tokenizer.to_str())
    # A damaged file is a SafetensorError, weights of another shape are a RuntimeError, and a
    # tokenizer without a fast form has no backend.
    except (
        OSError, ValueError, KeyError, SafetensorError, RuntimeError, AttributeError
    ) as error:  # fmt: skip
        raise InputError(
            "The encoder must be 'bag', 'lstm', 'linformer', 'static', or a folder (or a name in "
            "the local Hugging Face cache) with config.json, model.safetensors and a tokenizer.",
            found=f"'{config.encoder}': {_first_sentence(error)}",
            fix="Give the path of a downloaded model, or leave --encoder out to train 'bag'.",
        ) from error
    _check_weights(config.encoder, loading["missing_keys"])
    _check_special_tokens(encoder, hub_tokenizer, tokenizer)
    if any("ForSequenceClassification" in name for name in encoder_config.architectures or ()):
        reporter.say(
            f"{Path(config.encoder).name} is a classifier of {encoder_config.num_labels} labels: "
            "its encoder is taken, its labels and its head are left behind."
        )
    return LoadedEncoder(encoder, tokenizer, default_pooling(encoder.config))


def _load_from_bundle(config: RunConfig, folder: Path, reporter: Reporter) -> LoadedEncoder:
    """Take the encoder of a trained bundle; its head and its labels stay where they are."""
    description = load_bundle(folder).description
    classifier = load_classifier(folder)
    before: LongTextConfig = classifier.config
    if before.encoder in SCRATCH:
        raise InputError(
            "A bundle to start from must have a pretrained encoder.",
            found=f"{folder.name} has '{before.encoder}', whose vocabulary is that of its corpus",
            fix=f"Train anew with: encoder: {before.encoder}",
        )
    reporter.say(
        f"Starting from the encoder of {folder.name}. Its head for {len(description.labels)} "
        "labels and the labels themselves are left behind; a fresh head is trained."
    )
    for name in ("segment_length", "segment_prefix"):
        was, now = getattr(description.knobs.segments, name), getattr(config, name)
        if was != now:
            reporter.say(f"  {name} was {was!r} when it was trained, and is {now!r} now.")
    return LoadedEncoder(
        classifier.encoder.model,
        TextTokenizer.from_file(folder / "tokenizer.json"),
        before.token_pooling,
    )


def _is_classifier(source: str) -> bool:
    """Tell whether a folder holds a model of longform, which is no encoder by itself."""
    path = Path(source) / "config.json"
    if not path.is_file():
        return False
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("model_type") == LongTextConfig.model_type


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


def _check_type(name: str, encoder_config: Any) -> None:
    """Refuse now what could not be exported, or would not answer alike, after hours of training."""
    kind = str(encoder_config.model_type).removeprefix(_PRUNED)
    if kind in ENCODERS | DECODERS:
        return
    reason = REFUSED.get(kind, "it is not among the types whose export is tested")
    if getattr(encoder_config, "is_encoder_decoder", False):
        reason = "it generates text from text"
    raise ConfigError(
        "The encoder must be of a type that gives the same answers in any batch, and through ONNX.",
        found=f"'{name}' is of the type '{kind}': {reason}",
        fix=f"Take one of these: {', '.join(sorted(ENCODERS | DECODERS))}.",
    )


def _check_weights(name: str, missing: Iterable[str]) -> None:
    """Refuse an encoder of which a part would start from random weights without a word."""
    absent = sorted(key for key in missing if "pooler" not in key)
    if absent:
        raise InputError(
            "The weights of the encoder must be those of the model that its config.json names.",
            found=f"'{name}' has no weights for {len(absent)} parameters, such as {absent[0]}",
            fix="Copy config.json and the weights from the same model.",
        )


def _check_special_tokens(encoder: Any, hub_tokenizer: Any, tokenizer: TextTokenizer) -> None:
    """Refuse the tokenizer of another model, which its special tokens give away."""
    wanted = encoder.config
    pairs = []
    # A decoder never attends to padding, and many have no token for it.
    if not is_causal(wanted):
        pairs.append(("pad", hub_tokenizer.pad_token_id, wanted.pad_token_id))
    # The others of the field leave RoBERTa's ids in the configurations of BERTs.
    frame = tokenizer.frame()[0]
    if offsets_positions(encoder) and frame:
        pairs.append(("bos", frame[0], wanted.bos_token_id))
    for kind, found, expected in pairs:
        if None not in (found, expected) and found != expected:
            raise InputError(
                "Tokenizer and encoder must have the same special tokens.",
                found=f"{kind}_token_id {found} in the tokenizer and {expected} in config.json",
                fix="Copy tokenizer.json and config.json from the same model.",
            )


def check_fit(name: str, segment_length: int, encoder: Any, tokenizer: TextTokenizer) -> None:
    """Refuse segments longer than the encoder takes, and a tokenizer of another encoder.

    Args:
        name: Of the encoder, as the user gave it.
        segment_length: Tokens of a segment.
        encoder: The Hugging Face model; its weights are not looked at.
        tokenizer: The one that came with it.

    Raises:
        ConfigError: `segment_length` is more than the encoder can take.
        InputError: The tokenizer has more tokens than the encoder has vectors.
    """
    positions = usable_positions(encoder)
    if positions is not None and segment_length > positions:
        raise ConfigError(
            "segment_length must fit the encoder.",
            found=f"segment_length {segment_length}, but {name} takes at most {positions} tokens, "
            "special tokens included",
            fix=f"Set segment_length to {positions} or less.",
        )
    if tokenizer.vocabulary_size > encoder.config.vocab_size:
        raise InputError(
            "The encoder must have a vector for every token of its tokenizer.",
            found=f"a tokenizer of {tokenizer.vocabulary_size:,} tokens and an encoder of "
            f"{encoder.config.vocab_size:,}",
            fix="Copy tokenizer.json and the weights from the same model.",
        )


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
