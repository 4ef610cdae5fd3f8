"""How a text becomes segments: fixed before training, stored in the bundle."""

from __future__ import annotations

from typing import Literal, get_args

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
    selection: Literal["all", "head", "tail", "head_tail", "salient", "random"] = "all"
    """Which segments are read. Anything but `all` shows in every answer's coverage. `salient` takes
    those whose tokens are frequent in the document and rare in its other segments, `random` draws
    them by the document's content."""
    head_tokens: int = Field(512, ge=1)
    """Token budget of the leading segments for `head` and `head_tail`; at least one is read."""
    tail_tokens: int = Field(128, ge=1)
    """Token budget of the closing segments for `tail` and `head_tail`; at least one is read."""
    selected_tokens: int = Field(512, ge=1)
    """Token budget of the segments for `salient` and `random`; at least one is read."""
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
