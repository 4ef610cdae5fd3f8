"""The folder of a run that can be continued: which settings and documents it belongs to."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from longform.errors import InputError
from longform.training.checkpoints import last_complete_checkpoint
from longform.types import Document

RECORD = "run.json"
"""File that says which settings and documents the checkpoints beside it belong to."""
_CHECKPOINTS = "checkpoints"


def claim_run_folder(
    folder: Path,
    settings: Mapping[str, Any],
    documents: Iterable[Document],
    *,
    restart: bool = False,
) -> Path:
    """Make the folder of a run, or make sure that the one there is of the same run.

    Args:
        folder: Beside the output, such as `<output>.training`. It is removed by whoever claims it,
            once the output is whole.
        settings: All that decides the result, in values that JSON has; paths do not belong there.
        documents: What is learnt from and judged on, in order.
        restart: Forget an interrupted run.

    Returns:
        The folder for checkpoints in it.

    Raises:
        InputError: The folder holds a checkpoint of a run with other settings or documents.
    """
    return claim_by_fingerprint(
        folder, run_fingerprint(settings, documents_digest(documents)), restart=restart
    )


def claim_by_fingerprint(
    folder: Path, fingerprint: dict[str, Any], *, restart: bool = False
) -> Path:
    """Make the folder of a run, as `claim_run_folder` does.

    Args:
        folder: As there.
        fingerprint: As `run_fingerprint` gives it.
        restart: As there.

    Raises:
        InputError: As there.
    """
    checkpoints = folder_of_checkpoints(folder)
    record = folder / RECORD
    # A run that ended before its first checkpoint leaves nothing to continue.
    if record.is_file() and (restart or last_complete_checkpoint(checkpoints) is None):
        shutil.rmtree(folder)
    if record.is_file():
        require_same(str(folder), json.loads(record.read_text(encoding="utf-8")), fingerprint)
        return checkpoints
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(fingerprint, ensure_ascii=False, indent=2), encoding="utf-8")
    return checkpoints


def run_fingerprint(settings: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """Return what tells a run from others, as it is read again: a tuple becomes a list.

    Args:
        settings: All that decides the result.
        digest: Of the documents, by `documents_digest`.
    """
    return {"config": json.loads(json.dumps(dict(settings))), "data": digest}


def folder_of_checkpoints(folder: Path) -> Path:
    """Return where the checkpoints of a run lie in its folder."""
    return folder / _CHECKPOINTS


def require_same(place: str, found: dict[str, Any], fingerprint: dict[str, Any]) -> None:
    """Refuse to continue a run with what belongs to another.

    Args:
        place: Where that was found.
        found: Its fingerprint.
        fingerprint: Of the run that is to begin.

    Raises:
        InputError: They differ; it names in what.
    """
    theirs, ours = found["config"], fingerprint["config"]
    keys = dict.fromkeys([*ours, *theirs])
    differing = [key for key in keys if theirs.get(key) != ours.get(key)]
    if found["data"] != fingerprint["data"]:
        differing.append("the documents")
    if differing:
        raise InputError(
            "An interrupted run is continued only with the same settings and documents.",
            found=f"{place} is of a run that differs in {', '.join(differing)}",
            fix="Add --restart to forget that run, or choose another --output.",
        )


def documents_digest(documents: Iterable[Document]) -> str:
    """Return the SHA-256 of the texts and labels of documents, in their order."""
    content = hashlib.sha256()
    for document in documents:
        fields = (document.text, document.text_pair, document.label, document.labels)
        content.update(repr(fields).encode("utf-8", "replace"))
    return content.hexdigest()
