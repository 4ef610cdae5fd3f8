"""Where the token vectors of `static` come from: a pretrained encoder reads each token by itself.

The method of model2vec (Tulkens and van Dongen, 2024): each token of the vocabulary is read as a
text of its own, the vectors are centred and reduced to their principal components, and what is
frequent counts for less. Frequencies are those of the training documents, which hold for
vocabularies in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from longform.backends.torch import TorchBackend
from longform.config import RunConfig
from longform.errors import ConfigError, InputError
from longform.inference.packing import collate_segments, pack_segments
from longform.models import LongTextClassifier, LongTextConfig
from longform.models.pretrained import own_settings
from longform.models.static import StaticEncoder
from longform.reporting import Reporter
from longform.text.tokenization import TextTokenizer
from longform.training.devices import pick_device
from longform.training.encoder_loading import LoadedEncoder, check_fit, read_encoder
from longform.training.vectors import VectorStore, default_cache_folder
from longform.types import (
    POSITION_FEATURES,
    Coverage,
    Floats,
    Integers,
    Segment,
    SegmentedDocument,
)

_RARE = 1e-3
"""A token of this share of all tokens counts half as much as one that never comes."""
_STANDARDIZED_SEGMENTS = 20_000
"""Segments that mean and deviation of the vectors are taken from."""


def open_source(config: RunConfig, reporter: Reporter) -> LoadedEncoder:
    """Load the encoder of `static_from`, and check that `static_dimension` fits it.

    Args:
        config: The run; `static_from` is set.
        reporter: Told what of a trained model is left behind.

    Raises:
        InputError: It is no folder, or lacks weights or a tokenizer.
        ConfigError: Its type is not among those that are tested, or it is too narrow.
    """
    folder = Path(str(config.static_from)).expanduser()
    if not folder.is_dir():
        raise InputError(
            "static_from must be the folder of a pretrained encoder.",
            found=f"no folder at {folder}",
            fix="Give the path of a downloaded model, or train 'bag', which needs none.",
        )
    loaded = read_encoder(config.model_copy(update={"encoder": str(folder)}), reporter)
    # Of the encoder's positions, one token and its frame must fit, not a segment.
    before, after = loaded.tokenizer.frame(config.segment_prefix)
    check_fit(str(folder), len(before) + 1 + len(after), loaded.model, loaded.tokenizer)
    width, tokens = int(loaded.model.config.hidden_size), int(loaded.model.config.vocab_size)
    most = min(width, tokens - 1)
    if config.static_dimension > most:
        raise ConfigError(
            "static_dimension must be at most the width of the encoder, and less than its tokens.",
            found=f"static_dimension {config.static_dimension}, and an encoder of width {width} "
            f"with {tokens:,} tokens",
            fix=f"Set static_dimension to {most} or less.",
        )
    return loaded


def token_vectors(
    source: LoadedEncoder, config: RunConfig, digest: str, reporter: Reporter
) -> Floats:
    """Let the encoder read each token of its vocabulary alone, or find what it read before.

    Each token stands in the encoder's frame, `segment_prefix` included, and is pooled as a segment
    is; a decoder is pooled at its last token, which has seen the frame.

    Args:
        source: The encoder and its tokenizer.
        config: `segment_prefix`, `token_pooling` and `device` are read.
        digest: SHA-256 of the encoder's weights, by which the vectors are kept on the disk.
        reporter: Told how far the reading is.

    Returns:
        float32 `[tokens, hidden_size]`.
    """
    pooling = config.token_pooling or source.pooling
    encoder_config = LongTextConfig(
        encoder=source.model.config.model_type,
        encoder_config=own_settings(source.model.config),
        token_pooling=pooling,
    )
    device = pick_device(Reporter(), config.device)
    backend = TorchBackend(
        LongTextClassifier(encoder_config, source.model),
        "bf16" if device.bf16 else "fp32",
        device.name,
    )
    before, after = source.tokenizer.frame(config.segment_prefix)
    # Of the encoder, and not of the tokenizer, whose ids may have gaps.
    count = int(source.model.config.vocab_size)
    pieces = tuple(
        Segment(0, 0, np.array([*before, token, *after], dtype=np.int32)) for token in range(count)
    )
    places: Floats = np.zeros((count, POSITION_FEATURES), dtype=np.float32)
    read = SegmentedDocument(pieces, places, Coverage(count, count, count, count))
    key = [digest, pooling, backend.info.precision]
    width, budget = backend.info.vector_size, backend.token_budget
    reporter.say(f"Distilling the vectors of {count:,} tokens from {config.static_from}.")
    with VectorStore(default_cache_folder("tokens"), key, width, budget) as store:
        (vectors,) = store.vectors([read], backend.encode, source.tokenizer.pad_id, reporter)
        return np.array(vectors)


def fill_table(model: LongTextClassifier, vectors: Floats) -> None:
    """Put the principal components of token vectors into the table of a `static` model.

    Args:
        model: Its encoder is `static`.
        vectors: float32 `[tokens, width]`, of every token of the vocabulary.
    """
    encoder = _static(model)
    components = principal_components(vectors, encoder.tokens.embedding_dim)
    with torch.no_grad():
        encoder.tokens.weight.copy_(torch.from_numpy(components))


def principal_components(vectors: Floats, count: int) -> Floats:
    """Centre vectors and keep the directions in which they differ most.

    Args:
        vectors: float32 `[tokens, width]`.
        count: How many directions.

    Returns:
        float32 `[tokens, count]`, the direction of the greatest variance first; scaled so that the
        mean square of all values is 1, since learning rates should not depend on the encoder.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)
    directions = directions[:, ::-1][:, :count]
    # An eigenvector's sign is the library's choice, and a run should be the same on any machine.
    strongest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[strongest, np.arange(count)])
    components = centred @ directions
    scale = np.sqrt((components**2).mean())
    scaled: Floats = (components / (scale or 1.0)).astype(np.float32)
    return scaled


