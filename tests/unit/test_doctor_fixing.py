"""The repaired copy: what is left out or changed, and that all of it is listed."""

from __future__ import annotations

import csv
import json

import pytest
from doctor_samples import make_documents
from hypothesis import example, given, settings
from hypothesis import strategies as st

from longform.config import DataSettings
from longform.data.doctor.fixing import check_fix_target, fix_file
from longform.data.readers import read_documents
from longform.errors import InputError, LongformError
from longform.types import Document

GOOD = "这是一份完整的文件，内容很长，可以用来训练。"
DAMAGED = GOOD.encode().decode("latin-1")
ROWS = [
    {"id": "a", "text": GOOD + "一", "label": "体育", "source": "x"},
    {"id": "b", "text": "", "label": "体育", "source": "x"},
    {"id": "c", "text": GOOD + "一", "label": "体育", "source": "y"},
    {"id": "d", "text": GOOD + "二", "label": "财经 ", "source": "x"},
    {"id": "e", "text": DAMAGED, "label": "财经", "source": "x"},
    {"id": "f", "text": GOOD + "三", "label": "财经", "source": "x"},
    {"id": "g", "text": GOOD + "三", "label": "财经", "source": "x"},
    {"id": "h", "text": GOOD + "三", "label": "体育", "source": "x"},
    {"id": "i", "text": "另外一份文件，与上面的都不一样，讲别的事情。", "label": "体育", "n": [1]},
]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def fix(tmp_path, rows, name="fixed.jsonl", validation=None, **options):
    data_settings = DataSettings(**options)
    result = read_documents(write_rows(tmp_path / "data.jsonl", rows), data_settings)
    fixed = fix_file(result, validation, data_settings, tmp_path / name)
    changes = [json.loads(line) for line in fixed.changes_path.read_text("utf-8").splitlines()]
    return fixed, changes


def test_every_repair_is_made_and_listed(tmp_path):
    fixed, changes = fix(tmp_path, ROWS)
    assert sorted((change["row"], change["what"]) for change in changes) == [
        (2, "dropped"),
        (3, "dropped"),
        (4, "relabelled"),
        (5, "text repaired"),
        (7, "dropped"),
        (8, "dropped"),
    ]
    rows = [json.loads(line) for line in fixed.path.read_text("utf-8").splitlines()]
    assert [row["id"] for row in rows] == ["a", "d", "e", "f", "i"]
    assert [row["label"] for row in rows] == ["体育", "财经", "财经", "财经", "体育"]
    assert rows[2]["text"] == GOOD
    assert all("why" in change for change in changes)
    assert fixed.documents == 5


def test_columns_that_are_not_read_are_kept(tmp_path):
    fixed, _ = fix(tmp_path, ROWS)
    rows = [json.loads(line) for line in fixed.path.read_text("utf-8").splitlines()]
    assert rows[0]["source"] == "x"
    assert rows[-1]["n"] == [1]


def test_csv_has_the_columns_of_all_rows(tmp_path):
    fixed, _ = fix(tmp_path, ROWS, "fixed.csv")
    with fixed.path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["id", "text", "label", "source", "n"]
    assert rows[0]["n"] == ""
    assert rows[-1]["n"] == "[1]"


def test_the_file_itself_stays_as_it_is(tmp_path):
    before = write_rows(tmp_path / "data.jsonl", ROWS).read_bytes()
    fix(tmp_path, ROWS)
    assert (tmp_path / "data.jsonl").read_bytes() == before


def test_documents_that_stand_in_validation_are_left_out(tmp_path):
    documents = make_documents(20)
    rows = [{"id": d.id, "text": d.text, "label": d.label} for d in documents]
    near = Document("v2", documents[3].text[:-5] + "改了几个", "类0")
    fixed, changes = fix(tmp_path, rows, validation=[documents[0], near])
    assert fixed.documents == 18
    assert [change["id"] for change in changes] == ["d0", "d3"]
    assert "validation document" in changes[0]["why"]


