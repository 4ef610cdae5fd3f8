from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from evaluation_samples import LABELS, make_document, make_documents, make_predictor
from hypothesis import given
from hypothesis import strategies as st

from longform.errors import InputError
from longform.evaluation.charts import percent
from longform.evaluation.evaluation import evaluate
from longform.evaluation.heatmap import MAX_CLASSES
from longform.evaluation.markup import display_width, shorten
from longform.evaluation.report import write_report
from longform.reporting import Reporter
from longform.types import Document


class Page(HTMLParser):
    """The elements of a page with their attributes, and its visible text."""

    def __init__(self, path):
        super().__init__()
        self.elements = []
        self.texts = []
        self._open = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert self._open == [], "an element was not closed"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def of_class(self, name):
        return [a for _, a in self.elements if name in (a.get("class") or "").split()]


def render(tmp_path, evaluation):
    path = tmp_path / "report.html"
    write_report(path, evaluation)
    return Page(path)


def evaluate_samples(**options):
    return evaluate(make_predictor(**options), make_documents(), Reporter(), data="dev.csv")


def test_a_calibrated_bundle_shows_what_that_is_worth(tmp_path):
    plain = render(tmp_path, evaluate_samples())
    assert "What calibration is worth" not in plain.text
    assert not any(attrs.get("class") == "ring" for _, attrs in plain.elements)
    decision = {
        "temperature": 2.0,
        "calibrated": True,
        "label_sets": {"coverage": 0.9, "quantile": 0.6, "class_quantiles": {}},
        "abstention": {"threshold": 0.65, "max_error": 0.2, "confidence": 0.95},
    }
    evaluation = evaluate_samples(decision=decision)
    page = render(tmp_path, evaluation)
    # Halved logits make 0.9 of a score of 0.68 and 0.8 one of 0.59.
    answered = evaluation.confidence.abstention.answered
    assert (answered.successes, answered.trials) == (4, 6)
    for told in ("What calibration is worth", "Documents answered 66.7%", "Label sets"):
        assert told in page.text
    rings = [attrs for _, attrs in page.elements if attrs.get("class") == "ring"]
    assert len(rings) == len(evaluation.calibration_before) > 0


def evaluate_classes(classes):
    labels = tuple(f"类别-{number:03d}" for number in range(classes))
    documents = [
        make_document(f"{number}", label, labels[(number + number % 2) % classes], labels=labels)
        for number, label in enumerate(labels)
    ]
    return evaluate(make_predictor(labels=labels), documents, Reporter())


def test_the_page_tells_the_figures(tmp_path):
    page = render(tmp_path, evaluate_samples())
    for told in ("66.7%", "95% interval 30.0% to 90.3%", "4 of 6 documents", *LABELS, "dev.csv"):
        assert told in page.text
    assert "Every token was read." in page.text


def test_the_page_says_how_much_was_not_read(tmp_path):
    page = render(tmp_path, evaluate_samples(limit=1000))
    assert "33.6% of the tokens were read." in page.text
    assert "2,002 of 3,017 tokens were left out, in 1 document of 6" in page.text
    assert "Every token" not in page.text
    assert page.of_class("partial")


def test_r105_the_page_needs_nothing_from_outside(tmp_path):
    page = render(tmp_path, evaluate_samples())
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "form", "a", "use", "image"}
    assert not re.search(r"https?:|url\(|@import|src=|href=", page.source)
    policy = [a for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0]["content"].startswith("default-src 'none'")


def test_no_text_of_a_user_becomes_markup(tmp_path):
    evil = '<script>alert("1")</script><img src=x onerror=alert(1)>&lt;"\'>'
    labels = (evil, "</title></style></svg>")
    document = Document(evil, f"1 900 {evil}", evil)
    evaluation = evaluate(make_predictor(labels=labels), [document], Reporter(), data=evil)
    plain = {tag for tag, _ in render(tmp_path, evaluate_samples()).elements}
    page = render(tmp_path, replace(evaluation, bundle_name=evil, backend=evil))
    assert {tag for tag, _ in page.elements} <= plain
    assert page.text.count('<script>alert("1")</script>') >= 5
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]


