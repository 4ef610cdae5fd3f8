"""How a linear model reads a text and is fitted."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

LINEAR = "linear"
"""Value of `encoder` that asks for a linear model: no encoder, no segments."""

_BLOCK = re.compile(r"(head|tail):([1-9][0-9]*)|whole")


class LinearSettings(BaseModel):
    """How a linear model, alone or beneath a neural one, reads a text and is fitted."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    stacked: bool = False
    """Fit a linear model too and add its logits, out of fold in training, to those of the head,
    which learns what the linear model lacks."""
    linear_analyzer: Literal["auto", "char", "word"] = "auto"
    """Tokens of a linear model: `char` takes every character, `word` takes words, and Han
    characters one by one. `auto`: `char` where most of the training texts are Chinese or
    Japanese."""
    linear_blocks: tuple[str, ...] = ("head:128", "head:512", "whole")
    """Parts of a document whose n-grams a linear model tells apart: `head:N`, `tail:N`, of N
    tokens, and `whole`."""
    linear_ngrams: int = Field(2, ge=1, le=5)
    """Most tokens of an n-gram of a linear model."""
    linear_min_documents: int = Field(2, ge=1)
    """Training documents that an n-gram must occur in to count."""
    linear_c: float = Field(1.0, gt=0)
    """Inverse of the regularisation of a linear model."""
    linear_bits: int = Field(20, ge=10, le=24)
    """There are 2 to the power of this many hash buckets for each block."""
    linear_megabytes: float = Field(36.0, gt=0)
    """Most size of a linear model's weights; n-grams that weigh least are dropped beyond it."""

    @field_validator("linear_blocks")
    @classmethod
    def _blocks_are_known(cls, blocks: tuple[str, ...]) -> tuple[str, ...]:
        for block in blocks:
            if not _BLOCK.fullmatch(block):
                raise ValueError(f"a block is 'head:N', 'tail:N' or 'whole', found '{block}'")
        if len(set(blocks)) != len(blocks) or not blocks:
            raise ValueError(f"linear_blocks names one block or more, each once, found {blocks}")
        return blocks
