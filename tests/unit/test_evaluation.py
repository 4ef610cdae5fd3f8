from __future__ import annotations

import json
from contextlib import contextmanager

import numpy as np
import pytest
from evaluation_samples import LABELS, make_document, make_documents, make_predictor

from longform.errors import InputError
from longform.evaluation.evaluation import evaluate
from longform.evaluation.mistakes import MAX_MISTAKES
from longform.reporting import Reporter
from longform.types import Document


class CountingReporter(Reporter):
    def __init__(self):
        self.total = 0.0
        self.done = 0.0

    @contextmanager
    def track(self, description, total, unit="documents"):
        self.total = total

        def advance(amount):
            self.done += amount

        yield advance


def numbers_in(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in numbers_in(item)]
    return [value] if isinstance(value, int | float) else []


def test_the_figures_are_those_of_the_documents():
    evaluation = evaluate(make_predictor(), make_documents(), Reporter(), data="dev.csv")
    assert evaluation.accuracy == pytest.approx(4 / 6)
    assert evaluation.confusion.tolist() == [[2, 0, 0], [1, 1, 0], [0, 1, 1]]
    assert evaluation.majority_accuracy == pytest.approx(2 / 6)
    assert evaluation.decisions[0] == pytest.approx([0.9, 0.8, 0.6, 0.999, 0.95, 0.9])
    assert evaluation.tokens.tolist() == [3, 3, 3, 3002, 3, 3]
    assert [bucket.documents for bucket in evaluation.by_length] == [5, 1]
    assert evaluation.confusions() == [(LABELS[1], LABELS[0], 1), (LABELS[2], LABELS[1], 1)]


def test_confusions_come_with_the_most_documents_first():
    art, economy, judgment = LABELS
    pairs = [(art, economy), (judgment, art), (economy, art), (judgment, art)]
    documents = [make_document("x", label, answer) for label, answer in pairs]
    confusions = evaluate(make_predictor(), documents, Reporter()).confusions()
    assert confusions == [(judgment, art, 2), (art, economy, 1), (economy, art, 1)]


def test_mistakes_come_most_certain_first_with_the_score_of_the_true_label():
    sure, unsure = evaluate(make_predictor(), make_documents(), Reporter()).mistakes
    assert (sure.id, sure.label, sure.predicted) == ("sure", LABELS[2], LABELS[1])
    assert (sure.score, sure.label_score) == pytest.approx((0.95, 0.025))
    assert sure.excerpt == "1 950 正文"
    assert unsure.id == "unsure"


def test_only_the_most_certain_mistakes_are_kept_and_of_equal_ones_the_first():
    documents = [
        make_document(f"{number}", LABELS[0], LABELS[1], 501 + number % 40) for number in range(99)
    ]
    mistakes = evaluate(make_predictor(), documents, Reporter()).mistakes
    expected = sorted(range(99), key=lambda number: (-(number % 40), number))[:MAX_MISTAKES]
    assert [mistake.id for mistake in mistakes] == [f"{number}" for number in expected]


def test_what_was_not_read_is_told_with_its_reason():
    coverage = evaluate(make_predictor(limit=1000), make_documents(), Reporter()).coverage
    assert (coverage.tokens_total, coverage.tokens_used) == (3017, 1015)
    assert coverage.truncated_documents == 1
    assert coverage.reasons == {"max_segments": 1}
    assert coverage.share == pytest.approx(1015 / 3017)


def test_the_json_has_the_promised_keys_and_only_finite_numbers():
    content = evaluate(make_predictor(), make_documents(), Reporter()).as_json()
    promised = "accuracy macro_f1 per_class by_length coverage documents seconds calibration"
    assert {*promised.split(), "backend"} <= content.keys()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert np.isfinite(numbers_in(content)).all()
    low, high = content["accuracy_interval"]
    assert 0 < low < content["accuracy"] < high < 1
    assert content["backend"] == "fake (fp32 on cpu)"
    assert content["bundle"] == {"name": "model", "digest": "d" * 64}
    rates = content["documents_per_second"] * content["seconds"]
    assert rates == pytest.approx(6)


def test_the_json_holds_no_text_of_a_document():
    secret = make_document("a", LABELS[0], LABELS[1], rest="机密内容")
    evaluation = evaluate(make_predictor(), [secret], Reporter())
    assert "机密内容" in evaluation.mistakes[0].excerpt
    assert "机密内容" not in json.dumps(evaluation.as_json(), ensure_ascii=False)


def test_progress_reaches_the_number_of_documents():
    reporter = CountingReporter()
    evaluate(make_predictor(), make_documents(), reporter)
    assert reporter.done == reporter.total == 6


@pytest.mark.parametrize(
    ("label", "rule"), [("C39-Sports", "'C39-Sports'"), (None, "must have a label")]
)
def test_r10_a_label_that_the_bundle_does_not_know_is_refused_before_the_work(label, rule):
    reporter = CountingReporter()
    documents = [*make_documents(), Document("odd", "0 900 text", label)]
    with pytest.raises(InputError, match=rule) as caught:
        evaluate(make_predictor(), documents, reporter)
    assert "odd" in str(caught.value)
    assert reporter.total == 0


def test_r12_no_documents_are_refused():
    with pytest.raises(InputError, match=r"at least one .* none in dev\.csv"):
        evaluate(make_predictor(), [], Reporter(), data="dev.csv")
