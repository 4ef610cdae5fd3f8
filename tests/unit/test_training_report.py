from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import LABELS, make_documents, make_predictor
from test_report import Page

from longform.evaluation.curves import MAX_POINTS, draw_curves, loss_curves, read_points, thin
from longform.evaluation.evaluation import Measured, evaluate
from longform.evaluation.mistakes import MAX_PASSAGES, choose_passages
from longform.evaluation.report import write_report
from longform.evaluation.training_report import TrainingRecord, write_training_report
from longform.inference.scorer import Scores
from longform.reporting import Reporter
from longform.types import Document, Evidence


def make_history(steps=100, every=10):
    history = []
    for step in range(1, steps + 1):
        entry = {"step": step, "epoch": step / every, "loss": 2 / step, "learning_rate": 1e-3}
        history.append(entry)
        if step % every == 0:
            share = 1 - 1 / step - (step > 50) * 0.01
            history.append(
                {
                    "step": step,
                    "epoch": step / every,
                    "eval_loss": 3 / step,
                    "eval_accuracy": share,
                    "eval_macro_f1": share - 0.1,
                }
            )
    return [*history, {"step": steps, "train_runtime": 3.0, "train_loss": 0.1}]


def make_record(**changes):
    record = TrainingRecord(
        history=make_history(),
        chosen_by="eval_macro_f1",
        seconds={"waiting for data": 1.0, "computing": 6.0, "validation": 2.0, "export": 1.0},
        figures=[("peak memory", "1.20 GB")],
        settings={"encoder": "bag", "learning_rate": 0.01, "bf16": None},
        changed=frozenset({"learning_rate"}),
        told=["Device: cpu (no GPU).", "Split: 80 documents."],
    )
    return replace(record, **changes)


def render(tmp_path, record=None, evaluation=None):
    evaluation = evaluation or evaluate(
        make_predictor(), make_documents(), Reporter(), data="dev.csv"
    )
    path = tmp_path / "report.html"
    write_training_report(path, evaluation, record or make_record())
    return Page(path)


def polylines(page):
    return [a["points"].split() for tag, a in page.elements if tag == "polyline"]


def test_the_page_has_all_its_sections(tmp_path):
    page = render(tmp_path)
    for title in (
        "Loss",
        "Accuracy and macro-F1",
        "Learning rate",
        "Where the time went",
        "Coverage",
        "Accuracy by document length",
        "Do the scores mean what they say?",
        "Classes",
        "What is taken for what",
        "Mistakes",
        "What was decided",
    ):
        assert title in page.text
    for told in (*LABELS, "1.20 GB", "60.0%", "Split: 80 documents.", "learning_rate", "flatter"):
        assert told in page.text


def test_curves_have_a_point_for_each_entry_of_the_log(tmp_path):
    page = render(tmp_path)
    # Training loss and its average, validation loss; accuracy and macro-F1; learning rate.
    assert [len(points) for points in polylines(page)] == [100, 100, 10, 10, 10, 100]
    assert len(page.of_class("knot")) == 30


def test_the_kept_checkpoint_is_the_best_by_the_figure_that_chose_it(tmp_path):
    page = render(tmp_path)
    assert len(page.of_class("best")) == 1
    # Step 100 is as good, but came later.
    assert "The large dot, step 50, was kept" in page.text
    earlier = make_history()
    for entry in earlier:
        if entry.get("eval_macro_f1") and entry["step"] != 30:
            entry["eval_macro_f1"] = 0.2
    page = render(tmp_path, make_record(history=earlier))
    assert "The large dot, step 30, was kept" in page.text


def test_a_low_loss_lies_lower_than_a_high_one():
    drawing = draw_curves("loss", loss_curves(make_history()))
    lines = list(drawing.iter("polyline"))
    heights = [float(point.split(",")[1]) for point in lines[0].get("points").split()]
    assert heights == sorted(heights)
    assert heights[-1] > heights[0] + 50


def test_what_is_not_finite_has_no_point_and_a_step_logged_twice_has_one():
    history = [
        {"step": 1, "loss": math.nan},
        {"step": 2, "loss": 5.0},
        {"step": 2, "loss": 1.0},
        {"step": 3, "loss": math.inf},
        {"train_loss": 3.0},
    ]
    assert read_points(history, "loss") == ((2.0, 1.0),)