def test_half_a_character_does_not_stop_the_report(tmp_path):
    page = render(tmp_path, replace(evaluate_samples(), data="dev\ud800.csv"))
    assert "dev?.csv" in page.text


@pytest.mark.parametrize("classes", [2, MAX_CLASSES, MAX_CLASSES + 1, 120])
def test_a_matrix_is_drawn_as_long_as_it_can_be_read(tmp_path, classes):
    evaluation = evaluate_classes(classes)
    page = render(tmp_path, evaluation)
    cells = page.of_class("cell")
    if classes <= MAX_CLASSES:
        assert len(cells) == (evaluation.confusion > 0).sum()
        assert len(cells) + len(page.of_class("empty")) == classes**2
    else:
        assert not cells
        assert "类别-001 类别-002 1 100.0%" in page.text


def test_classes_are_listed_weakest_first_and_those_without_documents_last(tmp_path):
    labels = ("absent", "good", "bad", "fair")
    documents = [
        make_document("1", "good", "good", labels=labels),
        make_document("2", "fair", "fair", labels=labels),
        make_document("3", "bad", "fair", labels=labels),
    ]
    page = render(tmp_path, evaluate(make_predictor(labels=labels), documents, Reporter()))
    table = page.text[page.text.index("Weakest first") :]
    places = [table.index(f" {name} ") for name in ("bad", "fair", "good", "absent")]
    assert places == sorted(places)
    # Without a document and without a prediction there is nothing to take a share of.
    assert "absent – – – 0" in table


def test_one_right_document_makes_a_page(tmp_path):
    evaluation = evaluate(make_predictor(), make_documents()[:1], Reporter())
    page = render(tmp_path, evaluation)
    assert "1 of 1 document got the right label." in page.text
    assert "There is none." in page.text
    assert "quotes documents" not in page.text
    assert not re.search(r"\bnan\b|\binf\b", page.source.lower())
    json.dumps(evaluation.as_json(), allow_nan=False)


def test_all_wrong_makes_a_page(tmp_path):
    wrong = [make_document("a", LABELS[0], LABELS[1], 999)] * 3
    page = render(tmp_path, evaluate(make_predictor(), wrong, Reporter()))
    assert "0 of 3 documents got the right label." in page.text
    assert "All 3." in page.text


def test_a_drawing_stays_within_its_frame(tmp_path):
    page = render(tmp_path, evaluate_samples())
    frames = [a["viewbox"] for tag, a in page.elements if tag == "svg"]
    assert len(frames) == 4
    width = max(float(frame.split()[2]) for frame in frames)
    for name in ("cx", "x", "x1", "x2"):
        assert all(0 <= float(a[name]) <= width for _, a in page.elements if name in a)


def test_a_report_that_cannot_be_written_says_why(tmp_path):
    evaluation = evaluate_samples()
    with pytest.raises(InputError, match="No such file"):
        write_report(tmp_path / "absent" / "report.html", evaluation)
    with pytest.raises(InputError, match="Is a directory"):
        write_report(tmp_path, evaluation)


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0.0%"), (1, "100.0%"), (0.99999, "99.9%"), (0.00001, "0.1%"), (0.9234, "92.3%")],
)
def test_only_all_is_shown_as_all_and_only_nothing_as_nothing(share, shown):
    assert percent(share) == shown


@given(st.text(), st.integers(4, 40))
def test_a_shortened_name_fits_and_keeps_both_ends(name, columns):
    short = shorten(name, columns)
    assert display_width(short) <= max(columns, 1)
    assert name.startswith(short.split("…")[0])
    assert short == name or "…" in short


def test_a_shortened_name_keeps_its_end():
    assert shorten("医疗纠纷与损害赔偿责任纠纷", 14) == "医疗纠纷…纠纷"
