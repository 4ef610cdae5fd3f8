"""Which versions of torch, torch_npu and CANN belong together, and which are here.

The table is that of the torch_npu project's compatibility page, November 2026. A pairing that is
not in it may work; one that is in it was released together.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_PAIRS = {
    "9.1.0": ("2.12.0", "2.11.0", "2.10.0.post4", "2.9.0.post6", "2.7.1.post8"),
    "9.0.0": ("2.9.0.post2", "2.8.0.post4", "2.7.1.post4"),
    "8.5.0": ("2.9.0", "2.8.0.post2", "2.7.1.post2", "2.6.0.post5"),
    "8.3.RC1": ("2.8.0", "2.7.1", "2.6.0.post3", "2.1.0.post17"),
    "8.2.RC1": ("2.6.0", "2.5.1.post1"),
    "8.1.RC1": ("2.5.1", "2.4.0.post4"),
    "8.0.0": ("2.4.0.post2",),
}
"""Version of CANN -> versions of torch_npu; torch has the same version without `.post`."""
_HOMES = ("/usr/local/Ascend/cann", "/usr/local/Ascend/ascend-toolkit/latest")
_VERSION_LINE = re.compile(r"^\s*version\s*=\s*(\S+)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AscendStack:
    """What is installed of the three; None for what is not.

    Attributes:
        torch: Version of torch.
        torch_npu: Version of torch_npu.
        cann: Version of CANN.
    """

    torch: str | None
    torch_npu: str | None
    cann: str | None

    def judge(self) -> str:
        """Say in a sentence whether they belong together, and what would."""
        if self.torch_npu is None:
            return "torch_npu is not installed: cards serve, and do not train"
        base = self.torch_npu.partition(".post")[0]
        if self.torch is None or self.torch.partition("+")[0] != base:
            return (
                f"torch {self.torch or 'is not installed'} does not belong to torch_npu "
                f"{self.torch_npu}: install torch=={base} (a CPU build) beside it"
            )
        wanted = [cann for cann, versions in _PAIRS.items() if self.torch_npu in versions]
        if not wanted:
            nearest = ", ".join(version for version in _PAIRS["9.1.0"])
            return (
                f"torch_npu {self.torch_npu} is not in the table of its project; with CANN 9.1.0 "
                f"go {nearest}"
            )
        if self.cann is None:
            return f"CANN is not found; torch_npu {self.torch_npu} belongs to CANN {wanted[0]}"
        if _plain(self.cann) != _plain(wanted[0]):
            return (
                f"CANN {self.cann} does not belong to torch_npu {self.torch_npu}, which was "
                f"released for CANN {wanted[0]}"
            )
        return "they belong together, by the table of the torch_npu project"


def installed_stack() -> AscendStack:
    """Return what is installed here, importing nothing."""
    return AscendStack(_version("torch"), _version("torch_npu"), cann_version())


def cann_version() -> str | None:
    """Return the version of CANN by the file that its installer leaves; None without one."""
    named = os.environ.get("ASCEND_TOOLKIT_HOME") or os.environ.get("ASCEND_HOME_PATH")
    homes = [Path(home) for home in ((named,) if named else ()) + _HOMES]
    for home in homes:
        for path in [*sorted(home.glob("*/ascend_toolkit_install.info")), home / "version.cfg"]:
            try:
                found = _VERSION_LINE.search(path.read_text(encoding="utf-8", errors="replace"))
            except OSError:
                continue
            if found is not None:
                return found[1]
    return None


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _plain(version: str) -> str:
    """Drop what writes the same version in other ways."""
    return version.upper().removesuffix(".0").replace("RC", ".RC").replace("..", ".")
