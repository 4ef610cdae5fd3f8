"""What can be set in a run: Hugging Face's key names plus the knobs of longform.

Knows nothing of torch: the training room maps these fields to `transformers.TrainingArguments`.
"""

from __future__ import annotations

from typing import Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

CleaningStep = Literal[
    "html",
    "urls",
    "unicode_nfkc",
    "width",
    "control_characters",
    "traditional_to_simplified",
    "numbers",
    "repeated_punctuation",
    "boilerplate",
    "symbols",
]
AugmentationStep = Literal["synonyms", "deletion", "swap", "sentence_dropout", "sentence_shuffle"]
ProblemType = Literal["single_label_classification", "multi_label_classification"]


class SegmentSettings(BaseModel):
    """How a text becomes segments. Fixed before training and stored in the bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    segmenter: Literal["sentence", "fixed"] = "sentence"
    """`sentence` packs whole sentences up to the length; `fixed` cuts every `segment_length`."""
    segment_length: int = Field(128, ge=8)
    """Tokens of a segment, special tokens and prefix included. Short segments are faster on a CPU
    and make evidence finer; encoders take at most their own limit, often 512."""
    overlap: int = Field(0, ge=0)
    """Most tokens that a segment repeats from the one before it."""
    selection: Literal["all", "head", "tail", "head_tail"] = "all"
    """Which segments are read. Anything but `all` shows in every answer's coverage."""
    head_tokens: int = Field(512, ge=1)
    """Token budget of the leading segments for `head` and `head_tail`; at least one is read."""
    tail_tokens: int = Field(128, ge=1)
    """Token budget of the closing segments for `tail` and `head_tail`; at least one is read."""
    max_segments: int | None = Field(None, ge=1)
    """Most segments that are read, the first ones; None reads all."""
    segment_prefix: str = ""
    """Text put before each segment, for encoders that want one (`query: ` for e5)."""
    cleaning: tuple[CleaningStep, ...] = ("control_characters",)
    """Steps that clean a text before it is cut, the same in training and serving; offsets still
    refer to the text as given. They run in the order listed here, whatever order they are named
    in. `[]` reads every text as it is."""
    keep_symbols: str = "@#$_"
    """Symbols that the cleaning step `symbols` leaves in the text."""

    @field_validator("cleaning")
    @classmethod
    def _in_order(cls, steps: tuple[CleaningStep, ...]) -> tuple[CleaningStep, ...]:
        return tuple(step for step in get_args(CleaningStep) if step in steps)

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> SegmentSettings:
        if self.overlap > self.segment_length // 2:
            raise ValueError(
                f"overlap must be at most half of segment_length ({self.segment_length // 2}), "
                f"found {self.overlap}"
            )
        return self


class ModelSettings(BaseModel):
    """What reads the segments and what joins them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    encoder: str = "bag"
    """`bag` trains from nothing; otherwise a folder or name of a Hugging Face encoder."""
    token_pooling: Literal["cls", "mean"] = "mean"
    """Token vectors -> segment vector. Ignored by `bag`, whose tokens are averaged."""
    aggregator: Literal["mean", "max", "attention", "lstm"] = "attention"
    """Segment vectors -> document vector."""
    aggregator_hidden: int = Field(256, ge=1)
    """Width of the aggregator; of each direction for `lstm`."""
    lstm_layers: int = Field(1, ge=1)
    """Layers of `lstm`."""
    lstm_bidirectional: bool = True
    """Read the segments in both directions."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of features dropped in training before the aggregator and before the classifier."""
    frozen: bool = False
    """Leave a pretrained encoder as it is and train on cached segment vectors."""
    binary_logits: Literal[1, 2] = 2
    """With two classes: 2 gives each its own logit (softmax); 1 learns one logit (sigmoid), the
    other class having 0."""
    bag_dimension: int = Field(128, ge=1)
    """Width of the embeddings of `bag`."""
    bag_buckets: int = Field(65_521, ge=2)
    """Hash buckets for the token pairs of `bag`."""
    bag_vocabulary: int = Field(20_000, ge=300)
    """Most tokens of the tokenizer that `bag` trains on the corpus when none is given."""
    bag_token_dropout: float = Field(0.3, ge=0, lt=1)
    """Share of tokens and token pairs that `bag` leaves out of each training step."""


