"""A student that learns from a bundle: the verb `distill`, its cache and its refusals."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_runs import (
    BAG_SETTINGS,
    Corpus,
    Result,
    make_documents,
    run,
    succeed,
    train,
    train_in_python,
    write_csv,
)

from longform.bundle import load_bundle
from longform.data.labels import LabelMap
from longform.errors import LongformError
from longform.inference.predictor import Predictor, load
from longform.reporting import Reporter
from longform.training import teacher as teacher_module
from longform.training.distillation import VectorHint
from longform.training.progress import ProgressCallback
from longform.training.rows import remove_oldest
from longform.training.teacher import Teacher, count_parameters
from longform.types import Document

STUDENT = [*BAG_SETTINGS, "bag_dimension=12", "num_train_epochs=4"]


@pytest.fixture
def own_cache(own_folders, tmp_path, monkeypatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("LONGFORM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "teachers"


def distill(
    corpus: Corpus, teacher: Path, output: Path, *settings: str, options: tuple[object, ...] = ()
) -> Result:
    return run(
        "distill",
        *("--teacher", teacher, "--data", corpus.train, "--validation", corpus.validation),
        *("--output", output, "--json", *options),
        *("--set", *settings),
    )


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory) -> Path:
    """Texts without a label, one of them twice, and one that is in the corpus as well."""
    documents = [*make_documents(24, seed=9), make_documents(48, seed=1)[0]]
    documents.append(documents[0])
    path = tmp_path_factory.mktemp("unlabelled") / "texts.jsonl"
    lines = [json.dumps({"id": item.id, "text": item.text}) for item in documents]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def distilled(own_folders, corpus, bundle, unlabelled, tmp_path_factory):
    """A student's bundle, and what the command said."""
    output = tmp_path_factory.mktemp("student") / "model"
    result = distill(corpus, bundle, output, *STUDENT, options=("--unlabelled", unlabelled))
    assert result.status == 0, result.err
    return output, result


def test_s2_28_a_student_learns_and_is_held_against_its_teacher(distilled, bundle):
    output, result = distilled
    content = result.json
    assert content["bundle"] == str(output)
    assert content["metrics"]["accuracy"] >= 0.9
    told = content["training"]["distillation"]
    assert (told["temperature"], told["hard_share"], told["hidden_weight"]) == (2.0, 0.7, 0.0)
    assert told["unlabelled_documents"] == 24
    opened = load_bundle(bundle)
    assert told["teacher"]["digest"] == opened.digest
    assert told["teacher"]["parameters"] == count_parameters(opened) > told["parameters"]
    assert told["parameters"] == count_parameters(load_bundle(output))
    described = opened.description.metrics
    assert told["teacher"]["metrics"] == pytest.approx(described)
    share = content["metrics"]["accuracy"] / described["accuracy"]
    assert told["relative_accuracy"] == pytest.approx(share)
    assert min(content["documents_per_second"].values()) > 0
    assert "WARNING" not in result.err
    assert "2 documents of texts.jsonl left out" in result.err
    assert load_bundle(output).description.training["distillation"] == told
    # More steps than the labelled documents alone would take.
    assert content["training"]["steps"] == 4 * (48 + 24) // 8
    with load(output) as student:
        assert student.predict([make_documents(3, seed=5)[0].text])[0].label in student.labels


# The cache


def answers(bundle: Path, documents: list[Document], **options) -> tuple[np.ndarray, int]:
    """Return the logits, and how many documents were scored for them."""
    scored = 0
    original = Predictor.iterate_scores

    def count(self, given):
        nonlocal scored
        for group, scores in original(self, given):
            scored += len(group)
            yield group, scores

    with pytest.MonkeyPatch.context() as patch, Teacher(bundle, **options) as teacher:
        patch.setattr(Predictor, "iterate_scores", count)
        labels = LabelMap(tuple(sorted(teacher.rule.labels)))
        found = teacher.answers(documents, labels, Reporter())
    return found.logits, scored


def test_only_new_texts_are_scored_and_the_answers_are_the_bundles(bundle, own_cache):
    documents = make_documents(9, seed=11)
    with load(bundle) as predictor:
        expected = predictor.scorer.score(documents).logits
    first, scored = answers(bundle, documents[:6])
    assert scored == 6
    every, scored = answers(bundle, [*documents, documents[0]])
    assert scored == 3
    np.testing.assert_allclose(every[:9], expected, atol=1e-5)
    assert np.array_equal(every[:6], first)
    assert np.array_equal(every[9], every[0])
    # Another label on the same text changes nothing; another text does.
    changed = [Document("x", documents[0].text), Document("y", documents[0].text + "。")]
    assert answers(bundle, changed)[1] == 1


