from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longform.evaluation import metrics
from longform.evaluation.intervals import wilson_interval

sklearn_metrics = pytest.importorskip("sklearn.metrics")

NOTHING = np.array([], dtype=np.int64)


@st.composite
def answers(draw):
    """Labels, predictions and the number of classes; some classes stay without either."""
    classes = draw(st.integers(2, 7))
    documents = draw(st.integers(1, 30))
    ids = st.lists(st.integers(0, classes - 1), min_size=documents, max_size=documents)
    labels, predicted = draw(ids), draw(ids)
    return np.array(labels, dtype=np.int64), np.array(predicted, dtype=np.int64), classes


@given(answers())
def test_accuracy_and_confusion_are_those_of_scikit_learn(case):
    labels, predicted, classes = case
    expected = sklearn_metrics.confusion_matrix(labels, predicted, labels=range(classes))
    assert np.array_equal(metrics.confusion_matrix(labels, predicted, classes), expected)
    assert metrics.accuracy(labels, predicted) == pytest.approx(
        sklearn_metrics.accuracy_score(labels, predicted)
    )


@given(answers())
def test_macro_f1_is_that_of_scikit_learn_whatever_classes_are_absent(case):
    labels, predicted, classes = case
    expected = sklearn_metrics.f1_score(labels, predicted, average="macro", zero_division=0)
    assert metrics.macro_f1(labels, predicted, classes) == pytest.approx(expected)


@given(answers())
def test_per_class_figures_are_those_of_scikit_learn(case):
    labels, predicted, classes = case
    names = [f"class {number}" for number in range(classes)]
    expected = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, labels=range(classes), zero_division=0
    )
    found = metrics.per_class(labels, predicted, names)
    assert [scores.label for scores in found] == names
    rows = [(scores.precision, scores.recall, scores.f1, scores.support) for scores in found]
    assert np.allclose(rows, np.array(expected).T)


def test_a_class_that_neither_occurs_nor_is_predicted_does_not_lower_macro_f1():
    right = np.array([0, 1], dtype=np.int64)
    assert metrics.macro_f1(right, right, classes=5) == 1.0


def test_a_class_that_is_only_predicted_lowers_macro_f1():
    labels, predicted = np.array([0, 0, 0]), np.array([0, 0, 2])
    assert metrics.macro_f1(labels, predicted, classes=3) == pytest.approx(0.8 / 2)


def test_no_documents_give_finite_figures_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.accuracy(NOTHING, NOTHING) == 0.0
        assert metrics.macro_f1(NOTHING, NOTHING, 3) == 0.0
        assert metrics.by_length(NOTHING, NOTHING, NOTHING, 3) == []
        assert metrics.calibration([], []) == (0.0, [])
        assert [s.f1 for s in metrics.per_class(NOTHING, NOTHING, ["a", "b"])] == [0.0, 0.0]


@given(answers(), st.data())
def test_length_buckets_share_out_the_documents(case, data):
    labels, predicted, classes = case
    near_edges = st.sampled_from([0, 1, 511, 512, 513, 2047, 2048, 4095, 4096, 10**9])
    lengths = st.lists(near_edges, min_size=len(labels), max_size=len(labels))
    tokens = np.array(data.draw(lengths), dtype=np.int64)
    buckets = metrics.by_length(labels, predicted, tokens, classes)
    assert sum(bucket.documents for bucket in buckets) == len(labels)
    right = sum(bucket.accuracy * bucket.documents for bucket in buckets)
    assert right == pytest.approx((labels == predicted).sum())
    for bucket in buckets:
        inside = (tokens >= bucket.minimum) & (tokens < (bucket.maximum or np.inf))
        assert bucket.documents == inside.sum() > 0
        assert bucket.macro_f1 == metrics.macro_f1(labels[inside], predicted[inside], classes)


scores_and_hits = st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), max_size=40)


@given(scores_and_hits)
def test_calibration_bins_hold_every_document_once_within_their_edges(pairs):
    scores, right = [score for score, _ in pairs], [hit for _, hit in pairs]
    error, bins = metrics.calibration(scores, right)
    assert 0 <= error <= 1
    assert sum(item.documents for item in bins) == len(pairs)
    hits = sum(item.accuracy * item.documents for item in bins)
    assert hits == pytest.approx(sum(right))
    for item in bins:
        assert item.minimum - 1e-9 <= item.mean_score <= item.maximum + 1e-9


def test_calibration_error_is_the_mean_gap_weighted_by_documents():
    error, bins = metrics.calibration([0.95, 0.95, 0.55, 1.0], [True, False, True, True])
    assert [item.documents for item in bins] == [1, 3]
    assert error == pytest.approx(0.75 * abs(2.9 / 3 - 2 / 3) + 0.25 * 0.45)


@given(st.integers(0, 5_000), st.integers(0, 5_000))
def test_the_interval_holds_the_share_and_stays_within_0_and_1(hits, misses):
    trials = hits + misses
    low, high = wilson_interval(hits, trials)
    assert 0 <= low < high <= 1
    if trials:
        assert low <= hits / trials <= high


def test_the_interval_is_the_one_of_the_literature():
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_all_right_is_no_certainty():
    low, high = wilson_interval(10, 10)
    assert low == pytest.approx(0.7225, abs=1e-4)
    assert high == 1.0


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(2, 5))
def test_several_labels_are_counted_as_scikit_learn_does(seed, documents, classes):
    sklearn = sklearn_metrics
    generator = np.random.default_rng(seed)
    truth, given_ = (generator.random((2, documents, classes)) < 0.4).astype(bool)
    assert metrics.accuracy(truth, given_) == pytest.approx(sklearn.accuracy_score(truth, given_))
    assert metrics.micro_f1(truth, given_, classes) == pytest.approx(
        sklearn.f1_score(truth, given_, average="micro", zero_division=0)
    )
    occurring = (truth | given_).any(axis=0)
    if occurring.any():
        each = sklearn.f1_score(truth, given_, average=None, zero_division=0)[occurring]
        assert metrics.macro_f1(truth, given_, classes) == pytest.approx(each.mean())
    scores = np.round(generator.random(documents), 1).astype(np.float32)
    area = metrics.roc_auc(truth[:, 0], scores)
    if area is None:
        assert truth[:, 0].all() or not truth[:, 0].any()
    else:
        assert area == pytest.approx(sklearn.roc_auc_score(truth[:, 0], scores))


def test_micro_f1_of_one_label_is_accuracy():
    labels, predicted = np.array([0, 1, 2, 2]), np.array([0, 2, 2, 2])
    assert metrics.micro_f1(labels, predicted, 3) == metrics.accuracy(labels, predicted) == 0.75
