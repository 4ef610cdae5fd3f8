"""Classes: rare, unseen, unbalanced, spelt twice; copies, conflicts and leaks."""

from __future__ import annotations

import pytest
from doctor_samples import make_documents

from longform.config import RunConfig
from longform.data.doctor.copies import examine_copies
from longform.data.doctor.labels import examine_labels
from longform.data.doctor.refusals import find_refusals
from longform.reporting import Reporter
from longform.types import Document


def labelled(**counts):
    return [
        Document(f"{label}{number}", f"text {number} of {label}", label)
        for label, count in counts.items()
        for number in range(count)
    ]


def findings_of(train, validation=None, **settings):
    _, findings = examine_labels(train, validation, RunConfig(**settings))
    return {finding.kind: finding for finding in findings}


def test_r13_one_class_is_an_error():
    found = findings_of(labelled(a=12))
    assert found["no_classes"].severity == "error"
    assert "one class only: 'a'" in found["no_classes"].what


def test_r09_labels_of_one_meaning_are_told_with_their_spelling():
    found = findings_of(
        [
            *labelled(sport=12, SPORT=2, finance=12),
            Document("x", "t", " sport"),
            Document("y", "t", "ｓｐｏｒｔ"),
        ]
    )
    finding = found["label_spellings"]
    assert finding.count == 4
    assert finding.examples[0] == "'SPORT' = 'sport'"
    assert finding.proposes == {"normalize_labels": True}


def test_labels_that_are_normalized_anyway_are_no_finding():
    assert "label_spellings" not in findings_of(labelled(sport=12, SPORT=12), normalize_labels=True)


def test_labels_that_differ_in_signs_within_are_told_and_numbers_are_not():
    train = [
        Document(str(number), "t", label)
        for number, label in enumerate(["Real Estate", "real-estate", "1.2", "12", "+", "-"])
    ]
    finding = findings_of(train)["label_signs"]
    assert finding.count == 1
    assert finding.examples == ("'Real Estate' ~ 'real-estate'",)


def test_r10_labels_that_training_lacks_are_an_error_unless_dropped():
    train, validation = labelled(a=12, b=12), labelled(a=3, c=2)
    found = findings_of(train, validation)
    assert found["unseen_labels"].severity == "error"
    assert found["unseen_labels"].examples == ("c (2)",)
    assert found["unvalidated_classes"].examples == ("b (12)",)
    assert (
        findings_of(train, validation, unseen_labels="drop")["unseen_labels"].severity == "warning"
    )


def test_r11_rare_classes_are_named():
    found = findings_of(labelled(a=40, b=1, c=3))
    assert found["rare_classes"].examples == ("b (1)", "c (3)")
    assert "1 with a single one" in found["rare_classes"].what


def test_r15_imbalance_proposes_weights_unless_there_are_some():
    train = labelled(a=200, b=10)
    assert findings_of(train)["imbalance"].proposes == {"class_weights": "auto"}
    weighed = findings_of(train, class_balance="weighted_sampler")["imbalance"]
    assert weighed.proposes == {}


def test_r14_very_many_classes_are_told_with_their_cost():
    train = [Document(str(n), f"t{n}", f"label {n}") for n in range(2_000)]
    assert "3 MB" in findings_of(train)["many_classes"].what


def test_several_labels_count_for_each_class():
    train = [
        Document("1", "t", labels=("a", "b")),
        Document("2", "u", labels=()),
        Document("3", "v", labels=("a",)),
    ]
    classes, _ = examine_labels(train, None, RunConfig())
    assert [(entry.label, entry.train) for entry in classes] == [("a", 2), ("b", 1)]


def copies_of(train, validation=None, **settings):
    copies, findings = examine_copies(train, validation, RunConfig(**settings), Reporter())
    return copies, {finding.kind: finding for finding in findings}


def test_r16_copies_and_leaks_are_counted_and_named():
    documents = make_documents(40)
    copy = Document("copy", documents[0].text, documents[0].label)
    near = Document("near", documents[1].text[:-9] + "改了几个字而已。", documents[1].label)
    copies, found = copies_of(
        [*documents[:30], copy, near], [*documents[30:], Document("leak", documents[2].text, "类2")]
    )
    assert (copies.exact, copies.near, copies.clusters) == (1, 1, 2)
    assert found["exact_duplicates"].examples == ("copy",)
    assert copies.largest[0].exact != copies.largest[1].exact
    assert (copies.leaked, copies.leaked_exact) == (1, 1)
    assert copies.leaks[0].validation == "leak"
    assert found["leaks"].severity == "warning"
    assert found["leaks"].proposes == {"validation_leaks": "drop"}


def test_r20_contradicting_labels_are_shown_side_by_side():
    documents = make_documents(12)
    other = Document("other", documents[0].text, "类1")
    copies, found = copies_of([*documents, other])
    assert copies.conflicting == 2
    assert found["conflicting_labels"].examples == ("d0 (类0) / other (类1)",)


def test_what_training_does_follows_the_settings():
    documents = make_documents(12)
    doubled = [*documents, Document("copy", documents[0].text, "类0")]
    _, kept = copies_of(doubled)
    _, dropped = copies_of(doubled, duplicates="drop")
    assert kept["exact_duplicates"].training != dropped["exact_duplicates"].training
    assert "duplicates: drop" in dropped["exact_duplicates"].training


def test_r12_a_file_that_cannot_be_split_is_refused_in_advance():
    (finding,) = find_refusals(labelled(a=1, b=1), None, RunConfig(), [])
    assert finding.severity == "error"
    assert "0 for validation" in finding.what


@pytest.mark.parametrize("policy", ["drop", "majority"])
def test_a_repair_that_leaves_one_class_is_refused_in_advance(policy):
    train = [
        *labelled(a=12),
        Document("x", "same text", "b"),
        Document("y", "same text", "a"),
        Document("z", "same text", "a"),
    ]
    config = RunConfig(conflicting_labels=policy)
    assert [finding.kind for finding in find_refusals(train, None, config, [])] == ["refused"]


def test_sound_data_is_not_refused():
    assert find_refusals(make_documents(30), None, RunConfig(), []) == []
    assert find_refusals(make_documents(30), make_documents(9, seed=1), RunConfig(), []) == []
