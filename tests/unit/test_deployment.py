"""Files for containers, Kubernetes, systemd, Prometheus and Grafana, as their tools see them."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from serving_stub import StubPredictor, registry_of, wait_until_opened

from longform.cli.app import app as command_line
from longform.serving.rest import create_app
from longform.serving.settings import ENVIRONMENT_PREFIX, ServerSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = sorted(
    path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.stem != "kustomization"
)
COMPOSE_FILES = sorted(DEPLOY.glob("compose*.yaml"))
VERSIONS = ("1.30.0", "1.33.0")


def run(*command, **more):
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **more
    )


def tool(name):
    """A program beside this Python, or in the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.ascend"])
def test_the_dockerfiles_are_clean_for_hadolint(name):
    result = run(tool("hadolint"), DEPLOY / "docker" / name)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_image_runs_as_nobody_in_particular_and_gives_only_what_it_needs():
    lines = (DEPLOY / "docker" / "Dockerfile").read_text().splitlines()
    assert "USER 10001" in lines
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    last_stage = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM")) :]
    assert not any("pip install" in line or "COPY src" in line for line in last_stage)
    ignored = (DEPLOY.parent / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"


def test_every_variable_of_the_deployment_is_a_setting_of_the_server():
    known = {ENVIRONMENT_PREFIX + name.upper() for name in ServerSettings.model_fields}
    known |= {"LONGFORM_STATE", "LONGFORM_CACHE"}
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            used = set(re.findall(r"\bLONGFORM_[A-Z_]+\b", path.read_text()))
            assert used <= known, path


def test_every_flag_of_the_deployment_is_one_of_the_verb():
    (serve,) = [one for one in command_line.registered_commands if one.callback.__name__ == "serve"]
    known = {"--" + name.replace("_", "-") for name in serve.callback.__annotations__}
    unit = DEPLOY / "systemd" / "longform.service"
    cards = DEPLOY / "kubernetes" / "ascend" / "cards.yaml"
    for path in (*MANIFESTS, cards, *COMPOSE_FILES, unit):
        used = set(re.findall(r"(?<=[\s\"'])--[a-z][a-z-]+", path.read_text()))
        assert used - {"--no-create-home", "--system", "--now", "--build"} <= known, path


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.stem)
def test_the_compose_files_fit_their_schema(path):
    pytest.importorskip("check_jsonschema")
    command = (sys.executable, "-m", "check_jsonschema", "--builtin-schema")
    result = run(*command, "vendor.compose-spec", path)
    assert result.returncode == 0, result.stdout + result.stderr
    server = yaml.safe_load(path.read_text())["services"]["longform"]
    assert server["read_only"] is True
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_the_manifests(path, version):
    validate = pytest.importorskip("kubernetes_validate")
    for manifest in yaml.safe_load_all(path.read_text()):
        validate.validate(manifest, version, strict=True)


