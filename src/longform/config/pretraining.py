"""What can be set when an encoder goes on learning from texts without labels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from longform.config.data import DataSettings
from longform.config.segments import SegmentSettings
from longform.config.training import OptimizationSettings


class PretrainingSettings(SegmentSettings):
    """Masked language modelling of a pretrained encoder: how texts are read, masked and learnt."""

    encoder: str | None = None
    """Folder or name of the Hugging Face encoder that goes on learning."""
    text_column: str = "text"
    """Column, or key, of the text."""
    text_pair_column: str | None = None
    """Column of a second text, which is read as well."""
    encoding: str | None = None
    """Encoding of the files; None detects it."""
    encoding_errors: Literal["strict", "replace", "skip"] = "strict"
    """Bytes that are not in the encoding: `strict` refuses the file, `replace` puts U+FFFD,
    `skip` leaves the row out; both say how many."""
    near_duplicates: Literal["together", "ignore"] = "together"
    """`together` takes near-copies of held-out documents for those documents; `ignore` looks for
    equal texts only."""
    validation_split: float = Field(0.05, gt=0, lt=1)
    """Share of the documents that the loss is measured on, when no validation file is given."""
    mlm_probability: float = Field(0.15, gt=0, lt=1)
    """Share of the tokens, in whole words, that have to be guessed."""
    learning_rate: float = Field(5e-5, gt=0)
    """Of the encoder, at the end of the warm-up."""
    head_learning_rate: float | None = Field(None, gt=0)
    """Of the layers that guess. None: 1e-3 where they are new, else that of the encoder."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled decay of AdamW; biases and normalisation weights are spared."""
    lr_scheduler_type: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    """How the learning rate goes after the warm-up."""
    warmup_steps: float = Field(0.06, ge=0)
    """Optimiser steps of warm-up; below 1, a share of all steps. At most half of all steps."""
    max_grad_norm: float = Field(1.0, ge=0)
    """Length that gradients are clipped to."""
    num_train_epochs: float = Field(1.0, gt=0)
    """How often the texts are read, each time with other words masked."""
    max_steps: int = -1
    """Optimiser steps; above 0 it overrides `num_train_epochs`."""
    train_batch_tokens: int = Field(4_096, ge=1)
    """Most padded tokens of a batch, whose segments are of like length."""
    gradient_accumulation_steps: int = Field(1, ge=1)
    """Batches that make one optimiser step."""
    gradient_checkpointing: bool = False
    """Keep only the inputs of each encoder layer and compute the rest again for the gradients."""
    device: Literal["auto", "cpu", "cuda", "npu"] = "auto"
    """Where to train; a device that is named must be there."""
    bf16: bool | None = None
    """None: on where the device multiplies bf16 faster than fp32 by a short measurement."""
    save_steps: int | None = Field(None, ge=1)
    """Optimiser steps between two checkpoints; None: a tenth of all steps. An interrupted run loses
    at most what came after the last one."""
    logging_steps: int = Field(10, ge=1)
    """Optimiser steps between two entries of the log."""
    seed: int = 42
    """Of masks, shuffling, dropout and the documents held out."""

    def data_settings(self) -> DataSettings:
        """Return the part that readers need."""
        names = ("text_column", "text_pair_column", "encoding", "encoding_errors")
        return DataSettings(
            **{name: getattr(self, name) for name in names}, near_duplicates=self.near_duplicates
        )

    def optimization_settings(self) -> OptimizationSettings:
        """Return the part that optimiser and schedule are built by."""
        names = ("weight_decay", "lr_scheduler_type", "warmup_steps", "max_grad_norm")
        return OptimizationSettings(**{name: getattr(self, name) for name in names})

    def segment_settings(self) -> SegmentSettings:
        """Return the part that the segmenter reads."""
        return SegmentSettings(
            **{name: getattr(self, name) for name in SegmentSettings.model_fields}
        )
