"""The beginning of a run that may have several processes, on nodes with folders of their own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longform.errors import InputError
from longform.reporting import Reporter
from longform.training.checkpoint_sharing import share_last_checkpoint, writes_on_each_node
from longform.training.nodes import (
    Setup,
    folder_owner,
    is_first_of_node,
    node_name,
    require_alike,
    together,
)
from longform.training.processes import everyone, rank_here
from longform.training.run_folder import (
    claim_by_fingerprint,
    documents_digest,
    folder_of_checkpoints,
    run_fingerprint,
)
from longform.training.storage import CheckpointStorage
from longform.types import Document


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """The folder of a run, as one process has it.

    Attributes:
        checkpoints: The folder for checkpoints in it.
        owns: Whether this process is to remove the folder.
        storage: Where checkpoints are kept too, on the first process; None where nowhere.
    """

    checkpoints: Path
    owns: bool
    storage: CheckpointStorage | None


def claim_together(
    folder: Path,
    settings: Mapping[str, Any],
    documents: Sequence[Document],
    *,
    storage: str | None,
    restart: bool,
    reporter: Reporter,
) -> ClaimedRun:
    """Make the folder of a run on every node, with the newest checkpoint that any node has.

    Every process must call it.

    Args:
        folder: As `claim_run_folder` takes it.
        settings: As there.
        documents: As there.
        storage: URL where checkpoints are kept too.
        restart: Forget an interrupted run.
        reporter: Told where checkpoints were found.

    Raises:
        InputError: The nodes differ, or a folder or the storage is of another run.
        TrainingError: A process is gone.
    """
    if restart and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0:
        raise InputError(
            "A launch that begins again by itself must not forget what it has done.",
            found="--restart with --max-restarts",
            fix=f"Remove {folder} on every node and leave out --restart.",
        )
    digest = documents_digest(documents) if is_first_of_node() else None
    setups = everyone(Setup.here(settings, len(documents), digest))
    require_alike(setups)
    # The first process is the first of its node.
    fingerprint = run_fingerprint(settings, setups[0].digest or "")
    owner = folder_owner(folder)
    if writes_on_each_node(owner, divided=bool(settings.get("fsdp"))):
        reporter.say(
            "The nodes have folders of their own: each keeps the checkpoints, and the bundle is "
            f"written on {node_name()}."
        )

    def claim() -> CheckpointStorage | None:
        kept = CheckpointStorage(storage, reporter) if storage else None
        if rank_here() == owner:
            claim_by_fingerprint(folder, fingerprint, restart=restart)
        if kept is not None and rank_here() == 0:
            kept.claim(fingerprint, restart=restart)
        return kept

    kept = together(claim)
    checkpoints = folder_of_checkpoints(folder)
    told = share_last_checkpoint(checkpoints, owner, kept)
    if told:
        reporter.say(f"Checkpoints: {told}.")
    # Nobody looks for a checkpoint before it has arrived.
    everyone(None)
    return ClaimedRun(checkpoints, rank_here() == owner, kept if rank_here() == 0 else None)