def test_a_sound_file_is_copied_without_a_change(tmp_path):
    rows = [{"id": d.id, "text": d.text, "label": d.label} for d in make_documents(9)]
    fixed, changes = fix(tmp_path, rows)
    assert changes == []
    assert fixed.counts == {}
    assert fixed.path.read_bytes() == (tmp_path / "data.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["fixed.jsonl", "fixed.csv"])
def test_several_labels_come_back_as_they_were(tmp_path, name):
    rows = [
        {"text": f"{GOOD}{number}", "label": labels}
        for number, labels in enumerate([["甲", "乙"], ["乙"], ["甲"], ["丙", "甲"]])
    ]
    fixed, _ = fix(tmp_path, rows, name)
    separator = "|" if name.endswith("csv") else None
    back = read_documents(fixed.path, DataSettings(label_separator=separator)).documents
    assert [list(document.labels) for document in back] == [row["label"] for row in rows]
    assert bool(fixed.notes) == name.endswith("csv")


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda value: any(character.isalnum() for character in value)
)


@settings(max_examples=40)
@example(["0", "\xc2\x9d"], "csv")
@given(st.lists(text, min_size=2, max_size=8, unique=True), st.sampled_from(["csv", "jsonl"]))
def test_any_text_survives_the_copy(tmp_path_factory, texts, suffix):
    folder = tmp_path_factory.mktemp("fix")
    rows = [{"text": value, "label": f"l{n % 2}"} for n, value in enumerate(texts)]
    fixed, changes = fix(folder, rows, f"fixed.{suffix}")
    # The copy is read back and compared by fix_file itself.
    assert fixed.documents + sum(change["what"] == "dropped" for change in changes) == len(rows)


def test_r18_a_target_that_must_not_be_written_is_refused(tmp_path):
    source = write_rows(tmp_path / "data.jsonl", ROWS)
    (tmp_path / "there.csv").touch()
    (tmp_path / "link.jsonl").symlink_to(source)
    for name, rule in [
        ("data.jsonl", "never repaired in place"),
        ("link.jsonl", "never repaired in place"),
        ("there.csv", "must be a new one"),
        ("fixed.parquet", r"end in \.jsonl or \.csv"),
        ("no/fixed.csv", "existing folder"),
    ]:
        with pytest.raises(InputError, match=rule):
            check_fix_target(tmp_path / name, [source])
    assert check_fix_target(tmp_path / "fixed.csv", [source]) is None


def test_r18_a_file_that_changes_meanwhile_is_refused(tmp_path):
    path = write_rows(tmp_path / "data.jsonl", ROWS)
    result = read_documents(path)
    write_rows(path, ROWS[:4])
    with pytest.raises(InputError, match="must not change while it is read"):
        fix_file(result, None, DataSettings(), tmp_path / "fixed.jsonl")
    assert not (tmp_path / "fixed.jsonl").exists()


def test_a_copy_that_does_not_read_back_is_not_left_behind(tmp_path, monkeypatch):
    def write_nothing(target, rows, kept, separator):
        target.write_text('{"text": "another text", "label": "x"}\n', "utf-8")

    monkeypatch.setattr("longform.data.doctor.fixing.write_rows", write_nothing)
    with pytest.raises(LongformError, match="must read back"):
        fix(tmp_path, ROWS)
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_a_folder_of_texts_becomes_one_file(tmp_path):
    for name in ("a/1.txt", "a/2.txt", "b/1.txt", "b/2.txt"):
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{GOOD}{name[2] if name[0] == 'a' else name}", "utf-8")
    (tmp_path / "texts/a/3.txt").write_text(f"{GOOD}1", "utf-8")
    result = read_documents(tmp_path / "texts")
    fixed = fix_file(result, None, DataSettings(), tmp_path / "fixed.csv")
    (change,) = [json.loads(line) for line in fixed.changes_path.read_text("utf-8").splitlines()]
    assert (change["row"], change["what"]) == ("a/3.txt", "dropped")
    assert [d.id for d in read_documents(fixed.path).documents] == [
        *("a/1.txt", "a/2.txt", "b/1.txt", "b/2.txt")
    ]
