"""What stands in a bundle: the file names and the description. Knows no saving, no loading."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

import longform
from longform.config import ProblemType, SegmentSettings
from longform.errors import BundleError

FORMAT_VERSION = 1
"""Raised when a reader of the version before could not, or must not, use what is written now."""

DESCRIPTION_FILE = "longform.json"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
ENCODER_FILE = "onnx/encoder.onnx"
HEAD_FILE = "onnx/head.onnx"
CONTRIBUTIONS_FILE = "onnx/contributions.onnx"
"""The head's logits as a sum over the segments; only where they are one."""
PARITY_FILE = "parity.json"
GOLDEN_FILE = "golden.jsonl"
SHAPES_FILE = "shapes.json"
MODEL_CARD_FILE = "README.md"
MANIFEST_FILE = "manifest.json"

TAKE_ANOTHER_COPY = "Copy the bundle from its source again, or train or export it again."
"""The way out of everything that is wrong with a bundle that was whole once."""

_LARGEST_DESCRIPTION_BYTES = 16 * 2**20


class Knobs(BaseModel):
    """The settings that make a text into segments and segments into logits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    segments: SegmentSettings
    model: dict[str, Any] = {}
    """Encoder, token pooling and aggregator as they were trained, for people and for reports."""

    @model_validator(mode="before")
    @classmethod
    def _texts_were_read_as_given(cls, values: Any) -> Any:
        # Bundles that were written before texts were cleaned say nothing of cleaning.
        if isinstance(values, dict) and isinstance(values.get("segments"), dict):
            return {**values, "segments": {"cleaning": (), **values["segments"]}}
        return values


class BundleDescription(BaseModel):
    """The content of `longform.json`: all that predicting needs to know beside the weights."""

    # An unknown key could change the answers, so it is refused and not skipped; a NaN stays one,
    # for the writer to refuse, and does not become a null.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    format_version: int = Field(FORMAT_VERSION, ge=1, strict=True)
    longform_version: str = longform.__version__
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    task: Literal["text-classification"] = "text-classification"
    kind: Literal["neural", "linear", "cascade"] = "neural"
    """What turns a text into logits: segments, an encoder and a head; weights of n-grams; or a
    line of models, each a bundle in `stages`."""
    problem_type: ProblemType = "single_label_classification"
    """One label a document, or any number."""
    text_pair: bool = False
    """Whether the model judges two texts together."""
    id2label: dict[str, str] = Field(min_length=1)
    """Row of the logits, as a decimal string, to label name, as in Hugging Face's `config.json`."""
    label2id: dict[str, int]
    """The inverse of `id2label`, from which it follows when it is left out."""
    knobs: Knobs
    segmenter_version: int = Field(ge=1)
    tokenizer_digest: str
    """SHA-256 of `tokenizer.json`, in hexadecimal; empty for a model that has none."""
    encoder_digest: str
    """SHA-256 that stands for the encoder's weights; segment vectors are cached under it."""
    training: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    decision: dict[str, Any] = {}
    """`temperature` (a number) and `thresholds` (label name to least score)."""

    @model_validator(mode="before")
    @classmethod
    def _derive_label2id(cls, values: Any) -> Any:
        if isinstance(values, dict) and "label2id" not in values:
            id2label = values.get("id2label")
            if isinstance(id2label, dict) and all(str(row).isdecimal() for row in id2label):
                label2id = {str(name): int(row) for row, name in id2label.items()}
                return {**values, "label2id": label2id}
        return values

    @model_validator(mode="after")
    def _labels_are_numbered(self) -> BundleDescription:
        rows = [str(row) for row in range(len(self.id2label))]
        if sorted(self.id2label) != sorted(rows):
            raise ValueError(f"id2label must number the labels from 0 to {len(rows) - 1}")
        if self.label2id != {self.id2label[row]: int(row) for row in rows}:
            raise ValueError("label2id must be the inverse of id2label")
        if len(self.label2id) != len(rows):
            raise ValueError("two rows of id2label have one name")
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names in the order of the logits."""
        return tuple(self.id2label[str(row)] for row in range(len(self.id2label)))


def number_labels(labels: Sequence[str]) -> dict[str, str]:
    """Return the `id2label` of label names that are given in the order of the logits."""
    return {str(row): name for row, name in enumerate(labels)}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, read piece by piece."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_description(folder: Path, description: BundleDescription) -> None:
    """Write `longform.json` into a staging folder.

    Raises:
        ValueError: The training summary, the metrics or the decision hold a NaN or an infinity.
    """
    content = description.model_dump(mode="json")
    text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False)
    (folder / DESCRIPTION_FILE).write_text(text + "\n", encoding="utf-8")


def read_description(folder: Path) -> BundleDescription:
    """Read `longform.json`, whose bytes must have been verified before.

    Raises:
        BundleError: The file is missing, of a newer format, or does not hold a description.
    """
    path = folder / DESCRIPTION_FILE
    content = parse_json_object(path, read_limited(path, _LARGEST_DESCRIPTION_BYTES))
    refuse_newer_format(path, content)
    try:
        return BundleDescription.model_validate(content)
    except ValidationError as error:
        faults = (
            f"{'.'.join(str(part) for part in fault['loc']) or 'the file'}: {fault['msg']}"
            for fault in error.errors()
        )
        writer = content.get("longform_version", "an unknown version")
        raise BundleError(
            f"{path} must describe a classifier in terms that longform {longform.__version__} "
            "knows.",
            found=f"{'; '.join(faults)} (written by longform {writer})",
            fix="Use the version of longform that wrote it, or train or export it again.",
        ) from error


def read_limited(path: Path, largest_bytes: int) -> bytes:
    """Read a file of a bundle that is small in any honest bundle.

    Raises:
        BundleError: It is missing, no plain file, cannot be read, or larger than `largest_bytes`.
    """
    rule = f"{path} must be a readable file of at most {largest_bytes} bytes."
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            found = "a symbolic link, a folder or a special file"
            raise BundleError(rule, found=found, fix=TAKE_ANOTHER_COPY)
        with path.open("rb") as stream:
            data = stream.read(largest_bytes + 1)
    except OSError as error:
        found = error.strerror or str(error)
        raise BundleError(rule, found=found, fix=TAKE_ANOTHER_COPY) from error
    if len(data) > largest_bytes:
        raise BundleError(rule, found="a larger one", fix=TAKE_ANOTHER_COPY)
    return data


def parse_json_object(path: Path, data: bytes) -> dict[str, Any]:
    """Parse the bytes of a JSON file.

    Raises:
        BundleError: They do not hold one JSON object.
    """
    rule = f"{path} must hold one JSON object."
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(rule, found=f"no JSON ({error})", fix=TAKE_ANOTHER_COPY) from error
    if not isinstance(content, dict):
        raise BundleError(rule, found=f"a {type(content).__name__}", fix=TAKE_ANOTHER_COPY)
    return content


def refuse_newer_format(path: Path, content: dict[str, Any]) -> None:
    """Refuse a file that a newer longform wrote.

    Raises:
        BundleError: `format_version` is no version number, or newer than `FORMAT_VERSION`.
    """
    version = content.get("format_version")
    if type(version) is not int or version < 1:
        raise BundleError(
            f"{path} must state its format version.",
            found=f"format_version {version!r}",
            fix=TAKE_ANOTHER_COPY,
        )
    if version > FORMAT_VERSION:
        raise BundleError(
            f"This bundle needs a newer longform: version {longform.__version__} reads format "
            f"{FORMAT_VERSION}.",
            found=f"format {version} in {path}",
            fix="Run: pip install --upgrade longform",
        )
