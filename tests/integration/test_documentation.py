"""The documentation site builds, and every page of it can be read without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("mkdocs", reason="needs the dependency group docs")
pytest.importorskip("mkdocstrings", reason="needs the dependency group docs")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return folder


def test_every_document_is_in_the_navigation():
    # The file has no tags of Python, so that the safe loader reads it.
    content = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    listed = {page for entry in content["nav"] for page in entry.values()}
    assert listed == {
        path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")
    }


def test_pages_fetch_nothing_from_outside(site):
    for page in site.rglob("*.html"):
        fetched = re.findall(
            r"<(?:script|img|iframe)[^>]* src=[\"']?(https?:[^\"' >]+)"
            r"|<link[^>]* rel=[\"']?stylesheet[^>]* href=[\"']?(https?:[^\"' >]+)",
            page.read_text("utf-8"),
        )
        assert not fetched, page.name


def test_reference_documents_what_a_program_needs(site):
    page = (site / "reference" / "index.html").read_text("utf-8")
    for name in ("load", "Predictor.predict", "Predictor.close"):
        assert f'id="longform.inference.predictor.{name}"' in page
    assert 'id="longform.types.Coverage"' in page
    assert "tokens_used" in page


def test_scripts_are_not_published(site):
    assert not list(site.rglob("*.py"))