class TrainingSettings(BaseModel):
    """Names of `transformers.TrainingArguments`, with the defaults that fit long documents."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    learning_rate: float | None = Field(None, gt=0)
    """None: 2e-5 for a fine-tuned encoder, 1e-3 for a head on a frozen one, 5e-3 for `bag`."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled decay of AdamW; biases and normalisation weights are spared."""
    num_train_epochs: float | None = Field(None, gt=0)
    """None: 3 for a fine-tuned encoder, 12 for a head on a frozen one, 5 for `bag`."""
    max_steps: int = -1
    """Optimiser steps; above 0 it overrides `num_train_epochs`."""
    per_device_train_batch_size: int | None = Field(None, ge=1)
    """Documents per step. None: 32 for a head on a frozen encoder, 16 for `bag`, 8 otherwise."""
    per_device_eval_batch_size: int = Field(32, ge=1)
    """Documents per validation step."""
    gradient_accumulation_steps: int = Field(1, ge=1)
    """Batches that make one optimiser step."""
    max_grad_norm: float = Field(1.0, ge=0)
    """Length that gradients are clipped to."""
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    """How the learning rate goes after the warm-up."""
    warmup_steps: float = Field(0.1, ge=0)
    """Optimiser steps of warm-up; below 1, a share of all steps."""
    label_smoothing_factor: float = Field(0.0, ge=0, lt=1)
    """Share of the probability spread over all classes."""
    class_weights: Literal["none", "auto"] = "none"
    """`auto` weighs each class in the loss by the inverse of its share of the documents."""
    class_balance: Literal["none", "weighted_sampler"] = "none"
    """`weighted_sampler` draws documents, with replacement, so that all classes come equally
    often. Use it or `class_weights`: their effects multiply."""
    focal_gamma: float = Field(0.0, ge=0)
    """Above 0, the focal loss: easy documents count for less (Lin et al., 2017)."""
    train_batch_tokens: int | None = Field(None, ge=1)
    """Most padded tokens (segments, for a head on cached vectors) of a training batch, whose
    documents are of like length; None makes batches of `per_device_train_batch_size` documents."""
    hard_example_share: float = Field(0.0, ge=0, lt=1)
    """Share of each epoch after the first that is drawn by the current loss of the documents; the
    rest is drawn evenly."""
    bf16: bool | None = None
    """None: on where the device multiplies bf16 faster than fp32 by a short measurement."""
    max_train_segments: int | None = Field(None, ge=1)
    """Segments sampled per document and step when the encoder is trained. None: 8 for a pretrained
    encoder, all for `bag`. Validation and serving always read the whole selection."""
    early_stopping_patience: int = Field(4, ge=1)
    """Epochs without a better validation macro-F1 before training stops."""
    save_total_limit: int = Field(2, ge=1)
    """Checkpoints kept while training; the best one is never removed."""
    logging_steps: int = Field(10, ge=1)
    """Optimiser steps between two entries of the log."""
    seed: int = 42
    """Of weights, shuffling, sampling and the validation split."""
    validation_split: float = Field(0.1, gt=0, lt=1)
    """Share of the documents held out, by class, when no validation file is given."""
    parity_documents: int | None = Field(None, ge=1)
    """Validation documents on which the export is compared with the trained model; None: as many
    as fit a short time, at least 8."""


