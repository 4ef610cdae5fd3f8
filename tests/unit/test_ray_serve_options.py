"""A service on Ray, without Ray: its options, what it refuses, and how many replicas it wants."""

from __future__ import annotations

import types

import pytest
from serving_stub import StubPredictor
from typer.testing import CliRunner

from longform.cli.app import app as command_line
from longform.errors import ConfigError, InputError
from longform.scale.autoscaling import QUEUED_TOKENS, QueuedTokensPolicy
from longform.scale.serve_models import HeldModel, ModelsOnDemand
from longform.scale.serve_options import RayServeOptions, check_fit
from longform.serving.failures import NotReadyError
from longform.serving.settings import ServerSettings
from longform.serving.versions import UnknownModelError


def context(told, replicas=2):
    return types.SimpleNamespace(aggregated_metrics=told, target_num_replicas=replicas)


def test_replicas_share_all_tokens_that_wait():
    wanted, _ = QueuedTokensPolicy(100)(context({QUEUED_TOKENS: {"a": 250.0, "b": 50.0}}))
    assert wanted == 3
    assert QueuedTokensPolicy(100)(context({QUEUED_TOKENS: {"a": 0.0}}))[0] == 0


@pytest.mark.parametrize("told", [None, {}, {"other": {"a": 9.0}}, {QUEUED_TOKENS: {}}])
def test_without_news_the_number_stays_and_it_is_said(told, caplog, monkeypatch):
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    policy = QueuedTokensPolicy(100)
    assert [policy(context(told))[0] for _ in range(3)] == [2, 2, 2]
    said = [record for record in caplog.records if "queued tokens" in record.message]
    assert len(said) == 1


@pytest.mark.parametrize(("written", "bounds"), [("1", (1, 1)), ("3", (3, 3)), ("1:4", (1, 4))])
def test_replicas_are_a_number_or_two(written, bounds):
    assert RayServeOptions.read({"replicas": written}).fewest_and_most == bounds


@pytest.mark.parametrize("written", ["0", "4:1", "1:", "many", "0:2"])
def test_other_replicas_are_refused_by_name(written):
    with pytest.raises(ConfigError, match="replicas"):
        RayServeOptions.read({"replicas": written})


@pytest.mark.parametrize(
    ("given", "way_out"),
    [
        ({"grpc_port": 9000}, "--engine local"),
        ({"watch_seconds": 5.0}, "run the command again"),
        ({"devices": "cuda:0,1"}, "--replicas"),
    ],
)
def test_settings_that_nothing_would_heed_are_refused(given, way_out):
    with pytest.raises(InputError, match=way_out):
        check_fit(ServerSettings(**given))


def test_a_setting_from_the_environment_is_refused_too(monkeypatch):
    monkeypatch.setenv("LONGFORM_ADMIN_PORT", "9001")
    with pytest.raises(InputError, match="LONGFORM_ADMIN_PORT"):
        check_fit(ServerSettings())


def test_flags_of_ray_need_ray(tmp_path):
    result = CliRunner().invoke(command_line, ["serve", str(tmp_path), "--replicas", "2"])
    assert isinstance(result.exception, InputError)
    assert "--engine ray" in str(result.exception)
    assert "--replicas" in str(result.exception)


@pytest.fixture
def shelf(tmp_path):
    """Three models of which one is held at the start, and who was asked to load."""
    folders = {name: tmp_path / name for name in "abc"}
    loaded: list[str] = []

    async def load(name):
        loaded.append(name)
        if name not in registry.models:
            registry.load(name, folders[name])

    registry = ModelsOnDemand(
        folders, load, lambda: routed[0], open_predictor=lambda _: StubPredictor()
    )
    routed = [""]
    registry.add("a", folders["a"])
    registry.start()
    registry.services[0].wait_until_opened(10)
    yield registry, loaded, routed
    registry.close()


async def names(registry, *asked):
    return [await registry.provide(name) for name in asked]


def run(coroutine):
    import asyncio

    return asyncio.run(coroutine)


def test_a_model_is_loaded_when_it_is_asked_for(shelf):
    registry, loaded, _ = shelf
    with pytest.raises(NotReadyError, match="'b'"):
        registry.find("b")
    assert run(names(registry, None, "a", "b", "b")) == [None, "a", "b", "b"]
    assert loaded == ["b", "b"]
    assert registry.find("b").name == "b"
    with registry.lease("b") as service:
        assert service.name == "b"


def test_an_unknown_model_is_nobodys_to_load(shelf):
    registry, loaded, _ = shelf
    assert run(names(registry, "z")) == ["z"]
    assert loaded == []
    with pytest.raises(UnknownModelError):
        registry.find("z")


def test_a_request_without_a_name_goes_to_the_model_it_was_routed_by(shelf):
    registry, loaded, routed = shelf
    routed[0] = "c"
    assert run(names(registry, None, "a")) == ["c", "a"]
    assert loaded == ["c"]


def test_a_model_that_is_let_go_twice_does_not_take_its_successor_along(shelf):
    registry, _, _ = shelf
    run(names(registry, "b"))
    held = HeldModel(registry, "b")
    held.__del__()
    assert "b" not in registry.models
    run(names(registry, "b"))
    held.__del__()
    assert "b" in registry.models
