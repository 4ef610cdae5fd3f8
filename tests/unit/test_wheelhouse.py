from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "deploy" / "offline" / "wheelhouse.py"


@pytest.fixture(scope="module")
def wheelhouse():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PATH.parent))
        yield loaded()


def loaded():
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


def write_wheel(folder, name, version, *requires):
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires)]
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}-{version}.dist-info/METADATA", "\n".join(lines) + "\n")


def test_what_is_lacking_is_judged_for_the_other_machine(wheelhouse, tmp_path):
    write_wheel(
        tmp_path, "first", "1.0", "second>=2; platform_machine == 'aarch64'",
        "gpu; platform_machine == 'x86_64'", "third; extra == 'more'",
        "old; python_version < '3.10'",
    )  # fmt: skip
    write_wheel(tmp_path, "second", "1.5")
    arm = wheelhouse.markers_of("aarch64", "3.11")
    lacking = wheelhouse.unmet(tmp_path, ["first"], arm)
    assert lacking == ['second>=2; platform_machine == "aarch64" for first: only 1.5']
    assert (
        "gpu" in wheelhouse.unmet(tmp_path, ["first"], wheelhouse.markers_of("x86_64", "3.11"))[0]
    )
    assert any("third" in one for one in wheelhouse.unmet(tmp_path, ["first[more]"], arm))
    write_wheel(tmp_path, "second", "2.1", "First")
    (tmp_path / "second-1.5-py3-none-any.whl").unlink()
    assert wheelhouse.unmet(tmp_path, ["first"], arm) == []


def test_the_pair_for_training_on_ascend_has_one_base_version(wheelhouse):
    pair = wheelhouse.npu_pair("2.10.0.post4")
    assert pair == ["torch==2.10.0", "torch-npu==2.10.0.post4"]
    wanted = wheelhouse.requirements(["train"])
    on_torch = [one for one in wanted if wheelhouse.project_of(one) in wheelhouse.ON_TORCH]
    assert len(wheelhouse.pinned(on_torch)) == len(wheelhouse.ON_TORCH)
    declared = {
        wheelhouse.project_of(line)
        for line in metadata.requires("torch")
        if "platform_machine" not in line and "extra" not in line
    }
    assert declared - {"setuptools"} <= set(wheelhouse.TORCH_REQUIREMENTS)
