from __future__ import annotations

import hashlib
import importlib.util
import subprocess
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "deploy" / "offline" / "wheelhouse.py"


@pytest.fixture(scope="module")
def wheelhouse():
    spec = importlib.util.spec_from_file_location("wheelhouse", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_requirements_are_those_of_the_package_and_of_extras_within_extras(wheelhouse):
    found = wheelhouse.requirements(["serve", "train"])
    names = {line.partition(">")[0] for line in found}
    assert {"numpy", "onnxruntime", "grpcio", "pyzmq", "torch", "scikit-learn", "pyarrow"} <= names
    assert not any(name.startswith("longform") for name in names)
    assert len(found) == len(set(found))


def test_wheels_are_asked_for_by_platform_and_never_built(wheelhouse):
    flags = wheelhouse.platform_flags("aarch64", "3.11")
    assert "--only-binary=:all:" in flags
    assert "--platform=manylinux_2_28_aarch64" in flags
    # Kylin V10 has glibc 2.28: nothing newer may come.
    assert not any("2_3" in flag for flag in flags)


def test_the_installer_refuses_a_wheel_that_was_changed(wheelhouse, tmp_path):
    (tmp_path / "a-1-py3-none-any.whl").write_bytes(b"wheel")
    assert wheelhouse.write_checksums(tmp_path) == 1
    digest = hashlib.sha256(b"wheel").hexdigest()
    assert (tmp_path / "SHA256SUMS").read_text() == f"{digest}  a-1-py3-none-any.whl\n"
    (tmp_path / "install.sh").write_text(wheelhouse.INSTALL % "serve")
    (tmp_path / "a-1-py3-none-any.whl").write_bytes(b"other")
    done = subprocess.run(
        ["sh", tmp_path / "install.sh"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert not (tmp_path / ".venv").exists()
