"""The judge of labels: its features, its folds, what it finds; and what beginnings tell."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from doctor_samples import make_documents, relabel
from hypothesis import given
from hypothesis import strategies as st

from longform.data.doctor.features import count_features, hash_features, weigh
from longform.data.doctor.headings import examine_headings
from longform.data.doctor.judge import FOLDS, assign_folds, cross_validate, to_probabilities
from longform.data.doctor.suspects import choose_judged, find_suspects
from longform.data.readers import read_documents
from longform.reporting import Reporter
from longform.types import Document


def apart(documents):
    return np.arange(len(documents), dtype=np.int64)


def suspects_of(documents, clusters=None):
    clusters = apart(documents) if clusters is None else clusters
    return find_suspects(documents, clusters, 2, Reporter())


def buckets(text):
    found, counts = hash_features(text)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


@given(st.text())
def test_features_are_ascending_and_count_words_and_pairs(text):
    found, counts = hash_features(text)
    assert (np.diff(found) > 0).all()
    assert (counts >= 1).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [("中文分类", 4), ("three little words", 3), ("GPT4模型", 3), ("ไทย", 3), ("a" * 9_000, 1)],
)
def test_words_are_characters_of_chinese_and_runs_of_letters(text, words):
    # Each word, and each pair of neighbours.
    assert sum(buckets(text).values()) == 2 * words - 1


def test_features_depend_on_order_but_not_on_case_or_signs():
    assert buckets("One, two") == buckets("one two!")
    assert buckets("one two") != buckets("two one")
    assert set(buckets("one")) < set(buckets("one two"))


def test_weights_have_length_one_and_leave_lone_features_out():
    weights = weigh(count_features(["甲乙 x", "甲乙 y", "丙丁", "丙丁"], Reporter()))
    assert np.allclose(np.asarray(weights.multiply(weights).sum(axis=1)).ravel(), 1)
    assert weights.shape[1] == 6


def test_documents_of_one_cluster_are_in_one_fold_and_classes_in_all():
    documents = make_documents(60)
    clusters = apart(documents)
    clusters[[3, 7, 11]] = 3
    folds = assign_folds(documents, clusters, seed=1)
    assert len(set(folds[[3, 7, 11]].tolist())) == 1
    for label in {document.label for document in documents}:
        of_class = [fold for fold, d in zip(folds, documents, strict=True) if d.label == label]
        assert set(of_class) == set(range(FOLDS))


def test_the_judge_does_not_see_what_it_judges():
    # Each document has words of its own alone: nothing can be learnt about an unseen one.
    texts = [f"word{number} other{number}" for number in range(60)]
    features = count_features(texts, Reporter())
    labels = np.arange(60) % 2
    scores = cross_validate(features, labels, np.arange(60) % FOLDS, 1, Reporter())
    assert abs((scores.argmax(axis=1) == labels).mean() - 0.5) < 0.25


def test_probabilities_are_probabilities_even_without_a_score():
    scores = np.array([[2.0, -np.inf], [1.0, 1.5], [3.0, 0.0]], dtype=np.float32)
    probabilities = to_probabilities(scores, np.array([0, 1, 0]))
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert probabilities[0, 1] == 0


def test_changed_labels_come_first():
    documents = make_documents(150)
    wrong = list(range(0, 150, 21))
    suspects, (finding,) = suspects_of(relabel(documents, wrong))
    assert set(suspects.ranking[: len(wrong)]) == set(wrong)
    # How many of them cleanlab counts depends on its estimate of the noise.
    assert len(wrong) // 2 <= len(suspects.worst) == suspects.likely == finding.count
    assert {int(suspect.id[1:]) for suspect in suspects.worst} <= set(wrong)
    assert suspects.worst[0].suggested == documents[int(suspects.worst[0].id[1:])].label
    assert "excerpt" not in json.dumps(suspects.as_json())


def test_a_wrong_label_on_a_copy_does_not_excuse_itself():
    documents = relabel(make_documents(150), [0, 3])
    documents[3] = replace(documents[3], text=documents[0].text)
    clusters = apart(documents)
    clusters[3] = 0
    suspects, _ = suspects_of(documents, clusters)
    assert set(suspects.ranking[:2]) == {0, 3}


def test_a_sound_corpus_has_no_suspects():
    assert suspects_of(make_documents(90))[1] == []


def test_labels_at_random_make_a_weak_judge_and_no_count_of_errors():
    generator = np.random.default_rng(0)
    documents = [
        replace(document, label=f"类{generator.integers(3)}") for document in make_documents(90)
    ]
    _, (finding,) = suspects_of(documents)
    assert finding.kind == "weak_judge"
    assert finding.severity == "note"


def test_the_result_is_the_same_each_time():
    documents = relabel(make_documents(90), [5, 6])
    first, second = suspects_of(documents)[0], suspects_of(documents)[0]
    assert first.ranking == second.ranking


@pytest.mark.parametrize(
    "documents",
    [
        make_documents(12),
        [Document(str(n), f"text {n}", labels=("a",)) for n in range(60)],
        [Document(str(n), f"text {n}", f"label {n}") for n in range(60)],
    ],
    ids=["few", "several labels", "no class twice"],
)
def test_what_cannot_be_judged_is_counted_with_the_reason(documents):
    suspects, findings = suspects_of(documents)
    assert findings == []
    assert suspects.judged == 0
    assert list(suspects.unjudged.values()) == [len(documents)]


def test_documents_of_tiny_classes_are_left_out_and_counted():
    documents = [*make_documents(60), Document("rare", "a lonely text", "rare")]
    places, labels, names, unjudged = choose_judged(documents, apart(documents), seed=1)
    assert len(places) == len(labels) == 60
    assert names == ["类0", "类1", "类2"]
    assert sum(unjudged.values()) == 1


def test_texts_of_a_corpus_beyond_the_limit_are_cut_and_it_is_said(monkeypatch):
    monkeypatch.setattr("longform.data.doctor.suspects._MOST_CHARACTERS", 20_000)
    monkeypatch.setattr("longform.data.doctor.suspects._READ_AT_LEAST", 50)
    documents = relabel(make_documents(150), range(0, 150, 21))
    suspects, (finding,) = suspects_of(documents)
    assert 100 < suspects.read_characters < 150
    assert f"of which it reads {suspects.read_characters} characters" in finding.what


def test_of_very_many_documents_a_sample_is_judged_and_counted(monkeypatch):
    monkeypatch.setattr("longform.data.doctor.suspects._MOST_DOCUMENTS", 100)
    suspects, _ = suspects_of(make_documents(150))
    assert suspects.judged == 100
    assert suspects.unjudged == {"beyond the sample that is judged": 50}


def headings_of(documents):
    headings, findings = examine_headings(documents, apart(documents), 2, Reporter(), 1)
    return headings, {finding.kind: finding for finding in findings}


def test_a_header_that_tells_the_label_is_found():
    noise = make_documents(120, classes=1, characters=900)
    documents = [
        replace(d, label=f"类{n % 3}", text=f"部门{'甲乙丙'[n % 3]}{n}号文件\n{d.text}")
        for n, d in enumerate(noise)
    ]
    headings, found = headings_of(documents)
    assert headings.first_line > 0.9 > headings.rest
    assert "first line alone tells" in found["telling_beginning"].what


def test_documents_told_apart_by_their_whole_text_have_no_telling_header():
    headings, found = headings_of(make_documents(120, characters=900))
    assert headings.rest > 0.9
    assert headings.judged == 120
    assert "line_of_class" not in found


def test_a_first_line_of_one_class_and_one_of_all_are_told_apart():
    documents = make_documents(60, characters=100)
    of_class = [
        replace(d, text=f"内部资料\n{d.text}") if d.label == "类0" else d for d in documents
    ]
    _, found = headings_of(of_class)
    assert found["line_of_class"].examples == ("类0 (100 %, such as d0)",)
    _, found = headings_of([replace(d, text=f"页眉\n{d.text}") for d in documents])
    assert set(found) == {"constant_line"}


@pytest.mark.shared
def test_changed_labels_are_found_in_real_documents(shared_folder):
    read = read_documents(shared_folder / "data/newsgroups/test.jsonl.gz").documents
    kept = [d for d in read if d.label.startswith(("rec.", "sci."))][:1_500]
    names = sorted({d.label for d in kept})
    wrong = np.random.default_rng(1).choice(len(kept), 75, replace=False).tolist()
    for place in wrong:
        number = names.index(kept[place].label)
        kept[place] = replace(kept[place], label=names[(number + 1) % len(names)])
    suspects, _ = suspects_of(kept)
    assert len(set(wrong) & set(suspects.ranking[:150])) >= 0.6 * len(wrong)
