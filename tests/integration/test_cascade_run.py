"""`longform cascade` on bundles that were trained here, and the bundle that it makes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from tiny_runs import BAG_SETTINGS, make_documents, run, write_csv

import longform
from longform.bundle import CERTIFICATE_FILE, load_bundle, writing_bundle
from longform.errors import BundleError, InputError
from longform.inference.cascade import CascadeScorer

CERTIFYING = 160


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cascade")
    write_csv(folder / "train.csv", make_documents(48, seed=1))
    write_csv(folder / "validation.csv", make_documents(18, seed=2))
    write_csv(folder / "certify.csv", make_documents(CERTIFYING, seed=5))
    write_csv(folder / "few.csv", make_documents(30, seed=6))
    write_csv(folder / "new.csv", make_documents(60, seed=7))
    return folder


@pytest.fixture(scope="module")
def stages(corpus) -> tuple[Path, Path]:
    small, full = corpus / "small", corpus / "full"
    # Of the beginning alone, so that it is unsure of what is decided later.
    train_linear(corpus, small, "linear_bits=12", "linear_blocks=['head:200']")
    train_linear(corpus, full, "linear_bits=14", "linear_blocks=[whole]")
    return small, full


def train_linear(corpus: Path, output: Path, *settings: str) -> None:
    files = ("--data", corpus / "train.csv", "--validation", corpus / "validation.csv")
    told = run("train", *files, "--output", output, "--encoder", "linear", "--set", *settings)
    assert told.status == 0, told.err


@pytest.fixture(scope="module")
def made(corpus, stages):
    target = corpus / "cascade"
    told = run(
        "cascade", "--stages", *stages, "--data", corpus / "certify.csv", "--output", target,
        "--risk", "0.05", "--json",
    )  # fmt: skip
    assert told.status == 0, told.err
    return target, told.json


def test_the_command_certifies_and_says_what_it_gains(made, corpus):
    _, told = made
    assert told["certified"]
    assert 0.0 < told["exited"] <= 1.0
    certificate = told["certificate"]
    assert certificate["documents"] == CERTIFYING
    assert certificate["p_value"] <= 0.05
    assert certificate["documents_needed"] == 59
    assert [stage["kind"] for stage in certificate["stages"]] == ["linear", "linear"]
    assert all(stage["seconds_per_document"] > 0 for stage in certificate["stages"])
    assert "times as fast" in Path(told["report"]).read_text(encoding="utf-8")


def test_the_bundle_answers_like_any_other_and_says_where_it_stopped(made, corpus, stages):
    target, _ = made
    evaluated = run("evaluate", target, "--data", corpus / "new.csv", "--json").json
    alone = run("evaluate", stages[1], "--data", corpus / "new.csv", "--json").json
    assert evaluated["accuracy"] >= alone["accuracy"] - 0.1
    with longform.load(target) as cascade, longform.load(stages[1]) as full:
        texts = [document.text for document in make_documents(60, seed=7)]
        early = cascade.predict(texts)
        late = full.predict(texts)
        explained = cascade.predict(texts[:6], evidence=True)
    reasons = {prediction.exit.reason for prediction in early}
    assert reasons <= {"confident", "last_stage"}
    assert "confident" in reasons
    for one, other in zip(early, late, strict=True):
        if one.exit.stage == 1:
            assert one.label == other.label
            assert one.score == pytest.approx(other.score, abs=1e-4)
    assert sum(a.label != b.label for a, b in zip(early, late, strict=True)) <= 9
    assert all(prediction.evidence for prediction in explained)
    assert [item.exit for item in explained] == [item.exit for item in early[:6]]


def test_bulk_answers_name_their_stage(made, corpus, tmp_path):
    answers = tmp_path / "answers.jsonl"
    told = run("predict", made[0], "--input", corpus / "new.csv", "--output", answers)
    assert told.status == 0, told.err
    rows = [json.loads(line) for line in answers.read_text("utf-8").splitlines()]
    assert len(rows) == 60
    assert {row["exit"]["stage"] for row in rows} <= {0, 1}


def test_inspect_shows_certificate_and_steps(made):
    told = run("inspect", made[0])
    assert "with 95 % confidence, at most 5 %" in told.out
    assert "stage 1, 100 % of the segments: the answer" in told.out
    assert run("inspect", made[0], "--json").json["certificate"]["is_certified"]


@pytest.mark.skipif(not os.environ.get("LONGFORM_SLOW"), reason="trains an encoder")
def test_depths_stop_within_a_stage(corpus, stages):
    encoder, target = corpus / "encoder", corpus / "deep"
    files = ("--data", corpus / "train.csv", "--validation", corpus / "validation.csv")
    told = run("train", *files, "--output", encoder, "--encoder", "bag", "--set", *BAG_SETTINGS)
    assert told.status == 0, told.err
    told = run(
        "cascade", "--stages", stages[0], encoder, "--data", corpus / "certify.csv",
        "--output", target, "--risk", "0.1", "--depths", "0.5", "--backend", "onnx", "--json",
    )  # fmt: skip
    assert told.status == 0, told.err
    certificate = told.json["certificate"]
    assert [(step["stage"], step["depth"]) for step in certificate["steps"]] == [
        (0, 1.0),
        (1, 0.5),
        (1, 1.0),
    ]
    # A quarter laid the path.
    assert certificate["documents"] == CERTIFYING - CERTIFYING // 4
    with longform.load(target, "onnx") as cascade:
        predictions = cascade.predict([document.text for document in make_documents(30, seed=8)])
    for prediction in predictions:
        is_partial = prediction.coverage.reason == "early_exit"
        assert is_partial == prediction.coverage.truncated
        assert not is_partial or prediction.exit.reason == "confident"


def test_too_few_documents_certify_nothing_and_say_how_many_are_needed(corpus, stages):
    target = corpus / "nothing"
    told = run(
        "cascade",
        *stages,
        "--data",
        corpus / "few.csv",
        "--output",
        target,
        "--risk",
        "0.01",
    )
    assert told.status == 0, told.err
    assert "299 are needed" in told.err
    assert "nothing: 30 documents are too few" in told.out
    with longform.load(target) as cascade:
        (prediction,) = cascade.predict(["用人单位应当向劳动者支付拖欠的工资和经济补偿金。"])
    assert prediction.exit.reason == "last_stage"


@pytest.mark.parametrize("loss", ["harm"])
def test_harm_is_told_by_labels(corpus, stages, loss, tmp_path):
    told = run(
        "cascade", *stages, "--data", corpus / "certify.csv", "--output", tmp_path / "harm",
        "--risk", "0.05", "--loss", loss, "--json",
    )  # fmt: skip
    assert told.status == 0, told.err
    certificate = told.json["certificate"]
    assert certificate["loss"] == "harm"
    assert certificate["audited_share"] >= 0.05


@pytest.mark.parametrize(
    ("data", "more", "said"),
    [
        ("train.csv", (), "was trained on train.csv"),
        ("validation.csv", (), "was tuned on validation.csv"),
        ("certify.csv", ("--risk", "1.5"), "between 0 and 1"),
        ("certify.csv", ("--depths", "2"), "share of the segments"),
    ],
)
def test_what_cannot_be_certified_is_refused_before_anything_is_read(
    corpus, stages, data, more, said, tmp_path
):
    told = run("cascade", *stages, "--data", corpus / data, "--output", tmp_path / "c", *more)
    assert told.status == 2
    assert said in told.err
    assert not (tmp_path / "c").exists()


def test_stages_must_belong_together(corpus, stages, tmp_path):
    data = ("--data", corpus / "certify.csv", "--output", tmp_path / "c")
    assert "same bundle twice" in run("cascade", stages[0], stages[0], *data).err
    assert "place to stop" in run("cascade", stages[0], *data).err
    other = tmp_path / "other"
    bundle = load_bundle(stages[0])
    with writing_bundle(other) as folder:
        for name in bundle.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path(name), folder / name)
        text = (folder / "longform.json").read_text("utf-8").replace("租赁", "借贷")
        (folder / "longform.json").write_text(text, encoding="utf-8")
    told = run("cascade", other, stages[1], *data)
    assert told.status == 2
    assert "same labels" in told.err


def test_another_stage_voids_the_certificate(made, stages, tmp_path):
    bundle = load_bundle(made[0])
    forged = tmp_path / "forged"
    with writing_bundle(forged) as folder:
        for name in bundle.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path(name), folder / name)
        # Another model in its place, whole and sound by itself, under a new manifest.
        shutil.rmtree(folder / "stages" / "0")
        shutil.copytree(stages[1], folder / "stages" / "0")
    with pytest.raises(BundleError, match="very models"):
        longform.load(forged)
    damaged = tmp_path / "damaged"
    shutil.copytree(made[0], damaged)
    (damaged / CERTIFICATE_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(BundleError):
        longform.load(damaged)
    with pytest.raises(InputError):
        load_bundle(made[0]).path("onnx/encoder.onnx")


def test_a_loaded_cascade_is_a_scorer_with_an_audit(made):
    with longform.load(made[0]) as cascade:
        assert isinstance(cascade.scorer, CascadeScorer)
        assert cascade.check_golden() < 1e-2
        cascade.warm_up()
        found = cascade.scorer.cascade_statistics
        assert found.is_active
        assert found.documents == 0
