from __future__ import annotations

import pytest

from longform.errors import ConfigError
from longform.serving.settings import ServerSettings


def test_the_server_is_private_to_the_machine_by_default():
    assert ServerSettings().host == "127.0.0.1"


def test_environment_is_read_when_built_and_arguments_win(monkeypatch):
    monkeypatch.setenv("LONGFORM_PORT", "9001")
    monkeypatch.setenv("LONGFORM_STRICT", "true")
    monkeypatch.setenv("LONGFORM_TOP_K", "3")
    settings = ServerSettings(top_k=5)
    assert (settings.port, settings.strict, settings.top_k) == (9001, True, 5)
    monkeypatch.delenv("LONGFORM_PORT")
    assert ServerSettings().port == 8000


def test_none_means_not_given(monkeypatch):
    monkeypatch.setenv("LONGFORM_HOST", "::1")
    assert ServerSettings.model_validate({"host": None, "port": None}).host == "::1"


def test_all_faults_are_reported_with_their_source(monkeypatch):
    monkeypatch.setenv("LONGFORM_PORT", "eighty")
    with pytest.raises(ConfigError, match=r"LONGFORM_PORT.*'eighty'") as caught:
        ServerSettings(max_client_batch_size=0)
    assert "max_client_batch_size" in str(caught.value)
