"""The page of a diagnosis: what it tells, and what a text on it can never do."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from doctor_samples import as_result, make_documents, relabel
from test_report import Page

from longform.config import RunConfig
from longform.data.doctor.examination import diagnose
from longform.data.doctor.lengths import Histogram
from longform.evaluation.doctor_charts import draw_histogram
from longform.evaluation.doctor_report import write_doctor_report
from longform.types import Document

NASTY = "<script>alert('x')</script>\u202e & \ud800"


@pytest.fixture(scope="module")
def flawed():
    documents = relabel(make_documents(120, characters=600), range(0, 120, 17))
    documents[5] = replace(documents[5], id=NASTY[:27], text=NASTY[:27] + documents[5].text)
    documents.append(Document("copy", documents[2].text, documents[2].label))
    held_out = [*make_documents(30, seed=5), Document("leak", documents[4].text, "类1")]
    config = RunConfig(data="sample.jsonl", validation="v.jsonl")
    return diagnose(as_result(documents), as_result(held_out), config)


def render(tmp_path, diagnosis):
    path = tmp_path / "report.html"
    write_doctor_report(path, diagnosis)
    return Page(path)


def test_the_page_tells_what_was_found(tmp_path, flawed):
    page = render(tmp_path, flawed)
    assert "Training would work, but look at the warnings" in page.text
    for finding in flawed.findings:
        assert " ".join(finding.what.split())[1:] in page.text
        assert finding.advice in page.text
    for suspect in flawed.suspects.worst:
        assert suspect.excerpt[:40] in page.text
    assert "segment_length: 128" in page.text
    assert "1 validation documents stand in training" in page.text


def test_the_page_needs_nothing_beside_it_and_runs_nothing(tmp_path, flawed):
    page = render(tmp_path, flawed)
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "img", "iframe"})
    assert all(
        name not in {"src", "href"} for _, attributes in page.elements for name in attributes
    )


def test_every_severity_has_its_mark(tmp_path, flawed):
    page = render(tmp_path, flawed)
    marked = [a for tag, a in page.elements if tag == "li" and a.get("class")]
    assert [a["class"] for a in marked] == [finding.severity for finding in flawed.findings]


@pytest.mark.parametrize("classes", [2, 40])
def test_pages_of_few_and_of_many_classes(tmp_path, classes):
    documents = make_documents(80, classes=classes, characters=60)
    page = render(tmp_path, diagnose(as_result(documents), None, RunConfig(data="a")))
    assert len(page.of_class("scroll")) == (1 if classes > 25 else 0)
    assert "no validation file" in page.text


def test_a_refusal_is_told_first(tmp_path):
    documents = [replace(document, label="one") for document in make_documents(12)]
    page = render(tmp_path, diagnose(as_result(documents), None, RunConfig(data="a")))
    assert "Training would refuse it" in page.text
    assert page.of_class("refused")


def test_the_json_holds_no_text_of_a_document(flawed):
    content = json.dumps(flawed.as_json(), ensure_ascii=False, allow_nan=False)
    for document in make_documents(120, characters=600):
        assert document.text[40:60] not in content


def test_findings_come_gravest_first(flawed):
    ranks = [("error", "warning", "note").index(finding.severity) for finding in flawed.findings]
    assert ranks == sorted(ranks)


def test_a_histogram_of_one_length_can_be_drawn():
    drawing = draw_histogram(Histogram((5.0, 5.1, 5.25), (3, 0)), [(5.0, "128")], "tokens")
    assert len(drawing.findall("rect")) == 2