def test_long_curves_are_averaged_and_keep_their_ends_and_mean():
    points = [(float(step), float(step % 7)) for step in range(10_000)]
    drawn = thin(points)
    assert len(drawn) == MAX_POINTS
    assert (drawn[0], drawn[-1]) == (points[0], points[-1])
    assert np.mean([value for _, value in drawn]) == pytest.approx(3.0, abs=0.05)
    assert thin(points[:5]) == points[:5]


def test_a_run_too_short_for_a_log_has_a_report(tmp_path):
    page = render(tmp_path, make_record(history=[]))
    assert page.text.count("too short for an entry in the log") == 3
    assert polylines(page) == []


@pytest.mark.parametrize("value", [0.0, 1.0, 5e-5])
def test_a_flat_curve_can_be_drawn(value):
    history = [{"step": step, "loss": value} for step in (1, 2)]
    drawing = draw_curves("loss", loss_curves(history))
    (line,) = drawing.iter("polyline")
    assert "nan" not in line.get("points")


def test_no_text_of_a_run_becomes_markup(tmp_path):
    evil = "<script>alert(1)</script>&\"'"
    record = make_record(
        told=[evil],
        settings={evil: evil, "x": evil},
        changed=frozenset({"x"}),
        figures=[(evil, evil)],
    )
    page = render(tmp_path, record)
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.text.count("<script>alert(1)</script>") >= 5
    assert not re.search(r"https?:|url\(|@import|src=|href=", page.source)


def test_figures_at_hand_are_not_measured_again():
    documents = make_documents()
    predictor = make_predictor()
    plain = evaluate(predictor, documents, Reporter())
    scores = predictor.scorer.score(documents)
    predictor.scorer.segment = None
    measured = Measured(Scores(scores.logits, scores.coverage), 12.0, "torch on cpu")
    again = evaluate(predictor, documents, Reporter(), measured=measured)
    assert (again.seconds, again.backend) == (12.0, "torch on cpu")
    assert again.mistakes == plain.mistakes
    assert again.accuracy == plain.accuracy
    np.testing.assert_array_equal(again.probabilities, plain.probabilities)


TEXT = "开头没有什么。" * 3 + "原告请求支付货款。" + "结尾也没有什么。" * 3


def make_evidence(*scores, part=0):
    edges = [0, 21, 30, len(TEXT)]
    return [
        Evidence(row, edges[row], edges[row + 1], score, "买卖", part)
        for row, score in enumerate(scores)
    ]


def test_the_passages_of_a_mistake_are_those_that_decided():
    document = Document("1", TEXT, "劳动", text_pair="第二" * 20)
    first, second = choose_passages(document, make_evidence(0.01, 0.6, 0.02))
    assert (first.text, first.score, first.label) == ("原告请求支付货款。", 0.6, "买卖")
    assert second.text.startswith("结尾")
    assert MAX_PASSAGES == 2
    assert choose_passages(document, make_evidence(-0.2, 0.001, 0.0)) == ()
    (pair,) = choose_passages(document, make_evidence(0.5, 0, 0, part=1))
    assert pair.text.startswith("第二")


def explained(passages):
    evaluation = evaluate(make_predictor(), make_documents(), Reporter(), data="dev.csv")
    first, *rest = evaluation.mistakes
    return replace(evaluation, mistakes=(replace(first, passages=passages), *rest))


@pytest.mark.parametrize("write", [write_report, None])
def test_both_reports_show_what_decided_a_mistake(tmp_path, write):
    passages = choose_passages(Document("1", TEXT), make_evidence(0.0, 0.623, 0.0))
    if write is None:
        page = render(tmp_path, evaluation=explained(passages))
    else:
        write(tmp_path / "r.html", explained(passages))
        page = Page(tmp_path / "r.html")
    assert "+62.3" in page.text
    assert "原告请求支付货款。" in page.text
    assert "Marked passages decided" in page.text
    assert sum(tag == "mark" for tag, _ in page.elements) == 1


def test_a_mistake_that_no_passage_decided_says_so(tmp_path):
    page = render(tmp_path, evaluation=explained(()))
    assert "No single passage decided" in page.text


def test_texts_of_passages_stay_out_of_the_json():
    evaluation = explained(choose_passages(Document("1", TEXT), make_evidence(0.0, 0.6, 0.0)))
    assert "原告" not in str(evaluation.as_json())
