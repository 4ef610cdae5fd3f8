"""Optional libraries: one guard, one message, and nothing sent home."""

from __future__ import annotations

import subprocess
import sys

import pytest

from longform.errors import MissingExtraError
from longform.extras import EXTRA_OF_LIBRARY, is_available, require

_QUANTIZE_WITHOUT_TELEMETRY = """
from longform.extras import require
require("openvino", "A test")
require("nncf", "A test")
import sys
from nncf.telemetry import wrapper
from openvino.tools.ovc import telemetry_utils
assert sys.modules.get("openvino_telemetry") is None
assert telemetry_utils.tm.__name__.endswith("telemetry_stub"), telemetry_utils.tm
assert isinstance(wrapper.telemetry, wrapper.NNCFTelemetryStub), wrapper.telemetry
"""


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(EXTRA_OF_LIBRARY, "no_such_library", "train")
    with pytest.raises(MissingExtraError, match=r"Reading stars needs.*longform\[train\]"):
        require("no_such_library", "Reading stars")


def test_an_installed_library_is_returned() -> None:
    assert require("yaml", "A test").__name__ == "yaml"


@pytest.mark.skipif(
    not (is_available("openvino") and is_available("nncf")),
    reason="openvino and nncf are not installed",
)
def test_r105_openvino_and_nncf_find_no_telemetry_to_send_with() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", _QUANTIZE_WITHOUT_TELEMETRY], check=True)
