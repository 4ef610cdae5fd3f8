"""Encoders as folders in the Hugging Face layout: opened from one or from a bundle, saved whole."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging

from longform.bundle import DESCRIPTION_FILE, load_bundle
from longform.bundle.filesystem import FileSystem
from longform.errors import InputError, LongformError
from longform.models import load_classifier
from longform.models.encoders import pooler_arguments
from longform.text.tokenization import TextTokenizer

RECORD_FILE = "pruning.json"
"""What was done to the encoder; also the mark by which a folder may be replaced."""

_SPECIAL = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@dataclass(slots=True)
class EncoderFolder:
    """An encoder and its tokenizer.

    Attributes:
        encoder: In evaluation mode, in fp32, without a pooler.
        tokenizer: As `tokenizer.json` has it.
        special_tokens: Such as `pad_token`, and the greatest length, for `tokenizer_config.json`.
        from_bundle: Whether it is the encoder of a bundle, whose head stays behind.
    """

    encoder: Any
    tokenizer: TextTokenizer
    special_tokens: dict[str, Any]
    from_bundle: bool = False

    @property
    def longest_segment(self) -> int | None:
        """Most tokens that the encoder takes at once; None where it sets no limit."""
        config = self.encoder.config
        positions: int | None = getattr(config, "max_position_embeddings", None)
        if positions is not None and "roberta" in config.model_type:
            # RoBERTa counts its positions from the padding id plus one.
            positions -= (config.pad_token_id or 0) + 1
        return positions


def open_encoder(source: Path) -> EncoderFolder:
    """Load an encoder.

    Args:
        source: A folder with an encoder, or a bundle.

    Raises:
        InputError: There is neither, or the bundle's encoder is no pretrained one.
        BundleError: The bundle is damaged.
    """
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if (source / DESCRIPTION_FILE).is_file():
        return _open_bundle(source)
    if not (source / "config.json").is_file():
        raise InputError(
            "What is pruned is an encoder's folder in the Hugging Face layout, or a bundle.",
            found=f"no config.json in {source}" if source.is_dir() else f"no folder at {source}",
            fix="Give the path of a downloaded model, or of what 'longform train' wrote.",
        )
    try:
        config = AutoConfig.from_pretrained(source)
        encoder, loading = AutoModel.from_pretrained(
            source,
            dtype=torch.float32,
            output_loading_info=True,
            **pooler_arguments(config.model_type),
        )
        tokenizer = AutoTokenizer.from_pretrained(source)
        serialized = tokenizer.backend_tokenizer.to_str()
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError, RuntimeError) as error:
        raise InputError(
            "An encoder's folder holds config.json, model.safetensors and tokenizer.json.",
            found=f"{source}: {' '.join(str(error).split())[:300]}",
            fix="Copy the whole model folder.",
        ) from error
    missing = sorted(key for key in loading["missing_keys"] if "pooler" not in key)
    if missing:
        raise InputError(
            "The weights of the encoder must be those of the model that its config.json names.",
            found=f"{source} has no weights for {len(missing)} parameters, such as {missing[0]}",
            fix="Copy config.json and the weights from the same model.",
        )
    special = {
        f"{name}_token": str(token)
        for name in _SPECIAL
        if (token := getattr(tokenizer, f"{name}_token", None)) is not None
    }
    special["model_max_length"] = tokenizer.model_max_length
    return EncoderFolder(encoder.eval(), TextTokenizer(serialized), special)


def _open_bundle(source: Path) -> EncoderFolder:
    bundle = load_bundle(source)
    model = load_classifier(bundle.folder)
    inner = getattr(model.encoder, "model", None)
    if not isinstance(inner, nn.Module) or model.config.encoder_config is None:
        raise InputError(
            "Pruning is for pretrained encoders.",
            found=f"a bundle with the encoder '{model.config.encoder}', which has none in it",
            fix="Train it anew with a smaller vocabulary_size or width; for 'static', prune the "
            "encoder that static_from names.",
        )
    tokenizer = TextTokenizer.from_file(bundle.path("tokenizer.json"))
    inside = Tokenizer.from_str(tokenizer.serialized)
    special: dict[str, Any] = {"pad_token": inside.id_to_token(tokenizer.pad_id)}
    if tokenizer.unknown_id is not None:
        special["unk_token"] = inside.id_to_token(tokenizer.unknown_id)
    return EncoderFolder(inner.eval(), tokenizer, special, from_bundle=True)


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse a place that an encoder cannot be saved to, before anything long begins.

    Raises:
        InputError: Something stands there that must not be replaced.
    """
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target.is_dir() and not target.is_symlink() and (target / RECORD_FILE).is_file()):
        raise InputError(
            "The output must be a new folder, or one that 'longform prune' wrote.",
            found=f"something else at {target}",
            fix="Choose another --output; longform never deletes what it did not write.",
        )
    if not overwrite:
        raise InputError(
            "The output folder must not hold an encoder already.",
            found=f"a pruned encoder at {target}",
            fix="Choose another --output, or replace the encoder with --overwrite.",
        )


