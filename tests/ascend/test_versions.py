from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from longform.backends.ascend.versions import AscendStack, cann_version
from longform.cli.app import app


@pytest.mark.parametrize(
    ("torch", "torch_npu", "cann", "said"),
    [
        ("2.10.0", "2.10.0.post4", "9.1.0", "belong together"),
        ("2.10.0+cpu", "2.10.0.post4", "9.1.0", "belong together"),
        ("2.8.0", "2.8.0", "8.3.RC1", "belong together"),
        ("2.13.0", "2.10.0.post4", "9.1.0", "install torch==2.10.0"),
        (None, "2.10.0.post4", "9.1.0", "install torch==2.10.0"),
        ("2.10.0", "2.10.0.post4", "8.5.0", "released for CANN 9.1.0"),
        ("2.10.0", "2.10.0.post4", None, "CANN is not found"),
        ("2.13.0", "2.13.0", "9.1.0", "not in the table"),
        ("2.13.0", None, None, "do not train"),
    ],
)
def test_versions_are_held_against_the_table_of_the_project(torch, torch_npu, cann, said):
    assert said in AscendStack(torch, torch_npu, cann).judge()


def test_the_version_of_cann_is_in_the_file_of_its_installer(tmp_path, monkeypatch):
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(tmp_path))
    (tmp_path / "aarch64-linux").mkdir()
    path = tmp_path / "aarch64-linux" / "ascend_toolkit_install.info"
    path.write_text("package_name=Ascend-cann-toolkit\nversion=9.1.0\narch=aarch64\n")
    assert cann_version() == "9.1.0"


def test_the_environment_shows_cards_and_pairing(tmp_path, monkeypatch):
    from test_npu_smi import CARDS, HEAD, program

    (tmp_path / "said").write_text(HEAD.format(version="25") + CARDS)
    program(tmp_path, monkeypatch, f"cat {tmp_path / 'said'}")
    result = CliRunner().invoke(app, ["env", "--json"])
    ascend = json.loads(result.stdout)["ascend"]
    assert ascend["cards"] == ["910B2 (OK)", "910B2C (Warning)"]
    assert ascend["torch_npu"] is None
    assert "NPUs      910B2 (OK)" in CliRunner().invoke(app, ["env"]).stdout