def rarity_weights(counts: Integers, special: Sequence[int]) -> Floats:
    """Return how much each token counts: `a / (a + share)`, and special tokens not at all.

    The weights of Arora et al., "A Simple but Tough-to-Beat Baseline for Sentence Embeddings"
    (2017), with a = 0.001.

    Args:
        counts: int64 `[tokens]`, how often each comes in the training documents.
        special: Ids of tokens that are no text.

    Returns:
        float32 `[tokens]`, between 0 and 1; 1 for a token that never comes.
    """
    text: Integers = counts.copy()
    text[list(special)] = 0
    shares = text / max(1, text.sum())
    weights = _RARE / (_RARE + shares)
    weights[list(special)] = 0.0
    rounded: Floats = weights.astype(np.float32)
    return rounded


def settle_static(
    model: LongTextClassifier, documents: Sequence[SegmentedDocument], tokenizer: TextTokenizer
) -> None:
    """Weigh the tokens of a `static` model by the training documents, and centre its head on them.

    Args:
        model: Its encoder is `static`, the table filled; on any device.
        documents: The training documents.
        tokenizer: Of the encoder.
    """
    encoder = _static(model)
    segments = [segment for document in documents for segment in document.segments]
    read = np.concatenate([segment.token_ids for segment in segments])
    counts: Integers = np.bincount(read, minlength=encoder.tokens.num_embeddings)
    weights = rarity_weights(counts, sorted(tokenizer.special_ids))
    encoder.token_weights.copy_(torch.from_numpy(weights))
    sample = segments[:: max(1, len(segments) // _STANDARDIZED_SEGMENTS)]
    vectors = torch.from_numpy(_read(model, sample, tokenizer.pad_id))
    model.head.standardize(vectors.mean(dim=0), vectors.std(dim=0))


def _read(model: LongTextClassifier, segments: Sequence[Segment], pad_id: int) -> Floats:
    backend = TorchBackend(model)
    lengths = [len(segment.token_ids) for segment in segments]
    vectors: Floats = np.empty((len(segments), backend.info.vector_size), dtype=np.float32)
    for batch in pack_segments(lengths, backend.token_budget):
        vectors[batch] = backend.encode(
            collate_segments([segments[index] for index in batch], pad_id)
        )
    return vectors


def _static(model: LongTextClassifier) -> StaticEncoder:
    if not isinstance(model.encoder, StaticEncoder):
        raise TypeError(f"the encoder is no table of token vectors: {type(model.encoder)}")
    return model.encoder
