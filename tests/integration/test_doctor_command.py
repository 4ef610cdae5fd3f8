"""`longform doctor` from a file to its report and its repaired copy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from longform.cli.app import main

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))
from doctor_samples import make_documents


def write(path, documents):
    rows = [{"id": d.id, "text": d.text, "label": d.label} for d in documents]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def files(tmp_path):
    train = make_documents(60)
    return write(tmp_path / "train.jsonl", [*train, train[0]]), write(
        tmp_path / "dev.jsonl", [*make_documents(12, seed=3), train[1]]
    )


def run(capsys, *arguments):
    status = main(["doctor", *map(str, arguments)])
    return status, *capsys.readouterr()


def test_a_sound_file_gets_a_summary_and_status_0(files, capsys):
    train, dev = files
    status, out, err = run(capsys, train, "--validation", dev)
    assert status == 0
    assert "Training would work" in out
    assert "train.jsonl (jsonl, utf-8): 61 documents" in out
    assert "validation_leaks: drop" in out
    assert "Traceback" not in err


def test_json_is_one_object_and_nothing_else(files, capsys):
    train, dev = files
    status, out, _ = run(capsys, train, "--validation", dev, "--json")
    content = json.loads(out)
    assert status == 0
    assert content["trainable"] is True
    assert content["copies"]["leaked_validation_documents"] == 1
    assert {"exact_duplicates", "leaks"} <= {finding["kind"] for finding in content["findings"]}
    assert make_documents(1)[0].text[:20] not in out


def test_r10_data_that_training_refuses_gives_status_2_and_still_a_report(files, tmp_path, capsys):
    train, _ = files
    dev = write(tmp_path / "other.jsonl", make_documents(9, classes=4))
    report = tmp_path / "new" / "report.html"
    status, out, _ = run(capsys, train, "--validation", dev, "--report", report)
    assert status == 2
    assert "Training would refuse this data" in out
    assert "类3 (2)" in out
    assert "would refuse" in report.read_text("utf-8")
    status, out, _ = run(capsys, train, "--validation", dev, "--set", "unseen_labels=drop")
    assert status == 0


def test_fix_writes_a_copy_that_needs_no_further_repair(files, tmp_path, capsys):
    train, dev = files
    before = train.read_bytes()
    fixed = tmp_path / "fixed.csv"
    status, out, _ = run(capsys, train, "--validation", dev, "--fix", fixed)
    assert status == 0
    assert train.read_bytes() == before
    changes = [
        json.loads(line)
        for line in (tmp_path / "fixed.csv.changes.jsonl").read_text("utf-8").splitlines()
    ]
    assert [change["id"] for change in changes] == ["d1", "d0"]
    assert "2 dropped" in out
    status, out, _ = run(capsys, fixed, "--validation", dev, "--json")
    assert {f["kind"] for f in json.loads(out)["findings"]}.isdisjoint(
        {"exact_duplicates", "leaks"}
    )


def test_fix_never_writes_over_its_input(files, capsys):
    train, _ = files
    status, out, err = run(capsys, train, "--fix", train)
    assert status == 2
    assert out == ""
    assert "never repaired in place" in err


def test_a_bad_file_gives_the_reader_s_paragraph(tmp_path, capsys):
    bad = tmp_path / "bad.csv"
    bad.write_bytes(b"")
    status, out, err = run(capsys, bad)
    assert status == 2
    assert out == ""
    assert err.startswith("longform: ")
    assert len(err.strip().splitlines()) == 1


def test_columns_and_settings_are_those_of_train(tmp_path, capsys):
    path = tmp_path / "named.csv"
    lines = [f"{d.text},{d.label};其他" for d in make_documents(12)]
    path.write_text("\n".join(["body_text,kind", *lines]), "utf-8")
    status, out, _ = run(
        *(capsys, path, "--text-column", "body_text", "--label-column", "kind"),
        *("--json", "--set", "label_separator=;"),
    )
    content = json.loads(out)
    assert status == 0
    assert content["classes"][0] == {"label": "其他", "train": 12, "validation": None}
    assert content["proposal"]["settings"]["text_column"] == "body_text"


def test_an_encoder_without_tokenizer_is_refused_before_anything_is_read(files, tmp_path, capsys):
    status, _, err = run(capsys, tmp_path / "missing.csv", "--encoder", tmp_path)
    assert status == 2
    assert "tokenizer.json" in err


@pytest.mark.shared
def test_the_doctor_reports_in_its_own_process(shared_folder, tmp_path):
    data = shared_folder / "data/iflytek"
    command = [sys.executable, "-W", "error", "-m", "longform", "doctor"]
    command += [str(data / "dev.jsonl.gz"), "--json", "--report", str(tmp_path / "report.html")]
    command += ["--encoder", str(shared_folder / "models/e5-small-zh-en")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert len(content["classes"]) == 117
    assert "width 384" in content["lengths"]["encoder"]
