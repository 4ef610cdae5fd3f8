"""A pretrained encoder with the layers that guess words, loaded and found whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError
from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoModelForMaskedLM

from longform.errors import ConfigError, InputError
from longform.training.encoder_loading import encoder_source


def load_masked_encoder(name: str) -> tuple[Any, bool]:
    """Load an encoder in fp32 with the layers that guess words, and tell whether these are new.

    Raises:
        InputError: It cannot be loaded, or a part of its weights is missing.
    """
    with explaining(name):
        model, loading = AutoModelForMaskedLM.from_pretrained(
            encoder_source(name), dtype="float32", output_loading_info=True
        )
    return model, _check_weights(name, model, loading["missing_keys"])


@contextmanager
def explaining(name: str) -> Iterator[None]:
    """Turn what the libraries raise for an encoder that cannot be read into an `InputError`."""
    try:
        yield
    # A damaged file is a SafetensorError, weights of another shape are a RuntimeError.
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        raise InputError(
            "The encoder must be a folder (or a name in the local Hugging Face cache) with "
            "config.json, model.safetensors and a tokenizer.",
            found=f"'{name}': {' '.join(str(error).split())[:300]}",
            fix="Give the path of a downloaded model.",
        ) from error


def require_encoder(name: str, config: Any) -> None:
    """Make sure that a model reads a text in both directions, as guessing words takes.

    Raises:
        ConfigError: It does not.
    """
    is_decoder = getattr(config, "is_decoder", False) or config.is_encoder_decoder
    if is_decoder or type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise ConfigError(
            "Masked language modelling is for encoders, which read a text in both directions.",
            found=f"'{name}' is of the type {config.model_type}, which is none",
            fix="Give an encoder such as BERT, RoBERTa, ERNIE or ModernBERT; a decoder can be "
            "fine-tuned as it is, with 'longform train'.",
        )


def _check_weights(name: str, model: Any, missing: Sequence[str]) -> bool:
    """Tell whether the head is new; refuse an encoder of which a part is missing."""
    prefix = f"{model.base_model_prefix}."
    absent = sorted(key for key in missing if key.startswith(prefix) and "pooler" not in key)
    if absent:
        raise InputError(
            "The weights of the encoder must be those of the model that its config.json names.",
            found=f"'{name}' has no weights for {len(absent)} parameters, such as {absent[0]}",
            fix="Copy config.json and the weights from the same model.",
        )
    return any(not key.startswith(prefix) for key in missing)
