"""What stands where in the files, and what becomes of the documents before they are learnt from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

AugmentationStep = Literal["synonyms", "deletion", "swap", "sentence_dropout", "sentence_shuffle"]
ProblemType = Literal["single_label_classification", "multi_label_classification"]


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
