from __future__ import annotations

import numpy as np
import pytest

from longform.search.bakeoff.statistics import Judged, Truth, compare, majority, score
from longform.search.bakeoff.statistics import split_scores as scores_of_splits

CLASSES = 4


def simulate(rng, documents=600, splits=5, gain=0.0, luck=0.004):
    """Judge two contenders by a repeated cross-validation of five parts.

    A document is hard for both alike; each training has luck of its own; the first contender is
    better by `gain`.
    """
    labels = rng.integers(0, CLASSES, documents)
    hardness = rng.beta(0.4, 3, documents)
    sides = ({}, {})
    folds = []
    for number in range(splits):
        if number % 5 == 0:
            folds = np.array_split(rng.permutation(documents), 5)
        places = np.sort(folds[number % 5])
        for side, better in zip(sides, (gain, 0.0), strict=True):
            errs = np.clip(hardness[places] + rng.normal(0, luck) - better, 0, 1)
            wrong = rng.random(len(places)) < errs
            shift = rng.integers(1, CLASSES, len(places))
            answers = np.where(wrong, (labels[places] + shift) % CLASSES, labels[places])
            side[number] = Judged(places, answers, documents - len(places))
    return Truth(labels, np.arange(documents), CLASSES), *sides


@pytest.mark.parametrize("splits", [1, 3, 7])
def test_equal_contenders_are_called_equal_in_95_of_100_simulations(splits):
    rng = np.random.default_rng(7)
    gaps = [compare(*simulate(rng, splits=splits), "accuracy") for _ in range(250)]
    false = np.mean([not gap.low <= 0 <= gap.high for gap in gaps])
    # Of 250, 5 % are 12.5 with a deviation of 3.4.
    assert false <= 0.05 + 2 * 0.0138


def test_equal_contenders_are_called_equal_by_macro_f1_too():
    rng = np.random.default_rng(8)
    gaps = [compare(*simulate(rng, splits=2), "macro_f1") for _ in range(60)]
    assert sum(not gap.low <= 0 <= gap.high for gap in gaps) <= 7


def test_a_better_contender_is_found_and_the_truth_lies_in_the_interval():
    rng = np.random.default_rng(9)
    gaps = [compare(*simulate(rng, 1_200, splits=5, gain=0.12), "accuracy") for _ in range(60)]
    assert sum(gap.low > 0 for gap in gaps) >= 57
    truth = np.mean([gap.value for gap in gaps])
    assert sum(gap.low <= truth <= gap.high for gap in gaps) >= 54


def test_repetitions_add_no_documents():
    truth, first, second = simulate(np.random.default_rng(3), splits=1, gain=0.05)
    once = compare(truth, first, second, "accuracy")
    repeated = [dict.fromkeys(range(20), side[0]) for side in (first, second)]
    many = compare(truth, *repeated, "accuracy")
    assert many.documents == once.documents
    assert many.value == pytest.approx(once.value)
    # The same answers twenty times are no better known than once.
    assert many.error == pytest.approx(once.error)


def test_documents_of_one_unit_count_as_one():
    truth, first, second = simulate(np.random.default_rng(4), splits=1)
    alone = compare(truth, first, second, "accuracy")
    # Every document four times: four times as many, and not one more independent of the others.
    labels, units = np.repeat(truth.labels, 4), np.repeat(truth.units, 4)
    sides = [
        {0: Judged(np.arange(4 * len(side[0].places)), np.repeat(side[0].predicted, 4), 9)}
        for side in (first, second)
    ]
    places = first[0].places
    copied = Truth(np.repeat(truth.labels[places], 4), np.repeat(places, 4), CLASSES)
    together = compare(copied, *sides, "accuracy")
    assert len(labels) == len(units)
    assert together.value == pytest.approx(alone.value)
    assert together.error == pytest.approx(alone.error, rel=1e-6)


def test_the_luck_of_training_widens_the_interval():
    rng = np.random.default_rng(5)
    calm = [compare(*simulate(rng, luck=0.0), "accuracy").error for _ in range(30)]
    wild = [compare(*simulate(rng, luck=0.08), "accuracy").error for _ in range(30)]
    assert np.median(wild) > 1.5 * np.median(calm)


def test_three_wins_of_three_are_not_certain():
    labels = np.zeros(50, dtype=np.int64)
    answers = labels.copy()
    answers[:3] = 1
    truth, places = Truth(labels, np.arange(50), 2), np.arange(50)
    gap = compare(
        truth, {0: Judged(places, labels, 200)}, {0: Judged(places, answers, 200)}, "accuracy"
    )
    assert gap.value == pytest.approx(0.06)
    assert gap.low < 0


def test_only_shared_splits_are_compared():
    truth, first, second = simulate(np.random.default_rng(6), splits=4)
    gap = compare(truth, {0: first[0], 2: first[2]}, {2: second[2], 3: second[3]}, "accuracy")
    assert gap.splits == 1
    assert compare(truth, {0: first[0]}, {1: second[1]}, "accuracy") is None


def test_scores_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, f1_score

    truth, side, _ = simulate(np.random.default_rng(10), splits=5)
    places = np.concatenate([judged.places for judged in side.values()])
    answers = np.concatenate([judged.predicted for judged in side.values()])
    labels = truth.labels[places]
    assert score(truth, side, "accuracy") == pytest.approx(accuracy_score(labels, answers))
    expected = f1_score(labels, answers, average="macro")
    assert score(truth, side, "macro_f1") == pytest.approx(expected)
    assert len(scores_of_splits(truth, side, "macro_f1")) == 5


def test_several_labels_a_document_are_compared_as_sets():
    labels = np.array([[1, 0], [1, 1], [0, 0]], dtype=np.bool_)
    wrong = labels.copy()
    wrong[1] = [True, False]
    truth, places = Truth(labels, np.arange(3), 2), np.arange(3)
    good, bad = {0: Judged(places, labels, 9)}, {0: Judged(places, wrong, 9)}
    assert compare(truth, good, bad, "accuracy").value == pytest.approx(1 / 3)
    assert score(truth, bad, "macro_f1") == pytest.approx(0.5)
    assert majority(labels, np.array([0, 0, 1]), places).tolist() == [[True, False]] * 3
