"""Collects every wheel that longform needs on another machine, for a network without internet.

    make wheelhouse PLATFORM=aarch64

The folder gets the wheels, SHA256SUMS, and install.sh, which checks them and installs without
asking anybody. Wheels are resolved for the platform that is named, whatever this machine is:
nothing of them is run here.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GLIBC = ("2_17", "2_24", "2_26", "2_27", "2_28")
"""Wheels for these versions of glibc run on Kylin V10 (2.28) and on all that is newer."""
INSTALL = """#!/bin/sh
# Checks the wheels beside this file and installs longform from them alone.
#   ./install.sh [VENV]      into VENV, .venv by default
set -eu
cd "$(dirname "$0")"
sha256sum --check --quiet SHA256SUMS
python3 -m venv "${1:-.venv}"
"${1:-.venv}/bin/python" -m pip install --no-index --find-links . 'longform[%s]'
"${1:-.venv}/bin/longform" env
"""


def requirements(extras: list[str]) -> list[str]:
    """Return what the package asks for, with some of its extras and theirs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = list(project["dependencies"])
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            inner = line.removeprefix("longform[").removesuffix("]")
            found += requirements([inner]) if inner != line else [line]
    return list(dict.fromkeys(found))


def platform_flags(platform: str, python: str) -> list[str]:
    """Return what tells pip of another machine."""
    flags = [f"--platform=manylinux_{version}_{platform}" for version in GLIBC]
    flags += [f"--platform=manylinux2014_{platform}", "--only-binary=:all:"]
    return [*flags, f"--python-version={python}", "--implementation=cp"]


def pip(*arguments: str) -> None:
    """Run pip; its words are the user's to see."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"wheelhouse: pip ended with status {done.returncode}; nothing is to be copied.")


def write_checksums(folder: Path) -> int:
    """Write SHA256SUMS; return how many wheels there are."""
    wheels = sorted(folder.glob("*.whl"))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in wheels]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    return len(wheels)


def main() -> None:
    """Collect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--platform", default="aarch64", choices=("aarch64", "x86_64"))
    parser.add_argument("--python", default="3.11", help="of the other machine")
    parser.add_argument("--extras", default="serve,documents", help="of longform")
    parser.add_argument("--output", type=Path, default=Path("wheelhouse"))
    given = parser.parse_args()
    extras = [name for name in given.extras.split(",") if name]
    given.output.mkdir(parents=True, exist_ok=True)
    target = str(given.output.resolve())
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", target, ".")
    flags = platform_flags(given.platform, given.python)
    wanted = requirements(extras)
    pip("download", "--quiet", "--dest", target, "-c", "constraints.txt", *flags, *wanted)
    script = given.output / "install.sh"
    script.write_text(INSTALL % ",".join(extras), encoding="utf-8")
    script.chmod(0o755)
    count = write_checksums(given.output)
    sys.stdout.write(f"{count} wheels for {given.platform} in {given.output}. Copy the folder.\n")


if __name__ == "__main__":
    main()
