"""What `longform train` leaves beside a bundle: the report, the log, the profile."""

from __future__ import annotations

import json

import pytest
from tiny_runs import BAG_SETTINGS, DECIDING, make_documents, run, succeed, train, write_csv


@pytest.fixture(scope="module")
def recorded(own_folders, corpus, tmp_path_factory):
    """A run with everything that can be recorded of it; a few of its labels are wrong."""
    folder = tmp_path_factory.mktemp("recorded")
    path = folder / "wrong.csv"
    documents = make_documents(18, seed=7)
    labels = sorted(DECIDING)
    wrong = {0, 7}
    rows = [
        type(item)(item.id, item.text, labels[(labels.index(item.label) + 1) % 3])
        if number in wrong
        else item
        for number, item in enumerate(documents)
    ]
    write_csv(path, rows)
    output = folder / "out" / "model"
    output.parent.mkdir()
    result = run(
        *("train", "--data", corpus.train, "--validation", path, "--output", output),
        *("--profile", "--json", "--set", *BAG_SETTINGS, "logging_steps=2"),
    )
    assert result.status == 0, result.err
    return output, result


def test_the_report_lies_beside_the_bundle_and_shows_the_run(recorded):
    output, result = recorded
    report = output.parent / "model.report.html"
    assert result.json["report"] == str(report)
    page = report.read_text(encoding="utf-8")
    for title in ("Loss", "Learning rate", "Where the time went", "Mistakes", "What was decided"):
        assert f"<h2>{title}</h2>" in page
    # 36 steps, of which every second was logged.
    assert page.count("<polyline") >= 5
    loss = page.split("<polyline", 1)[1].split(">", 1)[0]
    assert loss.count(",") == 18
    assert "Device: cpu" in page
    assert "bag_dimension" in page
    assert f"{100 * result.json['metrics']['accuracy']:.1f}%" in page


def test_worst_mistakes_come_with_the_passages_that_decided(recorded):
    output, result = recorded
    assert result.json["metrics"]["accuracy"] < 1
    page = (output.parent / "model.report.html").read_text(encoding="utf-8")
    marked = page.split("<mark")[1:]
    assert marked
    # The model is right and the label is wrong: what decided is a sentence that decides.
    # It may be divided between two segments.
    deciding = [part for text in DECIDING.values() for part in (text[:6], text[-7:])]
    texts = [part.split("</mark>")[0] for part in marked]
    assert any(part in text for text in texts for part in deciding)


def test_a_run_leaves_no_text_and_no_record_in_the_bundle(recorded):
    output, _ = recorded
    left = {path.name for path in output.parent.iterdir()}
    assert left == {"model", "model.logs", "model.profile", "model.report.html"}
    assert not [path for path in output.rglob("*") if path.suffix in (".html", ".gz")]


def test_the_end_of_a_run_says_where_the_time_went_and_where_the_records_are(recorded):
    output, result = recorded
    seconds = result.json["training"]["time"]
    assert {"preparing", "waiting for data", "computing", "validation", "saving"} <= set(seconds)
    for told in (*seconds, "export", "peak memory", "documents/s"):
        assert told in result.err
    assert f"tensorboard --logdir {output}.logs" in result.err
    assert "documents/s" in (output.parent / "model.profile" / "profile.txt").read_text()


def test_the_report_can_be_put_elsewhere_or_left_out(corpus, bundle, tmp_path):
    output, elsewhere = tmp_path / "model", tmp_path / "pages" / "run.html"
    settings = (*BAG_SETTINGS, "num_train_epochs=1", "report_to=[]")
    result = train(corpus, output, *settings, options=("--report", elsewhere))
    assert result.status == 0, result.err
    assert elsewhere.is_file()
    assert not (tmp_path / "model.logs").exists()
    again = train(corpus, output, *settings, options=("--no-report", "--overwrite"))
    assert again.status == 0, again.err
    assert again.json["report"] is None
    assert not (tmp_path / "model.report.html").exists()


def test_a_report_is_refused_inside_the_bundle_before_the_work(corpus, own_folders, tmp_path):
    output = tmp_path / "model"
    result = train(corpus, output, *BAG_SETTINGS, options=("--report", output / "report.html"))
    assert result.status == 2
    assert "stays out of the bundle" in result.err
    assert not list(tmp_path.iterdir())


def test_a_tracker_that_is_not_installed_is_told_before_the_work(
    corpus, own_folders, tmp_path, monkeypatch
):
    import longform.extras

    known = longform.extras.is_available
    monkeypatch.setattr(
        longform.extras, "is_available", lambda name: name != "mlflow" and known(name)
    )
    result = train(corpus, tmp_path / "model", *BAG_SETTINGS, "report_to=[mlflow]")
    assert result.status == 2
    assert "pip install 'longform[mlflow]'" in result.err
    assert not list(tmp_path.iterdir())


def test_the_evaluation_report_shows_the_passages_too(recorded, tmp_path):
    output, _ = recorded
    documents = make_documents(9, seed=11)
    labels = sorted(DECIDING)
    turned = [
        type(item)(item.id, item.text, labels[(labels.index(item.label) + 1) % 3])
        for item in documents
    ]
    data = write_csv(tmp_path / "turned.csv", turned)
    result = succeed(
        *("evaluate", output, "--data", data, "--report", tmp_path / "e.html", "--json")
    )
    assert "<mark" in (tmp_path / "e.html").read_text(encoding="utf-8")
    assert "passages" not in json.dumps(result.json["mistakes"])
