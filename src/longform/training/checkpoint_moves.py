"""Checkpoints that come from another machine: which belong together, and where they are put."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from longform.training.checkpoints import mark_complete

_STATE = "trainer_state.json"


def best_checkpoint(folder: Path, name: str) -> str | None:
    """Return the name of the best checkpoint before one, where that is another.

    Args:
        folder: Of the checkpoint.
        name: Of the checkpoint.
    """
    state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    best = Path(state["best_model_checkpoint"] or "").name
    return best if best not in ("", name) else None


def settle(arrived: Path, place: Path) -> None:
    """Put a checkpoint that came from elsewhere in its place, whole or not at all.

    Args:
        arrived: A folder beside the place.
        place: Where it belongs; what is left there of an unfinished one is removed.
    """
    path = arrived / _STATE
    state = json.loads(path.read_text(encoding="utf-8"))
    if state["best_model_checkpoint"]:
        # Where it came from, it lay under another path.
        best = place.parent / Path(state["best_model_checkpoint"]).name
        state["best_model_checkpoint"] = str(best)
        path.write_text(json.dumps(state, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    mark_complete(arrived)
    shutil.rmtree(place, ignore_errors=True)
    arrived.rename(place)
