"""A tiny bundle of invented bytes, whose every file tells which save it is of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from longform.bundle import (
    CONFIG_FILE,
    ENCODER_FILE,
    GOLDEN_FILE,
    HEAD_FILE,
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    PARITY_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    Bundle,
    BundleDescription,
    FileSystem,
    Knobs,
    load_bundle,
    number_labels,
    write_description,
    writing_bundle,
)
from longform.bundle.manifest import canonical_json, manifest_digest
from longform.config import SegmentSettings

CONTENT_FILES = (
    CONFIG_FILE,
    WEIGHTS_FILE,
    TOKENIZER_FILE,
    ENCODER_FILE,
    HEAD_FILE,
    PARITY_FILE,
    GOLDEN_FILE,
    MODEL_CARD_FILE,
)


def describe(edition: int = 1) -> BundleDescription:
    return BundleDescription(
        id2label=number_labels(["民事", "刑事", "行政"]),
        knobs=Knobs(segments=SegmentSettings(segment_length=128), model={"encoder": "bag"}),
        segmenter_version=1,
        tokenizer_digest="0" * 64,
        encoder_digest="1" * 64,
        metrics={"edition": edition},
        decision={"temperature": 1.5},
    )


def fill(folder: Path, edition: int = 1) -> None:
    (folder / "onnx").mkdir()
    for name in CONTENT_FILES:
        (folder / name).write_bytes(f"{name} of edition {edition}\n".encode())
    write_description(folder, describe(edition))


def save(
    target: Path,
    edition: int = 1,
    *,
    overwrite: bool = True,
    steps: FileSystem | None = None,
    then: Callable[[Path], object] = Path.exists,
) -> None:
    """Save an edition; `then` gets the staging folder when all is written and before the swap."""
    with writing_bundle(target, overwrite=overwrite, file_system=steps) as folder:
        fill(folder, edition)
        then(folder)


def edition_of(bundle: Bundle) -> int:
    """Return the save that a bundle is of, after a look into each of its files."""
    edition = int(bundle.description.metrics["edition"])
    for name in CONTENT_FILES:
        assert bundle.path(name).read_text() == f"{name} of edition {edition}\n"
    return edition


def loaded_edition(target: Path) -> int:
    return edition_of(load_bundle(target))


def rewrite_manifest(folder: Path, **changes: object) -> None:
    """Change keys of a manifest and give it the digest that belongs to them."""
    content = json.loads((folder / MANIFEST_FILE).read_bytes()) | changes
    content["digest"] = manifest_digest(content)
    (folder / MANIFEST_FILE).write_bytes(canonical_json(content))
