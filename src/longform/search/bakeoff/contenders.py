"""Who takes part: each contender is a plain set of settings, a name and a reason."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from longform.config import LINEAR, SCRATCH_ENCODERS, STATIC, RunConfig, parse_assignments
from longform.errors import ConfigError, InputError
from longform.search.tuning import show_value

MAJORITY = "majority"
"""Always the commonest answer: what every other contender has to beat. It is never the choice."""

_HEAD, _TAIL = 512, 128
_SHORT_HEAD = 256
_MID_LENGTH = 512
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True, slots=True)
class Contender:
    """A kind of classifier.

    Attributes:
        name: Short, for tables.
        reason: Why it takes part, in a line.
        settings: What it changes of the configuration.
    """

    name: str
    reason: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name and settings as a file name: other settings are another contender."""
        content = json.dumps(self.settings, sort_keys=True, default=str).encode()
        return f"{self.name}-{hashlib.blake2b(content, digest_size=4).hexdigest()}"

    def configure(self, config: RunConfig) -> RunConfig:
        """Lay the settings over a configuration.

        Raises:
            ConfigError: They are not known, or do not fit each other.
        """
        try:
            return RunConfig.model_validate({**config.model_dump(), **self.settings})
        except ValidationError as error:
            told = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
            shown = ", ".join(f"{key}={show_value(value)}" for key, value in self.settings.items())
            raise ConfigError(
                f"The settings of the contender '{self.name}' must fit each other.",
                found=f"{shown}: {told}",
                fix="Correct them; docs/configuration.md tells what each may be.",
            ) from error


def default_contenders(config: RunConfig, encoders: Sequence[str]) -> list[Contender]:
    """Return the table of contenders, the cheapest kinds first.

    Args:
        config: What all of them share.
        encoders: Folders or names of pretrained encoders.
    """
    found = [Contender(MAJORITY, "always the commonest class"), *_linear(), *_scratch()]
    names = _short_names(encoders)
    for encoder, name in zip(encoders, names, strict=True):
        found += _pretrained(encoder, name)
    return found


def _linear() -> list[Contender]:
    parts: dict[str, tuple[list[str], str]] = {
        "head": ([f"head:{_HEAD}"], f"the first {_HEAD} tokens"),
        "tail": ([f"tail:{_HEAD}"], f"the last {_HEAD} tokens"),
        "head+tail": ([f"head:{_HEAD}", f"tail:{_TAIL}"], "both ends, told apart"),
        "whole": (["whole"], "the whole text in one block"),
    }
    return [
        *(
            Contender(
                f"linear-{name}", f"n-grams of {what}", {"encoder": LINEAR, "linear_blocks": blocks}
            )
            for name, (blocks, what) in parts.items()
        ),
        Contender("linear", "n-grams of head and whole text in blocks", {"encoder": LINEAR}),
    ]


def _scratch() -> list[Contender]:
    readings: dict[str, tuple[str, dict[str, Any]]] = {
        "": ("all segments", {"selection": "all"}),
        "-head": (f"the first {_HEAD} tokens", {"selection": "head", "head_tokens": _HEAD}),
        "-salient": (
            f"the {_HEAD} most telling tokens, by TF-IDF of short segments",
            {"selection": "salient", "selected_tokens": _HEAD, "segment_length": 64},
        ),
        "-random": (
            f"{_HEAD} tokens of random short segments: what choosing is worth",
            {"selection": "random", "selected_tokens": _HEAD, "segment_length": 64},
        ),
    }
    return [
        Contender(
            f"bag{name}", f"embeddings learnt from nothing, {what}", {"encoder": "bag", **own}
        )
        for name, (what, own) in readings.items()
    ]


