"""A new class from a few examples: what the row is, and what it does to the old classes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.special import softmax
from test_linear import FILLER, documents, small

import longform
from longform.cli import main
from longform.errors import InputError
from longform.evaluation.regression import compare_answers
from longform.export.label_addition import add_label, check_addition
from longform.export.linear_bundle import write_linear_bundle
from longform.training.imprinting import cross_fit, imprint, log_sum_exp
from longform.training.linear import fit_linear
from longform.types import Document

NEW = "知识产权"


def clouds(examples, seed=0, distance=6.0):
    """Three old classes with a fixed linear layer, and a fourth cloud that it does not know."""
    generator = np.random.default_rng(seed)
    centres = np.eye(8)[:4] * distance
    classes = np.array([0, 1, 2] * 40 + [3] * examples)
    features = centres[classes] + generator.normal(size=(len(classes), 8))
    logits = features @ centres[:3].T / 2
    return features, logits, classes == 3


def test_the_new_class_is_found_and_the_old_ones_keep_their_documents():
    features, logits, is_new = clouds(5)
    held_out = cross_fit(features, is_new, log_sum_exp(logits), 3)
    after = np.column_stack([logits, held_out]).argmax(axis=1)
    assert (after[is_new] == 3).all()
    assert (after[~is_new] == logits[~is_new].argmax(axis=1)).all()


def test_dense_and_sparse_features_make_rows_that_agree_on_what_is_new():
    features, logits, is_new = clouds(5)
    for table in (features, csr_matrix(features)):
        row = imprint(table, is_new, log_sum_exp(logits), 3)
        share = softmax(np.column_stack([logits, row.logits(table)]), axis=1)[:, 3]
        assert share[is_new].min() > 0.5 > share[~is_new].max()


def test_a_class_that_cannot_be_told_apart_takes_no_more_than_its_share():
    # Examples drawn from the old classes themselves: as one class of four, a quarter at most.
    features, logits, _ = clouds(0)
    is_new = np.zeros(len(features), dtype=bool)
    is_new[:9] = True
    held_out = cross_fit(features, is_new, log_sum_exp(logits), 3)
    share = softmax(np.column_stack([logits, held_out]), axis=1)[~is_new, 3]
    assert 0.1 < share.mean() < 0.4


def test_log_sum_exp_of_large_logits():
    assert log_sum_exp(np.array([[1000.0, 1000.0], [0.0, -1000.0]])) == pytest.approx(
        [1000 + np.log(2), 0]
    )


def test_answers_are_compared_label_by_label():
    report = compare_answers(
        ("甲", "乙", "丙", "新"),
        list("abcdef"),
        targets=np.array([0, 0, 1, 1, 3, 3]),
        before=np.array([0, 1, 1, 1, 0, 1]),
        after=np.array([0, 3, 1, 3, 3, 1]),
    )
    assert (report.accuracy_before, report.accuracy_after) == (0.75, 0.5)
    assert [(e.label, e.documents, e.before, e.after) for e in report.labels] == [
        ("甲", 2, 0.5, 0.5),
        ("乙", 2, 1.0, 0.5),
    ]
    assert [(c.id, c.label, c.before, c.after) for c in report.changed] == [
        ("b", "甲", "乙", "新"),
        ("d", "乙", "乙", "新"),
    ]
    assert (report.examples, report.found, report.absent) == (2, 1, ("丙",))


def new_documents(count):
    generator = np.random.default_rng(11)
    return [
        Document(
            f"n{i}", "".join(generator.permutation(list(FILLER))) + "。专利商标侵权停止使用。", NEW
        )
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    target = tmp_path_factory.mktemp("old") / "bundle"
    # So that the words of the new label have buckets: a few old documents quote them.
    quoting = documents(6, seed=8)
    train = [*documents(60), *(replace(d, text=d.text + "专利商标") for d in quoting)]
    validation = documents(30, seed=1)
    write_linear_bundle(fit_linear(small(), train, validation), validation, target)
    return target


def test_a_linear_bundle_learns_a_label(bundle, tmp_path):
    old, unseen = documents(30, seed=2), new_documents(12)[6:]
    with longform.load(bundle) as before:
        addition = add_label(before, NEW, new_documents(6), old, tmp_path / "new")
        logits = before.scorer.score([*old, *unseen]).logits
    assert addition.report.recall == 1.0
    assert addition.report.accuracy_after == addition.report.accuracy_before == 1.0
    assert addition.report.changed == ()
    with longform.load(tmp_path / "new") as after:
        assert after.labels[-1] == NEW
        assert after.labels[:-1] == before.labels
        assert np.abs(after.scorer.score([*old, *unseen]).logits[:, :-1] - logits).max() < 0.05
        assert [item.label for item in after.predict(unseen)] == [NEW] * 6
        assert [item.label for item in after.predict(old)] == [item.label for item in old]
        assert after.check_golden() < 1e-4
        added = after.bundle.description.training["added_labels"]
        assert [(item["label"], item["examples"]) for item in added] == [(NEW, 6)]


def test_what_cannot_be_added_is_refused(bundle):
    opened = longform.load(bundle).bundle
    old = documents(10, seed=2)
    for label, examples, others, message in (
        ("合同", new_documents(3), old, "knows already"),
        (NEW, new_documents(1), old, "at least 2 examples"),
        (NEW, new_documents(3), old[:1], "at least one for each"),
        (NEW, new_documents(3), [*old, Document("x", "文", "别的")], "别的"),
    ):
        with pytest.raises(InputError, match=message):
            check_addition(opened, label, examples, others)


def test_the_verb(bundle, tmp_path, capsys):
    examples, old = tmp_path / "new.jsonl", tmp_path / "old.jsonl"
    for path, items in ((examples, new_documents(4)), (old, documents(20, seed=2))):
        rows = [json.dumps({"id": d.id, "text": d.text, "label": d.label}) for d in items]
        path.write_text("\n".join(rows), encoding="utf-8")
    arguments = [
        "add-label",
        str(bundle),
        "--regression",
        str(old),
        "--output",
        str(tmp_path / "b"),
    ]
    assert main([*arguments, "--data", str(old)]) == 2
    assert "One label is added at a time" in capsys.readouterr().err
    assert main([*arguments, "--data", str(examples), "--label", "专利", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["new_label"], printed["examples"], printed["found"]) == ("专利", 4, 4)
    assert main([*arguments, "--data", str(examples)]) == 2