@pytest.mark.parametrize("offset", [0, 7, -1])
def test_damaged_answers_are_asked_for_again(bundle, own_cache, offset):
    documents = make_documents(5, seed=12)
    first, _ = answers(bundle, documents)
    (path,) = own_cache.glob("*/vectors.f32")
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)
    again, scored = answers(bundle, documents)
    assert scored == 1
    assert np.array_equal(again, first)
    assert answers(bundle, documents)[1] == 0


def test_an_interrupted_scoring_keeps_what_was_scored(bundle, own_cache, monkeypatch):
    documents = make_documents(6, seed=13)
    monkeypatch.setattr("longform.inference.predictor._WINDOW_CHARACTERS", 600)
    original = Predictor.iterate_scores

    def stop(self, given):
        for number, step in enumerate(original(self, given)):
            if number == 2:
                raise KeyboardInterrupt
            yield step

    with monkeypatch.context() as patch, Teacher(bundle) as teacher:
        patch.setattr(Predictor, "iterate_scores", stop)
        with pytest.raises(KeyboardInterrupt):
            teacher.answers(documents, LabelMap(teacher.rule.labels), Reporter())
    # A process that was killed while it wrote leaves half a row.
    (path,) = own_cache.glob("*/vectors.f32")
    path.write_bytes(path.read_bytes() + b"half")
    assert answers(bundle, documents)[1] == 2


def test_vectors_are_means_of_segment_vectors(bundle, own_cache):
    documents = make_documents(4, seed=14)
    with Teacher(bundle, with_vectors=True) as teacher:
        found = teacher.answers(documents, LabelMap(teacher.rule.labels), Reporter())
    with load(bundle) as predictor:
        readings = predictor.scorer.read(documents)
        logits = predictor.scorer.score(documents).logits
    expected = np.stack([reading.vectors.mean(axis=0) for reading in readings])
    np.testing.assert_allclose(found.vectors, expected, atol=1e-5)
    np.testing.assert_allclose(found.logits, logits, atol=1e-5)


def test_the_answers_of_old_teachers_make_room(bundle, own_cache, monkeypatch):
    answers(bundle, make_documents(3, seed=15))
    (old,) = own_cache.iterdir()
    remove_oldest(own_cache, 10_000)
    assert old.is_dir()
    monkeypatch.setattr(teacher_module, "_MOST_CACHED_BYTES", 10)
    assert answers(bundle, make_documents(3, seed=15))[1] == 3
    assert len(list(own_cache.iterdir())) == 1


def test_answers_that_are_no_numbers_are_refused(bundle, own_cache, monkeypatch):
    documents = make_documents(2, seed=16)
    original = Predictor.iterate_scores

    def spoil(self, given):
        for group, scores in original(self, given):
            scores.logits[1, 0] = np.nan
            yield group, scores

    monkeypatch.setattr(Predictor, "iterate_scores", spoil)
    with Teacher(bundle) as teacher, pytest.raises(LongformError, match="16-1"):
        teacher.answers(documents, LabelMap(teacher.rule.labels), Reporter())


# Interruption


def test_r35_a_stopped_distillation_is_continued_and_ends_the_same(
    distilled, corpus, bundle, unlabelled, tmp_path, monkeypatch
):
    original = ProgressCallback.on_save

    def stop(self, args, state, control, **rest):
        original(self, args, state, control, **rest)
        if round(state.epoch) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    output = tmp_path / "model"
    options = ("--unlabelled", unlabelled)
    with monkeypatch.context() as patch:
        patch.setattr(ProgressCallback, "on_save", stop)
        stopped = distill(corpus, bundle, output, *STUDENT, options=options)
    assert stopped.status == 130
    assert not output.exists()
    hotter = distill(
        corpus,
        bundle,
        output,
        *STUDENT,
        options=(*options, "--temperature", 3, "--hard-share", 0.5),
    )
    assert hotter.status == 2
    assert "differs in temperature, hard_share" in hotter.err
    fewer = distill(corpus, bundle, output, *STUDENT)
    assert fewer.status == 2
    assert "differs in the documents" in fewer.err
    plain = train(corpus, output, *STUDENT)
    assert plain.status == 2
    assert "teacher" in plain.err

    def score(*_):
        raise AssertionError("scored again")

    # Neither is the teacher asked again: all of its answers are in the cache.
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "iterate_scores", score)
        continued = distill(corpus, bundle, output, *STUDENT, options=options)
    assert continued.status == 0, continued.err
    assert "0 documents scored now, 72 found in the cache" in continued.err
    assert "Continuing from checkpoint-9" in continued.err
    first, second = (load_file(path / "model.safetensors") for path in (distilled[0], output))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


# Students of other kinds


