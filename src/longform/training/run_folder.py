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

_RECORD = "run.json"
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
    checkpoints = folder_of_checkpoints(folder)
    record = folder / _RECORD
    # As it will be read again: a tuple becomes a list.
    wanted = json.loads(json.dumps(dict(settings)))
    digest = _digest(documents)
    # A run that ended before its first checkpoint leaves nothing to continue.
    if record.is_file() and (restart or last_complete_checkpoint(checkpoints) is None):
        shutil.rmtree(folder)
    if record.is_file():
        _require_same(folder, json.loads(record.read_text(encoding="utf-8")), wanted, digest)
        return checkpoints
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = {"config": wanted, "data": digest}
    record.write_text(json.dumps(fingerprint, ensure_ascii=False, indent=2), encoding="utf-8")
    return checkpoints


def folder_of_checkpoints(folder: Path) -> Path:
    """Return where the checkpoints of a run lie in its folder."""
    return folder / _CHECKPOINTS


def _require_same(
    folder: Path, found: dict[str, Any], settings: dict[str, Any], digest: str
) -> None:
    keys = dict.fromkeys([*settings, *found["config"]])
    differing = [key for key in keys if found["config"].get(key) != settings.get(key)]
    if found["data"] != digest:
        differing.append("the documents")
    if differing:
        raise InputError(
            "An interrupted run is continued only with the same settings and documents.",
            found=f"{folder} is of a run that differs in {', '.join(differing)}",
            fix="Add --restart to forget that run, or choose another --output.",
        )


def _digest(documents: Iterable[Document]) -> str:
    content = hashlib.sha256()
    for document in documents:
        fields = (document.text, document.text_pair, document.label, document.labels)
        content.update(repr(fields).encode("utf-8", "replace"))
    return content.hexdigest()
