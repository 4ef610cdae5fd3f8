"""The models within a cascade: each a whole bundle in a folder of its own."""

from __future__ import annotations

from longform.bundle.layout import MANIFEST_FILE
from longform.bundle.loading import Bundle, load_bundle

CERTIFICATE_FILE = "certificate.json"


def stage_folder(stage: int) -> str:
    """Return the path of a stage within the bundle of its cascade, with forward slashes."""
    return f"stages/{stage}"


def stage_bundles(bundle: Bundle) -> list[Bundle]:
    """Load and verify the stages of a cascade, cheap ones first.

    Args:
        bundle: The cascade; of another kind of model there are none.

    Raises:
        BundleError: A stage is not the one that its own manifest describes.
    """
    stages: list[Bundle] = []
    while bundle.has(f"{stage_folder(len(stages))}/{MANIFEST_FILE}"):
        stages.append(load_bundle(bundle.folder / stage_folder(len(stages))))
    return stages


def answering_bundle(bundle: Bundle) -> Bundle:
    """Return the last stage of a cascade, which answers what no other may; else the bundle.

    Raises:
        BundleError: As in `stage_bundles`.
    """
    return (stage_bundles(bundle) or [bundle])[-1]