def test_a_student_from_a_file_may_learn_hidden_vectors_which_leave_no_trace(
    corpus, bundle, tmp_path
):
    path = tmp_path / "student.yaml"
    settings = (*BAG_SETTINGS[:-1], "class_weights=auto")
    path.write_text("\n".join(setting.replace("=", ": ", 1) for setting in settings), "utf-8")
    output = tmp_path / "model"
    options = ("--student-config", path, "--hidden-weight", 0.5)
    result = distill(corpus, bundle, output, "num_train_epochs=1", options=options)
    assert result.status == 0, result.err
    assert result.json["training"]["epochs"] == 1
    assert result.json["training"]["distillation"]["hidden_weight"] == 0.5
    assert "Class weights" in result.err
    names = load_file(output / "model.safetensors")
    assert not any(VectorHint.NAME in name for name in names)


def test_a_frozen_student_learns_from_texts_that_have_no_label(
    corpus, bundle, encoder, unlabelled, tmp_path
):
    settings = ("segment_length=32", "frozen=true", "aggregator=lstm", "aggregator_hidden=8")
    output = tmp_path / "model"
    result = distill(
        corpus,
        bundle,
        output,
        *settings,
        "num_train_epochs=1",
        options=("--encoder", encoder, "--unlabelled", unlabelled, "--hard-share", 0.1),
    )
    assert result.status == 0, result.err
    assert result.json["training"]["kind"] == "frozen"
    told = result.json["training"]["distillation"]
    # Too short a run to learn much: it is warned of, and not refused.
    assert (told["relative_accuracy"] < 0.95) == ("WARNING" in result.err)
    refused = distill(
        corpus,
        bundle,
        tmp_path / "x",
        *settings,
        options=("--encoder", encoder, "--hidden-weight", 1),
    )
    assert refused.status == 2
    assert "frozen: true" in refused.err


def test_several_labels_a_document(own_folders, tmp_path):
    def several(count: int, seed: int) -> list[Document]:
        documents = make_documents(count, seed)
        chosen = [(), ("劳动",), ("劳动", "买卖")]
        named = {"劳动": chosen[1], "买卖": chosen[2], "租赁": chosen[0]}
        return [Document(item.id, item.text, labels=named[str(item.label)]) for item in documents]

    def write(name: str, documents: list[Document]) -> Path:
        path = tmp_path / name
        rows = [
            {"id": item.id, "text": item.text, "label": list(item.labels or ())}
            for item in documents
        ]
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return path

    teacher = train_in_python(several(48, 1), several(18, 2), tmp_path / "teacher")
    result = succeed(
        *("distill", "--teacher", teacher, "--output", tmp_path / "student", "--json"),
        *("--data", write("train.jsonl", several(24, 4))),
        *("--validation", write("validation.jsonl", several(18, 2))),
        *("--unlabelled", write("more.jsonl", several(30, 6))),
        *("--set", *BAG_SETTINGS),
    )
    told = result.json["training"]["distillation"]
    assert told["teacher"]["metrics"] == pytest.approx(load_bundle(teacher).description.metrics)
    assert told["unlabelled_documents"] == 30
    assert told["relative_accuracy"] > 0.5


# Refusals


def test_other_labels_than_the_teachers_are_refused_by_name(corpus, bundle, tmp_path):
    documents = [
        Document(item.id, item.text, "合同" if item.label == "买卖" else item.label)
        for item in make_documents(24, seed=1)
    ]
    data = write_csv(tmp_path / "other.csv", documents)
    refused = run(
        *("distill", "--teacher", bundle, "--data", data, "--output", tmp_path / "model"),
        *("--set", *STUDENT),
    )
    assert refused.status == 2
    assert "only in the data: '合同'" in refused.err
    assert "only in the teacher" in refused.err
    assert "'买卖'" in refused.err
    assert "Traceback" not in refused.err
    assert not (tmp_path / "model").exists()


def test_usage_is_refused_in_one_paragraph(corpus, bundle, tmp_path):
    output = tmp_path / "model"
    none = run("distill", "--data", corpus.train, "--output", output)
    assert none.status == 2
    assert "--teacher" in none.err
    folder = distill(corpus, tmp_path, output, *STUDENT)
    assert folder.status == 2
    wrong = distill(
        corpus, bundle, output, *STUDENT, options=("--hard-share", 1.5, "--temperature", 0)
    )
    assert wrong.status == 2
    assert "hard_share" in wrong.err
    assert "temperature" in wrong.err
    balanced = distill(
        corpus,
        bundle,
        output,
        *STUDENT,
        "class_balance=weighted_sampler",
        options=("--unlabelled", corpus.test),
    )
    assert balanced.status == 2
    assert "--unlabelled" in balanced.err


def test_a_damaged_teacher_is_refused_by_the_gate(corpus, own_bundle, tmp_path):
    path = own_bundle / "onnx" / "head.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    refused = distill(corpus, own_bundle, tmp_path / "model", *STUDENT)
    assert refused.status == 3
    assert "Traceback" not in refused.err
