"""Masked language modelling of a pretrained encoder on texts without labels, built in sequence.

After Gururangan et al., "Don't Stop Pretraining: Adapt Language Models to Domains and Tasks"
(2020).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoTokenizer

from longform.config import SCRATCH_ENCODERS, PretrainingSettings
from longform.errors import InputError, LongformError
from longform.reporting import Reporter
from longform.text.segmenter import Segmenter
from longform.text.tokenization import TextTokenizer
from longform.training.devices import pick_device
from longform.training.encoder_loading import check_fit, encoder_source
from longform.training.masked_corpus import cut_segments, sample
from longform.training.masked_encoder import explaining, load_masked_encoder, require_encoder
from longform.training.masked_segments import MaskedCollator, MaskedSegments
from longform.training.masked_trainer import MaskedTrainer, describe
from longform.training.masking import Vocabulary, WordMasker
from longform.types import Document

_NEW_HEAD_RATE = 1e-3
_NEW_HEAD = (
    "The encoder comes without the layers that guess words: they begin from random weights, beside "
    "its table of tokens."
)


@dataclass(frozen=True, slots=True)
class PretrainedEncoder:
    """What pretraining leaves.

    Attributes:
        model: Of `AutoModelForMaskedLM`, on the CPU.
        tokenizer: The transformers tokenizer that belongs to it.
        summary: What was done: losses before and after, segments, steps, seconds.
    """

    model: Any
    tokenizer: Any
    summary: dict[str, Any]


def pretrain(
    settings: PretrainingSettings,
    train: Sequence[Document],
    validation: Sequence[Document],
    folder: Path,
    reporter: Reporter | None = None,
) -> PretrainedEncoder:
    """Let an encoder guess masked words of texts.

    Args:
        settings: The run; `encoder` is set.
        train: Documents to learn from.
        validation: Documents that the loss is measured on.
        folder: For checkpoints; a run found there is continued.
        reporter: Told what was decided and how it goes.

    Raises:
        InputError: The encoder or the texts cannot be used.
        LongformError: The loss is no number any more.
    """
    reporter, started = reporter or Reporter(), time.perf_counter()
    _prepare_transformers(settings.seed)
    hub_tokenizer = open_tokenizer(settings)
    model, has_new_head = load_masked_encoder(str(settings.encoder))
    tokenizer = TextTokenizer(hub_tokenizer.backend_tokenizer.to_str())
    segmenter = Segmenter(tokenizer, settings.segment_settings())
    masker = _masker(settings, tokenizer, int(hub_tokenizer.mask_token_id))
    learnt = cut_segments(segmenter, masker, train, reporter)
    judged = sample(cut_segments(segmenter, masker, validation, reporter), settings.seed, reporter)
    reporter.say(
        f"{len(train):,} documents to learn from, {len(learnt):,} segments; the loss is measured "
        f"on {len(judged):,} segments of {len(validation):,} others."
    )
    if has_new_head:
        reporter.say(_NEW_HEAD)
    device = pick_device(reporter, settings.device)
    trainer = MaskedTrainer(
        model,
        settings,
        _head_rate(settings, is_new=has_new_head),
        folder,
        device,
        reporter,
        train_dataset=MaskedSegments(learnt, masker),
        eval_dataset=MaskedSegments(judged, masker),
        data_collator=MaskedCollator(tokenizer.pad_id),
    )
    first = trainer.measure()
    reporter.say(f"  before        {describe(first)}")
    trainer.fit()
    last = _finite(trainer.result())
    summary = {
        "documents": len(train),
        "validation_documents": len(validation),
        "new_head": has_new_head,
        **{"before": _rounded(first), "after": _rounded(last), "device": device.name},
        **trainer.account(),
        "seconds": round(time.perf_counter() - started, 1),
    }
    return PretrainedEncoder(model.cpu().eval(), hub_tokenizer, summary)


def _prepare_transformers(seed: int) -> None:
    """Seed everything, and keep bars and notices of the library off the user's screen."""
    transformers.set_seed(seed)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def _head_rate(settings: PretrainingSettings, *, is_new: bool) -> float:
    return settings.head_learning_rate or (_NEW_HEAD_RATE if is_new else settings.learning_rate)


def _masker(settings: PretrainingSettings, tokenizer: TextTokenizer, mask_id: int) -> WordMasker:
    before, after = tokenizer.frame(settings.segment_prefix)
    return WordMasker(
        Vocabulary(tokenizer.serialized),
        (len(before), len(after)),
        mask_id,
        tokenizer.unknown_id,
        settings.mlm_probability,
        settings.seed,
    )


def open_tokenizer(settings: PretrainingSettings) -> Any:
    """Check all that can be known of an encoder without its weights.

    Returns:
        Its transformers tokenizer.

    Raises:
        InputError: The encoder cannot be loaded, or has no mask token.
        ConfigError: It is no encoder, or the segments do not fit it.
    """
    name = settings.encoder
    if name is None or name in SCRATCH_ENCODERS:
        raise InputError(
            "Pretraining goes on with a pretrained encoder.",
            found="no --encoder" if name is None else f"'{name}', which starts from nothing",
            fix="Give the folder of a downloaded encoder: --encoder FOLDER.",
        )
    source = encoder_source(name)
    with explaining(name):
        config = AutoConfig.from_pretrained(source)
        hub_tokenizer = AutoTokenizer.from_pretrained(source)
        tokenizer = TextTokenizer(hub_tokenizer.backend_tokenizer.to_str())
    require_encoder(name, config)
    if hub_tokenizer.mask_token_id is None:
        raise InputError(
            "Masked language modelling needs a tokenizer with a mask token.",
            found=f"the tokenizer of '{name}' ({type(hub_tokenizer).__name__}) has none",
            fix="Use an encoder that was trained with one, such as BERT, RoBERTa or ModernBERT.",
        )
    with torch.device("meta"):
        shape = AutoModel.from_config(config)
    check_fit(name, settings.segment_length, shape, tokenizer)
    return hub_tokenizer


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    if not math.isfinite(metrics["loss"]):
        raise LongformError(
            "The masked loss must stay a finite number.",
            found=f"{metrics['loss']} after the last step",
            fix="Lower learning_rate, or set bf16 to false.",
        )
    return metrics


def _rounded(metrics: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in metrics.items()}
