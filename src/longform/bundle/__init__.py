"""The model folder as data: file names, description, manifest, atomic save and verified load.

Knows nothing of tensors: what the files mean is known to the rooms that write and read them.
"""

from __future__ import annotations

from longform.bundle.filesystem import FileSystem
from longform.bundle.layout import (
    CONFIG_FILE,
    CONTRIBUTIONS_FILE,
    DESCRIPTION_FILE,
    ENCODER_FILE,
    FORMAT_VERSION,
    GOLDEN_FILE,
    HEAD_FILE,
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    PARITY_FILE,
    SHAPES_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    BundleDescription,
    Knobs,
    file_digest,
    number_labels,
    write_description,
)
from longform.bundle.loading import Bundle, load_bundle
from longform.bundle.output import check_output
from longform.bundle.saving import extending_bundle, writing_bundle
from longform.bundle.stages import CERTIFICATE_FILE, answering_bundle, stage_bundles, stage_folder

__all__ = [
    "CERTIFICATE_FILE",
    "CONFIG_FILE",
    "CONTRIBUTIONS_FILE",
    "DESCRIPTION_FILE",
    "ENCODER_FILE",
    "FORMAT_VERSION",
    "GOLDEN_FILE",
    "HEAD_FILE",
    "MANIFEST_FILE",
    "MODEL_CARD_FILE",
    "PARITY_FILE",
    "SHAPES_FILE",
    "TOKENIZER_FILE",
    "WEIGHTS_FILE",
    "Bundle",
    "BundleDescription",
    "FileSystem",
    "Knobs",
    "answering_bundle",
    "check_output",
    "extending_bundle",
    "file_digest",
    "load_bundle",
    "number_labels",
    "stage_bundles",
    "stage_folder",
    "write_description",
    "writing_bundle",
]
