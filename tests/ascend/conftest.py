"""The stand-ins for Ascend: `acl` on the path, and programs of theirs first among the programs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def acl(monkeypatch):
    """The stand-in for pyACL, as if it had just been imported."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.delitem(sys.modules, "acl", raising=False)
    import acl as module

    module.forget()
    yield module
    module.forget()
    sys.modules.pop("acl", None)
