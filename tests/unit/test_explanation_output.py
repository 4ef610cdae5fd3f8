"""What is shown of neural tokens and attention, and what is said where they cannot be had."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import pytest

from longform.backends.attributions import TorchAttributions
from longform.cli.explain_summary import print_explained
from longform.errors import InputError, MissingExtraError
from longform.evaluation.explanation_page import write_explanations
from longform.inference.explanation import (
    ExplainedDocument,
    SegmentAttention,
    describe_tokens,
    explain_documents,
)
from longform.types import (
    Coverage,
    Document,
    Evidence,
    Explanation,
    LabelScore,
    Prediction,
    TokenContribution,
    TokenSplit,
)

TEXT = "合同无效。判决如下。"


def split(gap: float = 0.01) -> TokenSplit:
    tokens = (
        TokenContribution(0, 2, 1.5),
        TokenContribution(2, 4, -0.75),
        TokenContribution(5, 7, 0.25),
    )
    return TokenSplit("integrated_gradients", tokens, 2.0 + gap, 1.0, steps=16)


def item(**settings) -> ExplainedDocument:
    evidence = (
        Evidence(0, 0, 5, 0.2, "甲", contribution=0.75, log_odds=1.0),
        Evidence(1, 5, 10, -0.1, "甲", contribution=0.25, log_odds=-0.5),
    )
    prediction = Prediction(
        id="a",
        label="甲",
        score=0.9,
        scores=(LabelScore("甲", 0.9), LabelScore("乙", 0.1)),
        coverage=Coverage(8, 8, 2, 2, False, None),
        evidence=evidence,
        explanation=Explanation("leave_one_out", "甲", 2.0),
    )
    attention = (SegmentAttention(0, 5, (0.9, 0.5)), SegmentAttention(5, 10, (0.1, 0.5)))
    settings = {"split": split(), "attention": attention} | settings
    return ExplainedDocument(Document("a", TEXT), prediction, **settings)


def test_the_gap_is_told_and_a_large_one_is_a_warning():
    told = describe_tokens(split())
    assert "integrated gradients at 16 points: logit 2.010, of which +1.000 is of no token" in told
    assert "+0.010 (1.0 % of what tokens are to explain) is left unexplained" in told
    assert "as amounts" not in told
    assert "(9.1 % of" in describe_tokens(split(0.1))
    assert "take the tokens' figures as an order, not as amounts" in describe_tokens(split(0.1))


def test_the_terminal_shows_tokens_of_both_sides_and_attention_as_what_it_is(capsys):
    print_explained([item()])
    shown = " ".join(capsys.readouterr().out.split())
    assert "for: 合同 +1.500 判决 +0.250" in shown
    assert "against: 无效 -0.750" in shown
    assert "weights of attention, not contributions" in shown
    assert "0 to 5 0.700 (0.900 0.500)" in shown


def test_the_page_underlines_tokens_and_folds_attention_away(tmp_path):
    write_explanations(tmp_path / "page.html", "model", [item()])
    page = (tmp_path / "page.html").read_text("utf-8")
    # Of three tokens, a tenth is the one that counts most.
    assert re.findall(r"<b [^>]*>[^<]*</b>", page) == [
        '<b class="token for" title="+1.5000">合同</b>'
    ]
    assert f"by {describe_tokens(split())}." in page.replace("&apos;", "'")
    details = page[page.index("<details") : page.index("</details>")]
    assert "<summary>Weights of attention, not contributions</summary>" in details
    assert ">0.700<" in details
    write_explanations(tmp_path / "page.html", "model", [item(split=None, attention=None)])
    plain = (tmp_path / "page.html").read_text("utf-8")
    assert "<details" not in plain
    assert "Underlined" not in plain


def predictor(**found) -> SimpleNamespace:
    scorer = SimpleNamespace(
        read=lambda documents: [None for _ in documents],
        token_split=lambda *_: found.get("split"),
        attention=lambda _: found.get("attention"),
    )
    return SimpleNamespace(
        scorer=scorer,
        rule=None,
        conclude=lambda *_, **__: [item().prediction],
        bundle=SimpleNamespace(folder=SimpleNamespace(name="exported")),
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [("tokens", "model.safetensors"), ("attention", "aggregator 'attention'")],
)
def test_a_bundle_that_cannot_tell_is_refused_with_the_way_out(asked, words):
    options = SimpleNamespace(label=None)
    with pytest.raises(InputError, match=words) as caught:
        explain_documents(predictor(), [Document("a", TEXT)], options, **{asked: True})
    assert f"Leave --{asked} out" in str(caught.value)
    assert "exported" in str(caught.value)


def test_without_torch_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match="Looking into a neural model") as caught:
        _ = TorchAttributions(tmp_path).has_one_logit
    assert "pip install" in str(caught.value)