def save_encoder(
    pruned: EncoderFolder, target: Path, record: dict[str, Any], *, overwrite: bool = False
) -> None:
    """Save an encoder so that its path holds all of it or nothing, and prove that it loads.

    Args:
        pruned: The encoder.
        target: The folder.
        record: What was done, for `pruning.json`.
        overwrite: Replace an encoder that was saved here before.

    Raises:
        InputError: Something stands at the target that must not be replaced.
        LongformError: The file system refused, or the encoder does not load as it was saved.
    """
    target = target.resolve() if target.is_symlink() else target.absolute()
    check_target(target, overwrite)
    with _staging(target) as folder:
        pruned.encoder.save_pretrained(folder)
        PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(pruned.tokenizer.serialized),
            clean_up_tokenization_spaces=False,
            **pruned.special_tokens,
        ).save_pretrained(folder)
        # As it was, and not as the library would write it again.
        (folder / "tokenizer.json").write_text(pruned.tokenizer.serialized, encoding="utf-8")
        text = json.dumps(record, ensure_ascii=False, indent=2, allow_nan=False)
        (folder / RECORD_FILE).write_text(text + "\n", encoding="utf-8")
        _prove(pruned.encoder, folder)


def _prove(encoder: Any, folder: Path) -> None:
    """Make sure that what was saved is, loaded again, what it was."""
    loaded, loading = AutoModel.from_pretrained(
        folder,
        dtype=torch.float32,
        output_loading_info=True,
        **pooler_arguments(encoder.config.model_type),
    )
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, encoder.config.vocab_size, (2, 8), generator=generator)
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        before, after = (
            model.eval()(input_ids=ids, attention_mask=mask).last_hidden_state
            for model in (encoder, loaded)
        )
    if loading["missing_keys"] or not torch.equal(before, after):
        raise LongformError(
            "A pruned encoder must give the same vectors once it is loaded again.",
            found=f"an encoder of the kind '{encoder.config.model_type}' that does not",
            fix="This kind of encoder cannot be pruned so; prune less of it, or another one.",
        )


@contextlib.contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """Give a hidden folder beside the target, and put it there when the block ends well."""
    steps = FileSystem()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.staging-", dir=target.parent))
        try:
            yield folder
            # mkdtemp lets nobody else in; the encoder is as readable as any file of the user.
            folder.chmod(0o777 & ~_mask())
            steps.sync_tree(folder)
            if target.is_dir() and any(target.iterdir()):
                old = folder.with_name(f"{folder.name}-old")
                target.rename(old)
                folder.rename(target)
                shutil.rmtree(old)
            else:
                folder.rename(target)
            steps.sync(target.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise LongformError(
            f"The encoder must be written to {target}, and the file system refused.",
            found=error.strerror or str(error),
            fix="Free some space, or choose an output folder in which this user may write.",
        ) from error


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
