from __future__ import annotations

import re
from pathlib import Path

import pytest

from longform.cli.search_summary import print_search
from longform.search.report import verdict, write_search_report
from longform.search.result import Comparison, SearchResult, TestFigures, read_comparison
from longform.search.trials import TrialRecord


def make_result(
    only_best: int = 12, only_defaults: int = 2, p_value: float = 0.01, best: int = 1
) -> SearchResult:
    trials = (
        TrialRecord(0, "complete", {"dropout": 0.1}, "defaults", 0.81, {1: 0.7, 2: 0.81}, 9.0, 4.0),
        TrialRecord(1, "complete", {"dropout": 0.3}, "", 0.9, {1: 0.8, 2: 0.9}, 12.0, 5.0),
        TrialRecord(2, "pruned", {"dropout": 0.0}, "", None, {1: 0.2}, 3.0, None, "below <b>"),
        TrialRecord(3, "pruned", {"dropout": 0.5}, "", None, {}, 0.0, None, "does not fit"),
    )
    comparison = Comparison(
        TestFigures(100, 0.88, (0.80, 0.93), 0.85),
        TestFigures(100, 0.78, (0.69, 0.85), 0.74),
        only_best,
        only_defaults,
        p_value,
    )
    return SearchResult(
        metric="macro_f1",
        trials=trials,
        best=trials[best],
        importances={"dropout": 0.75, "learning_rate (bag)": 0.25},
        comparison=comparison,
        parts={"train": 300, "validation": 80, "test": 100},
        seconds=24.0,
        space={
            "dropout": {"values": {"low": 0.0, "high": 0.5, "step": 0.1}},
            "bag_dimension": {"values": [64, 128], "when": {"encoder": ["bag"]}},
        },
        bundle=Path("runs/search/best"),
    )


@pytest.fixture
def page(tmp_path):
    write_search_report(tmp_path / "report.html", make_result(), "<data>.csv")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_beside_it_and_escapes_what_it_shows(page):
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=", page)
    assert "&lt;data&gt;.csv" in page
    assert "below &lt;b&gt;" in page


def test_the_page_shows_the_test_figures_with_interval_trials_and_defaults(page):
    for shown in ("4 trials, 2 of them pruned", "88.0%", "80.0% to 93.0%", "78.0%", "Defaults"):
        assert shown in page
    assert "is the best of 4 and therefore too good" in page
    for title in ("Optimisation history", "Importance", "training time", "cost of an answer"):
        assert title in page
    assert page.count("<svg") == 4
    assert "bag_dimension: 64, 128, when encoder is bag" in page


def test_pruned_trials_are_drawn_where_they_had_come(page):
    # One of the two had reported nothing.
    assert page.count('class="hollow"') == 1
    assert page.count('class="start"') == 3


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (make_result(), "is better than the defaults"),
        (make_result(5, 3, 0.7), "do not tell the choice from the defaults (5 to 3"),
        (make_result(best=0), "Nothing better than the defaults was found."),
    ],
)
def test_the_verdict_claims_what_the_test_documents_show(result, told):
    assert told in verdict(result)


def test_the_screen_shows_trials_importance_and_judgement(capsys):
    print_search(make_result(), Path("runs/search/report.html"))
    shown = capsys.readouterr().out
    for part in ("90.00", "81.00", "defaults", "75.0 %", "80.00 to 93.00", "best.yaml"):
        assert part in shown
    assert "4 trials, 2 of them pruned." in shown


def test_a_result_survives_its_file():
    result = make_result()
    assert read_comparison(result.as_json()["test"]) == result.comparison
    assert result.as_json()["trials_pruned"] == 2
