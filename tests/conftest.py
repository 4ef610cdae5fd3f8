"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says something about the machine, not about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Folder of real corpora and encoders, kept outside the repository."""
    beside = Path(__file__).resolve().parents[1].parent / "shared"
    folder = Path(os.environ.get("LONGFORM_SHARED") or beside)
    if not folder.is_dir():
        pytest.skip("no shared folder: set LONGFORM_SHARED to the one with the real corpora")
    return folder
