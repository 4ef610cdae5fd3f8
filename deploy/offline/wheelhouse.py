"""Collects every wheel that longform needs on another machine, for a network without internet.

    make wheelhouse PLATFORM=aarch64
    make wheelhouse WHEELHOUSE_FLAGS='--extras serve,train --torch-npu 2.10.0.post4'

The folder gets the wheels, SHA256SUMS, and install.sh, which checks them and installs without
asking anybody. Wheels are resolved for the platform that is named, whatever this machine is:
nothing of them is run here.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from closure import markers_of, unmet
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
GLIBC = ("2_17", "2_24", "2_26", "2_27", "2_28")
"""Wheels for these versions of glibc run on Kylin V10 (2.28) and on all that is newer."""
ON_TORCH = frozenset({"accelerate", "peft"})
"""What among our requirements requires torch."""
TORCH_REQUIREMENTS = (
    *("filelock", "typing-extensions", "sympy", "networkx", "jinja2", "fsspec"),
    *("numpy", "pyyaml", "attrs", "decorator", "psutil", "scipy"),
)
"""What torch requires on a CPU, and then what torch_npu does, by its own documentation."""
INSTALL = """#!/bin/sh
# Checks the wheels beside this file and installs longform from them alone.
#   ./install.sh [VENV]      into VENV, .venv by default
set -eu
cd "$(dirname "$0")"
sha256sum --check --quiet SHA256SUMS
python3 -m venv "${1:-.venv}"
"${1:-.venv}/bin/python" -m pip install --no-index --find-links . %s
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


def npu_pair(torch_npu: str) -> list[str]:
    """Return the wheels of torch_npu and of the torch that it belongs to: the same base version."""
    torch = ".".join(torch_npu.split(".")[:3])
    return [f"torch=={torch}", f"torch-npu=={torch_npu}"]


def project_of(line: str) -> str:
    """Return the project that a requirement is of."""
    return Requirement(line).name


def pinned(lines: Iterable[str]) -> list[str]:
    """Return requirements at the versions of constraints.txt."""
    known = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {project_of(pin): pin for pin in known if "==" in pin}
    return [pins[project_of(line)] for line in lines]


def download(target: str, flags: list[str], *arguments: str) -> None:
    """Download wheels for another machine."""
    pip("download", "--quiet", "--dest", target, *flags, *arguments)


def collect_for_npu(target: str, flags: list[str], wanted: list[str], torch_npu: str) -> None:
    """Download what training on Ascend needs, without a wheel of CUDA.

    pip judges the markers of a package by the machine that it runs on, so on x86-64 torch would
    bring CUDA. What torch itself requires is therefore named here, and nothing is resolved for
    torch and for what requires it.
    """
    others = [line for line in wanted if project_of(line) not in {"torch", *ON_TORCH}]
    download(target, flags, "-c", "constraints.txt", *others, *TORCH_REQUIREMENTS)
    on_torch = pinned(line for line in wanted if project_of(line) in ON_TORCH)
    download(target, flags, "--no-deps", *npu_pair(torch_npu), *on_torch)


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
    parser.add_argument("--torch-npu", default="", help="its version, to train on Ascend")
    given = parser.parse_args()
    extras = [name for name in given.extras.split(",") if name]
    given.output.mkdir(parents=True, exist_ok=True)
    target = str(given.output.resolve())
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", target, ".")
    flags = platform_flags(given.platform, given.python)
    wanted = requirements(extras)
    if given.torch_npu:
        collect_for_npu(target, flags, wanted, given.torch_npu)
    else:
        download(target, flags, "-c", "constraints.txt", *wanted)
    script = given.output / "install.sh"
    pair = npu_pair(given.torch_npu) if given.torch_npu else []
    installed = shlex.join([f"longform[{','.join(extras)}]", *pair])
    script.write_text(INSTALL % installed, encoding="utf-8")
    script.chmod(0o755)
    lacking = unmet(
        given.output,
        [f"longform[{','.join(extras)}]", *pair],
        markers_of(given.platform, given.python),
    )
    if lacking:
        sys.exit("wheelhouse: not everything is here:\n  " + "\n  ".join(lacking))
    count = write_checksums(given.output)
    sys.stdout.write(f"{count} wheels for {given.platform} in {given.output}. Copy the folder.\n")


if __name__ == "__main__":
    main()
