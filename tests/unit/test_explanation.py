"""Explaining: sums over tokens, places in the text, and what is shown of both."""

from __future__ import annotations

import html
import json
import re

import pytest
from test_linear import FILLER, WORDS, documents, small
from typer.testing import CliRunner

import longform
from longform.cli.app import app
from longform.decision.evidence import EvidenceOptions
from longform.evaluation.explanation_page import shade, write_explanations
from longform.export.linear_bundle import write_linear_bundle
from longform.inference.explanation import explain_documents
from longform.training.linear import fit_linear
from longform.types import Document

DECISIVE = f"{WORDS['刑事']}。"
TEXT = "\x00𠮷😀。" + f"{FILLER}。" * 20 + DECISIVE + f"{FILLER}。" * 20


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    target = tmp_path_factory.mktemp("explained") / "bundle"
    write_linear_bundle(
        fit_linear(small(), documents(60), documents(30, seed=1)), documents(30, seed=1), target
    )
    return target


@pytest.fixture(scope="module")
def explained(bundle):
    with longform.load(bundle) as predictor:
        (item,) = explain_documents(
            predictor, [Document("a<b", TEXT)], EvidenceOptions(refine=True), tokens=True
        )
    return item


def test_the_planted_sentence_is_found_at_its_place_beyond_the_basic_plane(explained):
    best = max(explained.prediction.evidence, key=lambda part: part.log_odds)
    assert TEXT[best.start : best.end] == DECISIVE


def test_sentences_and_tokens_both_sum_to_the_logit(explained):
    explanation = explained.prediction.explanation
    assert explanation.method == "exact"
    for terms in (explained.prediction.evidence, explained.split.tokens):
        total = sum(term.contribution for term in terms) + explanation.base
        assert total == pytest.approx(explanation.logit, abs=1e-3)


def test_tokens_are_the_characters_that_were_read(explained):
    # A control character was cleaned away before reading; offsets are into the text as given.
    assert [TEXT[token.start : token.end] for token in explained.split.tokens[:2]] == ["𠮷", "😀"]
    strongest = max(explained.split.tokens, key=lambda token: token.contribution)
    assert TEXT[strongest.start : strongest.end] in WORDS["刑事"]


def test_the_page_quotes_the_whole_text_once_and_escapes_it(explained, tmp_path):
    path = tmp_path / "page.html"
    write_explanations(path, "model", [explained])
    page = path.read_text("utf-8")
    assert "a&lt;b" in page
    shown = re.search(r'<div class="explained"[^>]*>(.*?)</div>', page, re.DOTALL).group(1)
    assert html.unescape(re.sub(r"<[^>]+>", "", shown)) == TEXT
    (strongest,) = re.findall(r'<mark class="for shade-4"[^>]*>(.*?)</mark>', shown, re.DOTALL)
    assert re.sub(r"<[^>]+>", "", strongest) == DECISIVE
    assert "<script" not in page


def test_shades_tell_sides_and_strengths():
    assert [shade(value, 1.0) for value in (1.0, 0.5, 0.05, 0.0, -0.6, -9.0)] == [
        4,
        2,
        0,
        0,
        -2,
        -4,
    ]


def test_the_command_prints_one_object_and_writes_the_page(bundle, tmp_path):
    page = tmp_path / "new" / "page.html"
    result = CliRunner().invoke(
        app, ["explain", str(bundle), TEXT, "--json", "--tokens", "--report", str(page)]
    )
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["documents"]
    assert found["explanation"]["method"] == "exact"
    assert found["token_method"] == "exact"
    assert abs(found["token_gap"]) < 1e-3
    assert len(found["tokens"]) > len(found["evidence"]) > 32
    assert page.exists()


def test_the_command_shows_passages_in_reading_order(bundle):
    result = CliRunner().invoke(app, ["explain", str(bundle), TEXT])
    assert result.exit_code == 0, result.output
    assert WORDS["刑事"] in result.stdout.replace("\n", "")


def test_a_label_that_is_not_the_models_is_refused(bundle):
    result = CliRunner().invoke(app, ["explain", str(bundle), TEXT, "--label", "民事"])
    assert result.exit_code != 0
    assert "民事" in str(result.exception)