def merged(base, patch):
    """A strategic merge as kustomize makes it: containers and the like by their names."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return base | {key: merged(base.get(key), value) for key, value in patch.items()}
    if isinstance(base, list) and all(isinstance(one, dict) and "name" in one for one in base):
        by_name = {one["name"]: one for one in base}
        by_name |= {one["name"]: merged(by_name.get(one["name"]), one) for one in patch}
        return list(by_name.values())
    return patch


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_the_manifests_for_ascend(version):
    validate = pytest.importorskip("kubernetes_validate")
    folder = DEPLOY / "kubernetes" / "ascend"
    for patch, base in (("cards.yaml", "deployment.yaml"), ("scaling.yaml", "autoscaling.yaml")):
        (whole,) = yaml.safe_load_all((folder.parent / base).read_text())
        (change,) = yaml.safe_load_all((folder / patch).read_text())
        for key in ("apiVersion", "kind"):
            assert change[key] == whole[key]
        assert change["metadata"]["name"] == whole["metadata"]["name"]
        result = merged(whole, change)
        validate.validate(result, version, strict=True)
        if result["kind"] == "Deployment":
            (container,) = result["spec"]["template"]["spec"]["containers"]
            resources = container["resources"]
            # An extended resource must be asked for as it is limited.
            assert resources["limits"]["huawei.com/Ascend910"] == 2
            assert resources["requests"]["huawei.com/Ascend910"] == 2
            assert container["readinessProbe"]
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert all((folder / entry["path"]).is_file() for entry in listed["patches"])


def test_the_container_for_ascend_takes_the_environment_of_cann(tmp_path):
    script = DEPLOY / "docker" / "ascend-entrypoint.sh"
    environment = {"ASCEND_ROOT": str(tmp_path), "PATH": os.environ["PATH"]}
    refused = run("bash", script, "env", env=environment)
    assert refused.returncode == 78
    assert "no set_env.sh" in refused.stderr
    for place in ("ascend-toolkit", "cann"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "set_env.sh").write_text(f"export FROM_CANN={place}\n")
        result = run("bash", script, "env", env=environment)
        assert f"FROM_CANN={place}" in result.stdout
        assert f"{tmp_path}/driver/lib64/common" in result.stdout


def test_pods_are_probed_where_the_server_answers_and_may_not_do_much():
    (manifest,) = yaml.safe_load_all((DEPLOY / "kubernetes" / "deployment.yaml").read_text())
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    with TestClient(create_app(registry_of(StubPredictor), ServerSettings())) as client:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert client.get(container[probe]["httpGet"]["path"]).status_code in {200, 503}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    grace = ServerSettings().shutdown_timeout
    assert pod["terminationGracePeriodSeconds"] > grace + 5
    listed = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
    assert sorted(listed["resources"]) == [path.name for path in MANIFESTS]


def test_systemd_takes_the_unit(tmp_path):
    unit = DEPLOY / "systemd" / "longform.service"
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(unit)
    assert parser["Service"]["Restart"] == "always"
    assert int(parser["Service"]["TimeoutStopSec"]) > ServerSettings().shutdown_timeout
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed; the unit was read, not verified")
    # The program must exist for the check, wherever it will be.
    text = unit.read_text().replace("/opt/longform/bin/longform", sys.executable)
    copy = tmp_path / "longform.service"
    copy.write_text(text.replace("User=longform\n", "User=daemon\n"))
    result = run("systemd-analyze", "verify", "--man=no", copy)
    about_ours = [line for line in result.stderr.splitlines() if "longform.service" in line]
    assert about_ours == []


def test_promtool_takes_the_rules_and_the_configuration():
    promtool = tool("promtool")
    result = run(promtool, "check", "rules", DEPLOY / "prometheus" / "alerts.yml")
    assert result.returncode == 0, result.stdout + result.stderr
    configuration = DEPLOY / "prometheus" / "prometheus.yml"
    result = run(promtool, "check", "config", configuration)
    assert result.returncode == 0, result.stdout + result.stderr


def expressions():
    """Every PromQL expression that is shipped, with where it is from."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "longform.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def test_promtool_takes_the_expressions_of_the_dashboard(tmp_path):
    promtool = tool("promtool")
    rules = [
        {"record": f"test:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, (_, expression) in enumerate(expressions())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    result = run(promtool, "check", "rules", path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_metric_that_is_looked_at_is_one_that_the_server_has():
    registry = registry_of(StubPredictor)
    with TestClient(create_app(registry, ServerSettings())) as client:
        wait_until_opened(registry)
        families = list(text_string_to_metric_families(client.get("/metrics").text))
    names = {family.name for family in families}
    suffixes = ("_total", "_bucket", "_sum", "_count")
    for place, expression in expressions():
        for name in re.findall(r"\b(?:longform|process)_\w+", expression):
            bare = next((name.removesuffix(s) for s in suffixes if name.endswith(s)), name)
            assert name in names or bare in names, f"{place}: {name}"


def test_panels_have_a_title_a_unit_and_do_not_overlap():
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "longform.json").read_text())
    cells = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert panel["title"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= own
