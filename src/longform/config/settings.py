"""What can be set in a run: Hugging Face's key names plus the knobs of longform.

Knows nothing of torch: the training room maps these fields to `transformers.TrainingArguments`.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, model_validator

from longform.config.data import AugmentationSettings, DataSettings
from longform.config.linear import LINEAR, LinearSettings
from longform.config.model import SCRATCH_ENCODERS, STATIC, ModelSettings
from longform.config.segments import SegmentSettings
from longform.config.training import TrainingSettings


class RunConfig(
    SegmentSettings,
    ModelSettings,
    LinearSettings,
    TrainingSettings,
    DataSettings,
    AugmentationSettings,
):
    """Everything that decides a training run, but for the paths of the data."""

    data: str | None = None
    """Training file; the `--data` flag overrides it."""
    validation: str | None = None
    """Validation file; without one, `validation_split` of the documents is held out."""
    output_dir: str | None = None
    """Folder of the bundle; the `--output` flag overrides it."""

    @model_validator(mode="after")
    def _adapted_encoder_is_pretrained(self) -> RunConfig:
        for name in ("frozen", "lora"):
            if not getattr(self, name) or (name == "frozen" and self.encoder == STATIC):
                continue
            if self.encoder in {*SCRATCH_ENCODERS, LINEAR}:
                raise ValueError(
                    f"{name} needs a pretrained encoder, found encoder '{self.encoder}'"
                )
        if self.frozen and self.lora:
            raise ValueError("frozen leaves the encoder as it is and lora trains it, found both")
        return self

    @model_validator(mode="after")
    def _rounded_encoder_is_fine_tuned(self) -> RunConfig:
        if self.quantization_aware:
            if self.encoder in {*SCRATCH_ENCODERS, LINEAR}:
                raise ValueError(
                    f"quantization_aware needs a pretrained encoder, found encoder '{self.encoder}'"
                )
            for name in ("frozen", "lora", "fsdp"):
                if getattr(self, name):
                    raise ValueError(
                        "quantization_aware rounds all weights of an encoder that is trained as "
                        f"a whole, which {name} does not allow; found both"
                    )
        return self

    @model_validator(mode="after")
    def _static_vectors_come_from_somewhere(self) -> RunConfig:
        if self.encoder == STATIC and self.static_from is None:
            raise ValueError(
                "encoder 'static' needs static_from, the folder of the pretrained encoder whose "
                "token vectors are distilled"
            )
        if self.encoder != STATIC and self.static_from is not None:
            raise ValueError(
                f"static_from belongs to encoder 'static', found encoder '{self.encoder}'"
            )
        return self

    @model_validator(mode="after")
    def _second_passes_have_something_to_read(self) -> RunConfig:
        if self.frozen and self.fgm_epsilon:
            raise ValueError(
                "fgm_epsilon moves token embeddings and frozen never reads them, found both"
            )
        for name in ("fgm_epsilon", "ema_decay"):
            if self.fsdp and getattr(self, name):
                raise ValueError(f"{name} needs whole weights and fsdp divides them, found both")
        return self

    @model_validator(mode="after")
    def _concat_needs_a_width(self) -> RunConfig:
        if self.aggregator == "concat" and self.max_segments is None:
            raise ValueError(
                "aggregator 'concat' needs max_segments, the number of vectors side by side"
            )
        if self.aggregator == "concat" and self.max_train_segments is not None:
            raise ValueError(
                "aggregator 'concat' has a place for each segment, so none can be drawn: leave "
                "max_train_segments out"
            )
        return self

    @model_validator(mode="after")
    def _two_passes_need_whole_weights(self) -> RunConfig:
        if self.fsdp and self.two_pass:
            raise ValueError(
                "two_pass needs all weights on each device and fsdp divides them, found both: "
                "gradient_checkpointing saves memory with fsdp"
            )
        return self

    @model_validator(mode="after")
    def _one_precision(self) -> RunConfig:
        if self.fp16 and self.bf16:
            raise ValueError("fp16 and bf16 are two precisions, found both")
        return self

    @model_validator(mode="after")
    def _one_way_to_balance(self) -> RunConfig:
        if self.class_weights == "auto" and self.class_balance == "weighted_sampler":
            raise ValueError(
                "class_weights and class_balance both make rare classes count for more, found "
                "both: their effects would multiply"
            )
        return self

    @model_validator(mode="after")
    def _linear_model_reads_everything(self) -> RunConfig:
        if self.encoder == LINEAR and (self.selection != "all" or self.max_segments is not None):
            raise ValueError(
                "encoder 'linear' has no segments to select from, found selection or max_segments: "
                "name the parts of a document in linear_blocks, for example ['head:512']"
            )
        if self.encoder == LINEAR and self.stacked:
            raise ValueError("stacked puts a neural model on a linear one, found encoder 'linear'")
        return self

    def data_settings(self) -> DataSettings:
        """Return the part that readers need.

        With a validation file nothing is held out, and no row needs a group or a time.
        """
        settings = _part(DataSettings, self)
        if self.validation is None:
            return settings
        return settings.model_copy(update={"group_column": None, "time_column": None})

    def segment_settings(self) -> SegmentSettings:
        """Return the part that the bundle stores and the segmenter reads."""
        return _part(SegmentSettings, self)


_Part = TypeVar("_Part", bound=BaseModel)


def _part(settings: type[_Part], config: RunConfig) -> _Part:
    return settings.model_validate({name: getattr(config, name) for name in settings.model_fields})