class DataSettings(BaseModel):
    """What stands where in the files, and what to do about flaws in the documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text_column: str = "text"
    """Column, or key, of the text."""
    label_column: str = "label"
    """Column, or key, of the label name, or of the list of label names."""
    text_pair_column: str | None = None
    """Column of a second text, when the label is about two texts."""
    label_separator: str | None = Field(None, min_length=1)
    """What separates several labels in one field, for example `,` or `|`. JSON lists need none."""
    problem_type: ProblemType | None = None
    """None: several labels a document where labels come as lists or with a separator, else one."""
    group_column: str | None = None
    """Documents with the same value here (a case, a customer) stay on one side of the held-out
    split."""
    time_column: str | None = None
    """The latest documents by this column (ISO dates or numbers) are held out, not random ones."""
    encoding: str | None = None
    """Encoding of the files; None detects it."""
    encoding_errors: Literal["strict", "replace", "skip"] = "strict"
    """Bytes that are not in the encoding: `strict` refuses the file, `replace` puts U+FFFD,
    `skip` leaves the row out; both say how many."""
    near_duplicates: Literal["together", "ignore"] = "together"
    """`together` keeps near-copies of one text on one side of the held-out split; `ignore` looks
    for exact copies only."""
    duplicates: Literal["keep", "drop"] = "keep"
    """Training documents that repeat an earlier one, with the same label."""
    conflicting_labels: Literal["keep", "drop", "majority"] = "keep"
    """Training documents with one text and several labels: `drop` leaves all of them out,
    `majority` gives them the commonest label, or leaves them out on a tie."""
    validation_leaks: Literal["keep", "drop"] = "keep"
    """Training documents that are (near-)copies of a document of the validation file: they inflate
    its figures. `drop` leaves them out of training."""
    unseen_labels: Literal["error", "drop"] = "error"
    """Validation documents whose label does not occur in training."""
    normalize_labels: bool = False
    """Take labels that differ in white space at the ends, full width or letter case for one, in
    its commonest spelling."""

    @model_validator(mode="after")
    def _one_way_to_split(self) -> DataSettings:
        if self.group_column is not None and self.time_column is not None:
            raise ValueError(
                "group_column and time_column are two ways to hold documents out, found both"
            )
        return self


class AugmentationSettings(BaseModel):
    """Changed copies of the training documents."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    augmentation: tuple[AugmentationStep, ...] = ()
    """Steps that each copy goes through; none makes no copies."""
    augmentation_copies: int = Field(1, ge=1)
    """Changed copies of each training document."""
    augmentation_strength: float = Field(0.1, gt=0, le=0.5)
    """Share of the words (or sentences) that a step changes."""
    synonyms: str | None = None
    """Lexicon of `synonyms`: a text file with words of one meaning on each line, separated by
    tabs, commas or blanks. None takes the small one that comes with longform."""

    @field_validator("augmentation")
    @classmethod
    def _each_once(cls, steps: tuple[AugmentationStep, ...]) -> tuple[AugmentationStep, ...]:
        return tuple(dict.fromkeys(steps))


class RunConfig(
    SegmentSettings, ModelSettings, TrainingSettings, DataSettings, AugmentationSettings
):
    """Everything that decides a training run, but for the paths of the data."""

    data: str | None = None
    """Training file; the `--data` flag overrides it."""
    validation: str | None = None
    """Validation file; without one, `validation_split` of the documents is held out."""
    output_dir: str | None = None
    """Folder of the bundle; the `--output` flag overrides it."""

    @model_validator(mode="after")
    def _frozen_needs_weights(self) -> RunConfig:
        if self.frozen and self.encoder == "bag":
            raise ValueError("frozen needs a pretrained encoder, found encoder 'bag'")
        return self

    @model_validator(mode="after")
    def _one_way_to_balance(self) -> RunConfig:
        if self.class_weights == "auto" and self.class_balance == "weighted_sampler":
            raise ValueError(
                "class_weights and class_balance both make rare classes count for more, found "
                "both: their effects would multiply"
            )
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
