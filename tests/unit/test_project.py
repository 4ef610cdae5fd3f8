"""The repository keeps its own promises: documents, sizes, pins, and what make and CI do."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from longform.config import (
    ALIASES,
    PretrainingSettings,
    RunConfig,
    SegmentSettings,
    load_config,
)
from longform.serving.reply_schemas import PredictReply

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "longform"
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
MODULES = sorted(PACKAGE.rglob("*.py"))

LONGEST_MODULE, MEDIAN_MODULE, LONGEST_FUNCTION = 400, 145, 60


def tracked_files() -> list[str]:
    """Paths under version control; a source archive has no record of them."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs the git checkout")
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


def code_blocks(page: Path) -> list[tuple[str, str]]:
    """Language and content of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def tree_entries(page: Path) -> list[str]:
    """Names in the first column of the tree, those of the package under its path."""
    (tree,) = (block for _, block in code_blocks(page) if block.startswith("README.md "))
    entries = []
    for line in tree.splitlines():
        name = line.split()[0]
        entries.append(f"src/longform/{name}" if line.startswith("  ") else name)
    return entries


def load_generator():
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_readme_tree_names_everything_and_nothing_else(page):
    expected = set()
    for name in tracked_files():
        parts = name.split("/")
        if parts[:2] == ["src", "longform"]:
            room = parts[2]
            if room not in {"__init__.py", "py.typed"}:
                expected.add(f"src/longform/{room}" + ("/" if len(parts) > 3 else ""))
        else:
            expected.add(parts[0] + ("/" if len(parts) > 1 else ""))
    entries = tree_entries(page)
    assert len(entries) == len(set(entries))
    assert set(entries) - {"src/longform/"} == expected


def test_readmes_have_the_same_code_and_tree():
    english, chinese = (
        [block for block in code_blocks(page) if not block[1].startswith("README.md ")]
        for page in READMES
    )
    assert english == chinese
    assert tree_entries(READMES[0]) == tree_entries(READMES[1])


def test_readmes_have_the_same_sections_rows_and_links():
    def outline(page: Path) -> tuple[list[str], int, int, set[str]]:
        text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        levels = re.findall(r"^(#+) ", text, re.MULTILINE)
        rows = re.findall(r"^\| `", text, re.MULTILINE)
        items = re.findall(r"^- ", text, re.MULTILINE)
        links = set(re.findall(r"\]\(([^)]+)\)", text)) - {page.name for page in READMES}
        return levels, len(rows), len(items), links

    assert outline(READMES[0]) == outline(READMES[1])


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_readme_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_readme_answer_has_the_shape_of_the_server():
    (example,) = (block for language, block in code_blocks(READMES[0]) if language == "json")
    reply = PredictReply.model_validate(json.loads(example))
    (prediction,) = reply.predictions
    assert prediction.coverage.truncated == (prediction.coverage.reason is not None)
    assert prediction.coverage.tokens_used < prediction.coverage.tokens_total


def test_readme_settings_are_accepted(tmp_path):
    (example,) = (block for language, block in code_blocks(READMES[0]) if language == "yaml")
    path = tmp_path / "config.yaml"
    path.write_text(example, encoding="utf-8")
    assert load_config(path).aggregator == "lstm"


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_readme_knobs_are_keys_with_their_values(page):
    rows = re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", page.read_text("utf-8"), re.MULTILINE)
    assert len(rows) == 12
    for keys, values in rows:
        fields = [RunConfig.model_fields[key] for key in re.findall(r"`(\w+)`", keys)]
        choices = [
            choice for choice in getattr(fields[0].annotation, "__args__", ()) if choice is not None
        ]
        named = re.findall(r"`(\w+)`", values.split(";")[0])
        if choices and all(isinstance(choice, str) for choice in choices):
            assert sorted(named) == sorted(choices)


def test_generated_documents_are_up_to_date():
    generator = load_generator()
    for page in generator.PAGES:
        written = page.read_text("utf-8")
        assert generator.render(written) == written, f"docs/{page.name}: run 'make docs'"


def test_configuration_page_lists_every_key_with_its_default():
    page = (ROOT / "docs/configuration.md").read_text("utf-8")
    pretraining = re.search(r"<!-- generated: pretraining -->.*?<!-- end -->", page, re.DOTALL)[0]
    row = re.compile(r"^\| `([a-z0-9_]+)` \| [^|]+ \| ([^|]+) \| \S", re.MULTILINE)
    own = set(PretrainingSettings.model_fields) - set(SegmentSettings.model_fields)
    assert {key for key, _ in row.findall(pretraining)} == own
    rows = dict(row.findall(page.replace(pretraining, "")))
    assert set(rows) == set(RunConfig.model_fields)
    assert rows["segment_length"] == f"`{RunConfig.model_fields['segment_length'].default}`"
    for theirs, ours in ALIASES.items():
        assert f"| `{theirs}` | `{ours}` |" in page


def test_a_field_without_docstring_is_refused_by_the_generator(monkeypatch):
    generator = load_generator()
    source = "class RunConfig:\n    seed: int = 42\n    data: str = ''\n    '''Training file.'''\n"
    monkeypatch.setattr(generator.inspect, "getsource", lambda settings: source)
    with pytest.raises(LookupError, match=r"RunConfig\.seed"):
        generator.field_docstrings(RunConfig)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_modules_and_functions_stay_small(path):
    source = path.read_text("utf-8")
    assert len(source.splitlines()) <= LONGEST_MODULE
    too_long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    }
    assert not too_long


def test_the_median_module_is_small():
    lengths = [
        len(path.read_text("utf-8").splitlines()) for path in MODULES if path.stem != "__init__"
    ]
    assert statistics.median(lengths) <= MEDIAN_MODULE


def test_no_module_has_a_name_that_says_nothing():
    empty = {"utils", "util", "common", "helpers", "misc"}
    names = {Path(name).stem for name in tracked_files() if name.endswith(".py")}
    assert not names & empty


def test_no_machine_paths_or_registries_in_tracked_files():
    places = re.compile(
        # Split, so that this file does not find itself.
        r"(?<![\w.])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me|opt/py" + r"pi)/"
        r"|py" + r"pi\.org|pythonhos" + r"ted|index-" + r"url|anaconda\.o" + r"rg"
        r"|mirror[\w-]*\.\w+\.|@ fi" + r"le:"
    )
    found = {}
    for name in tracked_files():
        content = (ROOT / name).read_bytes()
        if b"\0" not in content and (match := places.search(content.decode("utf-8", "replace"))):
            found[name] = match.group()
    assert not found


def test_changelog_has_unreleased_first():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"


def test_contributing_fits_a_few_screens():
    assert len((ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()) <= 100


def test_license_and_citation_agree_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    version = re.search(r'__version__ = "(.+)"', (PACKAGE / "__init__.py").read_text("utf-8"))
    assert citation["license"] == project["license"] == "Apache-2.0"
    assert citation["version"] == version.group(1)
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")[:200]


def test_constraints_pin_every_dependency_to_a_version_that_fits():
    pins = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)", line)
            assert match, f"{line!r} is not a plain pin"
            pins[canonicalize_name(match.group(1))] = match.group(2)
    content = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project = content["project"]
    wanted = [*project["dependencies"]]
    for group in (
        *project["optional-dependencies"].values(),
        *content["dependency-groups"].values(),
    ):
        wanted += group
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name != "longform":
            assert requirement.specifier.contains(pins[name]), requirement


def test_extras_named_by_the_guard_install_the_library():
    from longform.extras import EXTRA_OF_LIBRARY

    content = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = content["project"]["optional-dependencies"]
    distribution = {
        "sklearn": "scikit-learn",
        "google.protobuf": "protobuf",
        "google_crc32c": "google-crc32c",
        "scipy.sparse": "scipy",
        "docx": "python-docx",
        "grpc": "grpcio",
        "multipart": "python-multipart",
        "zmq": "pyzmq",
        "opentelemetry.sdk": "opentelemetry-sdk",
        "opentelemetry.exporter.otlp.proto.http": "opentelemetry-exporter-otlp-proto-http",
    }
    for library, extra in EXTRA_OF_LIBRARY.items():
        installed = {canonicalize_name(Requirement(line).name) for line in extras[extra]}
        assert canonicalize_name(distribution.get(library, library)) in installed


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@needs_make
def test_make_alone_lists_every_target():
    listed = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True)
    named = set(re.findall(r"^  make ([a-z0-9-]+) ", listed.stdout, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert named == set(phony.group(1).split())


@needs_make
def test_make_install_refuses_an_old_python_with_the_way_out(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 || exit 1\n')
    old.chmod(0o755)
    command = ["make", "-C", str(tmp_path), "install", f"PYTHON={old}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "needs Python 3.11 or newer. Found: Python 3.9.2." in result.stderr
    assert "make install PYTHON=" in result.stderr
    assert not (tmp_path / ".venv").exists()


@needs_make
def test_make_install_runs_again_only_when_the_requirements_changed(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    stamp = tmp_path / ".venv" / ".installed"
    stamp.parent.mkdir()
    stamp.touch()

    def has_nothing_to_do() -> bool:
        command = ["make", "-C", str(tmp_path), "--question", "install"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    for name in ("pyproject.toml", "constraints.txt"):
        os.utime(tmp_path / name, (1_000_000, 1_000_000))
    assert has_nothing_to_do()
    newer = stamp.stat().st_mtime + 10
    os.utime(tmp_path / "constraints.txt", (newer, newer))
    assert not has_nothing_to_do()


def run_ci(tmp_path: Path, user: int, apt_status: int | None) -> subprocess.CompletedProcess[str]:
    """Run a copy of .ci/run among stand-ins for make, apt-get and id, without a browser."""
    for name in ("bash", "dirname", "env"):
        (tmp_path / name).symlink_to(shutil.which(name))
    stand_ins = {"make": 'echo "make $*"', "id": f"echo {user}"}
    if apt_status is not None:
        stand_ins["apt-get"] = f'echo "apt-get $*"; exit {apt_status}'
    for name, body in stand_ins.items():
        path = tmp_path / name
        path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
        path.chmod(0o755)
    return subprocess.run(
        [ROOT / ".ci" / "run"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("user", "apt_status"),
    [(0, 0), (0, 100), (0, None), (1000, 0)],
    ids=["root", "apt fails", "no apt", "not root"],
)
def test_ci_installs_what_it_may_and_always_runs_the_tests(tmp_path, user, apt_status):
    result = run_ci(tmp_path, user, apt_status)
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == "make test"
    may_install = user == 0 and apt_status == 0
    assert ("install -y -qq --no-install-recommends chromium prometheus" in result.stdout) == (
        may_install
    )
    assert ("will skip" in result.stderr) == (not may_install)


def test_pre_commit_uses_only_tools_of_the_project():
    content = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert [repository["repo"] for repository in content["repos"]] == ["local"]
    hooks = content["repos"][0]["hooks"]
    assert {"ruff-check", "ruff-format", "mypy", "import-linter"} <= {hook["id"] for hook in hooks}
    assert all(hook["entry"].startswith(".venv/bin/") for hook in hooks)