def _pretrained(encoder: str, name: str) -> list[Contender]:
    frozen: dict[str, Any] = {"encoder": encoder, "frozen": True, "lora": False}
    static = {"encoder": STATIC, "static_from": encoder}
    stacked = {**frozen, "aggregator": "attention", "stacked": True}
    head = {"selection": "head", "head_tokens": _HEAD}
    return [
        Contender(f"{name}-static", "token vectors distilled from it, in a table", static),
        Contender(
            f"{name}-static-stacked",
            "the same on top of a linear model",
            {**static, "stacked": True},
        ),
        Contender(
            f"{name}-head{_SHORT_HEAD}-stacked",
            f"frozen, the first {_SHORT_HEAD} tokens, on top of a linear model of the whole text",
            {**stacked, **head, "head_tokens": _SHORT_HEAD},
        ),
        Contender(
            f"{name}-head",
            f"frozen, attention over the first {_HEAD} tokens",
            {**frozen, **head, "aggregator": "attention"},
        ),
        Contender(
            f"{name}-head-stacked",
            "the same on top of a linear model of the whole text",
            {**stacked, **head},
        ),
        Contender(
            f"{name}-head+tail",
            "frozen, both ends only",
            {**frozen, "selection": "head_tail", "head_tokens": _HEAD, "tail_tokens": _TAIL},
        ),
        *(
            Contender(f"{name}-{head}", f"frozen, {head} over all segments", {**frozen, **own})
            for head, own in (
                ("mean", {"aggregator": "mean"}),
                ("attention", {"aggregator": "attention"}),
                ("lstm", {"aggregator": "lstm"}),
            )
        ),
        Contender(
            f"{name}-stacked",
            "frozen, attention, on top of a linear model",
            stacked,
        ),
        Contender(
            f"{name}-mid{_MID_LENGTH}",
            f"frozen, attention, segments of {_MID_LENGTH} tokens",
            {**frozen, "aggregator": "attention", "segment_length": _MID_LENGTH},
        ),
        Contender(f"{name}-tuned", "fine-tuned as a whole", {"encoder": encoder, "frozen": False}),
    ]


def _short_names(encoders: Sequence[str]) -> list[str]:
    """Return the last part of each path, numbered where two are alike."""
    names: list[str] = []
    for encoder in encoders:
        if encoder in SCRATCH_ENCODERS or encoder == LINEAR:
            raise InputError(
                "--encoder names pretrained encoders: the others take part anyway.",
                found=f"'{encoder}'",
                fix=f"Leave it out, or add one with --contender my-{encoder}:encoder={encoder}.",
            )
        short = re.sub(r"[^A-Za-z0-9_.-]", "-", Path(encoder).name) or "encoder"
        names.append(short if short not in names else f"{short}-{len(names) + 1}")
    return names


def parse_contender(text: str) -> Contender:
    """Read `name:key=value,key=value`.

    A comma within brackets belongs to the value.

    Raises:
        InputError: It is not of this form.
        ConfigError: A setting is unknown.
    """
    name, colon, rest = text.partition(":")
    parts = [part for part in re.split(r",(?![^\[]*\])", rest) if part.strip()]
    if not colon or not _NAME.fullmatch(name.strip()) or any("=" not in part for part in parts):
        raise InputError(
            "A contender is a name and its settings, as name:key=value,key=value.",
            found=f"'{text}'",
            fix="Write for example --contender wide:encoder=bag,bag_dimension=256.",
        )
    return Contender(
        name.strip(), "given by the user", parse_assignments([part.strip() for part in parts])
    )


def read_contenders(path: Path) -> list[Contender]:
    """Read a YAML file: name -> settings, of which `reason` is told beside the name.

    Raises:
        InputError: The file cannot be read, or is no such mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            "The file of contenders must be readable YAML.",
            found=f"{path}: {error}",
            fix="Correct the file; docs/bakeoff.md shows one.",
        ) from error
    good = isinstance(content, dict) and all(
        isinstance(name, str) and _NAME.fullmatch(name) and isinstance(own, dict)
        for name, own in content.items()
    )
    if not good or not content:
        raise InputError(
            "The file of contenders maps names to settings.",
            found=f"{path}, which does not",
            fix="Write for example 'wide: {encoder: bag, bag_dimension: 256}'.",
        )
    return [
        Contender(name, str(own.pop("reason", "given by the user")), own)
        for name, own in content.items()
    ]


def gather(
    defaults: Sequence[Contender], given: Sequence[Contender], only: Sequence[str] = ()
) -> list[Contender]:
    """Join the tables; a given contender takes the place of one of its name.

    Args:
        defaults: The table of longform.
        given: The user's.
        only: Names, or beginnings that end in `*`, of those that take part; none takes all. The
            majority always does.

    Raises:
        InputError: A name fits nobody, or nobody but the majority is left.
    """
    joined = {contender.name: contender for contender in (*defaults, *given)}
    patterns = [re.compile(re.escape(name).replace(r"\*", ".*")) for name in only]
    idle = [
        name
        for name, pattern in zip(only, patterns, strict=True)
        if not any(pattern.fullmatch(known) for known in joined)
    ]
    if idle:
        raise InputError(
            "--only names contenders that there are.",
            found=", ".join(f"'{name}'" for name in idle),
            fix=f"Choose of {', '.join(joined)}.",
        )
    return [
        contender
        for name, contender in joined.items()
        if not only or name == MAJORITY or any(item.fullmatch(name) for item in patterns)
    ]
